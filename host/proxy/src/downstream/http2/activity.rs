//! What goes on in an HTTP/2 connection of a client: how many exchanges are open, and what moves in each.
//!
//! hyper asks a body for more only when the client takes it, so a body cannot notice a client that stalls. The bytes can:
//! those of a [`Piece`] are counted when they leave for the connection. So each stream has a deadline of its own, and one
//! that stalls is reset alone.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::rt::Executor;

use crate::error::Kind;
use crate::http::http2::StreamSide;
use crate::transport::hyper_io::Observer;
use crate::transport::timer::Deadline;

/// How long a connection that was told to end may take, once nothing is open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes of responses that wait in a connection whose client takes them slowly.
const CONNECTION_BUFFER: u64 = 128 * 1024;

/// Shared by a connection and its exchanges.
#[derive(Default)]
pub(crate) struct Activity {
    /// Exchanges that wait for the head of their response: they have deadlines of their own.
    waiting: Cell<usize>,
    /// Exchanges whose response is being sent.
    sending: Cell<usize>,
    /// Grows with everything that happens.
    steps: Cell<u64>,
    /// Bytes of all responses that hyper was given and the client has not taken.
    buffered: Cell<u64>,
    /// The socket takes no more. False again once all that could be written was.
    blocked: Cell<bool>,
    /// Bodies that wait until it does, or until less is buffered.
    waiting_bodies: RefCell<Vec<Waker>>,
    /// The stream that hyper is about to hand to the executor.
    newest: RefCell<Option<Rc<StreamWatch>>>,
}

impl Activity {
    /// Changes whenever something has happened.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// True once there was an exchange.
    pub(crate) fn has_begun(&self) -> bool {
        self.steps.get() > 0
    }

    /// True when no exchange is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.get() + self.sending.get() == 0
    }

    /// How long nothing may happen from here on; zero for ever.
    pub(crate) fn patience(&self, idle: Duration, ending: bool) -> Duration {
        match (self.waiting.get(), self.sending.get()) {
            (0, 0) if ending => LAST_WORDS,
            (0, _) => idle,
            _ => Duration::ZERO,
        }
    }

    fn wake_bodies(&self) {
        self.waiting_bodies.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Something has happened.
    pub(crate) fn step(&self) {
        self.steps.set(self.steps.get().wrapping_add(1));
    }
}

impl Observer for Activity {
    fn blocked(&self) {
        self.blocked.set(true);
    }

    /// What is still buffered waits for windows of streams.
    fn flushed(&self) {
        if self.blocked.replace(false) {
            self.wake_bodies();
        }
    }
}

/// What is read of a request counts as progress of the connection.
impl StreamSide for Rc<Activity> {
    const BROKEN: Kind = Kind::DownstreamClosed;

    fn came(&self) {
        self.step();
    }
}

/// What a client has taken of one response.
pub(crate) struct StreamWatch {
    activity: Rc<Activity>,
    /// Bytes of the body that hyper was given.
    handed: Cell<u64>,
    /// Bytes of them that have left for the connection.
    taken: Cell<u64>,
    /// What comes next is up to the upstream: hyper has asked for more and got nothing. Otherwise it does not ask, since
    /// the client takes nothing.
    awaits_upstream: Cell<bool>,
    /// The client took nothing for too long.
    stalled: Cell<bool>,
    /// The body that waits until its own bytes are taken.
    waker: Cell<Option<Waker>>,
}

impl StreamWatch {
    pub(crate) fn has_untaken(&self) -> bool {
        self.handed.get() != self.taken.get()
    }

    fn awaits_client(&self) -> bool {
        self.has_untaken() || !self.awaits_upstream.get()
    }

    /// True when the connection has enough to send, so that this stream has to wait, and is woken when that changes.
    ///
    /// However large its windows are, a client gets no more memory than this. Beyond it nothing more is read for a stream
    /// that has something to send, nor for any while the socket is what holds all of them up. A stream that has nothing to
    /// send gets a little in spite of others that wait for their windows.
    pub(crate) fn waits(&self, cx: &Context<'_>) -> bool {
        let activity = &self.activity;
        if !self.is_crowded() {
            return false;
        }
        if activity.blocked.get() {
            activity.waiting_bodies.borrow_mut().push(cx.waker().clone());
            return true;
        }
        if self.has_untaken() {
            self.waker.set(Some(cx.waker().clone()));
            return true;
        }
        false
    }

    /// The connection has enough to send.
    pub(crate) fn is_crowded(&self) -> bool {
        self.activity.buffered.get() >= CONNECTION_BUFFER
    }

    /// See the field.
    pub(crate) fn set_awaits_upstream(&self, awaits: bool) {
        self.awaits_upstream.set(awaits);
    }

    /// The client took nothing for too long.
    pub(crate) fn has_stalled(&self) -> bool {
        self.stalled.get()
    }

    /// Bytes are given to hyper.
    pub(crate) fn hand(&self, bytes: u64) {
        self.handed.set(self.handed.get() + bytes);
        self.activity.buffered.set(self.activity.buffered.get() + bytes);
    }

    /// Bytes leave for the connection.
    pub(crate) fn take(&self, bytes: u64) {
        self.taken.set(self.taken.get() + bytes);
        self.activity.buffered.set(self.activity.buffered.get() - bytes);
        self.activity.step();
        if self.activity.buffered.get() < CONNECTION_BUFFER {
            self.activity.wake_bodies();
        }
        if !self.has_untaken()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Bytes are dropped with their stream.
    pub(crate) fn forget(&self, bytes: u64) {
        self.activity.buffered.set(self.activity.buffered.get() - bytes);
    }
}

/// One open exchange of a connection.
pub(crate) struct OpenExchange {
    activity: Rc<Activity>,
    watch: Rc<StreamWatch>,
    sending: Cell<bool>,
}

impl OpenExchange {
    pub(crate) fn new(activity: &Rc<Activity>) -> Self {
        activity.waiting.set(activity.waiting.get() + 1);
        activity.step();
        let watch = Rc::new(StreamWatch {
            activity: activity.clone(),
            handed: Cell::new(0),
            taken: Cell::new(0),
            awaits_upstream: Cell::new(true),
            stalled: Cell::new(false),
            waker: Cell::new(None),
        });
        *activity.newest.borrow_mut() = Some(watch.clone());
        OpenExchange { activity: activity.clone(), watch, sending: Cell::new(false) }
    }

    /// The head of the response is there.
    pub(crate) fn answered(&self) {
        if !self.sending.replace(true) {
            self.activity.waiting.set(self.activity.waiting.get() - 1);
            self.activity.sending.set(self.activity.sending.get() + 1);
            self.activity.step();
        }
    }

    /// For the request's body: another task may be reading it.
    pub(crate) fn activity(&self) -> Rc<Activity> {
        self.activity.clone()
    }

    /// For the response's body.
    pub(crate) fn watch(&self) -> Rc<StreamWatch> {
        self.watch.clone()
    }

    /// A piece of a body went through.
    pub(crate) fn moved(&self) {
        self.activity.step();
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        let count = if self.sending.get() { &self.activity.sending } else { &self.activity.waiting };
        count.set(count.get() - 1);
        self.activity.step();
    }
}

/// Runs the streams of a connection on the worker's own thread, and drops one whose client takes nothing for `idle`: that
/// resets it.
#[derive(Clone)]
pub(crate) struct StreamExecutor {
    pub(crate) activity: Rc<Activity>,
    pub(crate) idle: Duration,
}

impl<F: Future<Output: 'static> + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let watch = self.activity.newest.borrow_mut().take();
        let Some(watch) = watch else {
            tokio::task::spawn_local(stream);
            return;
        };
        let idle = self.idle;
        tokio::task::spawn_local(async move {
            let mut stream = pin!(stream);
            let (mut deadline, mut seen) = (Deadline::default(), None);
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if !watch.awaits_client() {
                    seen = None;
                    return Poll::Pending;
                }
                if seen.replace(watch.taken.get()) != Some(watch.taken.get()) {
                    deadline.set(idle);
                }
                ready!(deadline.poll(cx));
                watch.stalled.set(true);
                Poll::Ready(())
            })
            .await;
        });
    }
}
