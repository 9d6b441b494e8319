//! An HTTP/2 connection to an upstream, shared by the exchanges of one worker: how many streams it may carry, and when it
//! is left alone.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;

use super::io::{Io, LocalExecutor};
use crate::body::Body;
use crate::error::{Error, Kind};
use crate::gate::Lease;
use crate::pool::Pool;
use crate::settings::Timeouts;
use crate::timer::Deadline;
use crate::upstream::{self, Attempt, Place};

/// Bytes that a peer may send on one stream before they are read: as many as keep a fast network busy.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes that an upstream may send on all streams of a connection before they are read. Slow clients make Odin keep as many.
///
/// * Not more: a client with 100 slow streams occupies about one upstream connection, and may cost 2 MiB with all that
///   belongs to it. tests/tests/slow_readers.rs measures it.
/// * Not much less: the h2 crate lets small DATA frames wait to be read only until 256 bytes for each of them, less their
///   own, are half of this window. With the next one it ends the connection. So at least 1280 messages of any size can
///   wait for slow clients (gRPC).
const CONNECTION_WINDOW: u32 = 640 * 1024;

/// Upstreams close a connection on which more streams than that are given up at a time (20 in hyper, 100 in others), and
/// with it the exchanges of others.
const MOST_GIVEN_UP: u32 = 20;
/// After so many a connection is left to the exchanges that it has.
const WORN: u32 = MOST_GIVEN_UP / 2;
/// How long a new connection waits for the upstream's settings, which limit its streams (RFC 9113, section 3.4).
const SETTINGS_WAIT: Duration = Duration::from_secs(1);

/// A connection to which streams can be added.
#[derive(Clone)]
pub(crate) struct Sender(Rc<Shared>);

struct Shared {
    state: RefCell<State>,
    /// Told when the state is no longer `Opening`.
    opened: Notify,
    /// The most streams by the config.
    most: usize,
    open: Cell<usize>,
    /// Streams that were given up without an answer.
    given_up: Cell<u32>,
    /// Streams without an answer yet, and with a request of which not all is here: it may turn out to be malformed.
    unsure: Cell<u32>,
    /// It has answered a request.
    proven: Cell<bool>,
    idle_since: Cell<Instant>,
    lease: Lease,
}

enum State {
    Opening,
    /// The driver is dropped when the connection has ended: that closes what sends.
    Open(SendRequest<Body>, Weak<Driver>),
    Failed(Error),
}

/// What hyper drives a connection by. It knows how many streams the upstream allows (RFC 9113, section 5.1.2).
type Driver = RefCell<Connection<Io, Body, LocalExecutor>>;

/// One stream of a connection. It counts until it is dropped.
pub(crate) struct Stream {
    connection: Sender,
    unsure: bool,
    /// Its request was sent, and no head has come.
    unanswered: bool,
}

impl Stream {
    fn new(connection: Sender, unsure: bool) -> Self {
        let shared = &connection.0;
        shared.open.set(shared.open.get() + 1);
        shared.unsure.set(shared.unsure.get() + u32::from(unsure));
        Stream { connection, unsure, unanswered: false }
    }

    /// The head of its response is there.
    pub(super) fn answered(&mut self) {
        self.unanswered = false;
        self.connection.0.proven.set(true);
        self.settle();
    }

    /// All of its request has come, or it does not matter any more.
    fn settle(&mut self) {
        let unsure = &self.connection.0.unsure;
        unsure.set(unsure.get() - u32::from(std::mem::take(&mut self.unsure)));
    }

    /// What sends the request. From here on the upstream sees the stream given up if no head comes.
    pub(super) fn requests(&mut self) -> Result<SendRequest<Body>, Error> {
        self.unanswered = true;
        match &*self.connection.0.state.borrow() {
            State::Open(requests, _) => Ok(requests.clone()),
            State::Opening => Err(Error::new(Kind::ConnectFailed, "not connected yet")),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// The connection has answered before: it may have been closed at any moment since.
    pub(super) fn is_reused(&self) -> bool {
        self.connection.0.proven.get()
    }

    /// No later exchange uses its connection.
    pub(super) fn retire(&self, pool: &Pool) {
        pool.http2.borrow_mut().retain(|kept| !Rc::ptr_eq(&kept.0, &self.connection.0));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.settle();
        let shared = &self.connection.0;
        shared.given_up.set(shared.given_up.get() + u32::from(self.unanswered));
        shared.open.set(shared.open.get() - 1);
        if shared.open.get() == 0 {
            shared.idle_since.set(Instant::now());
        }
        shared.lease.stream_ended();
    }
}

impl Sender {
    /// Opens a connection, in a task of its own: it is of use to others when the exchange that wanted it has gone.
    fn open(attempt: &Attempt<'_>, lease: Lease) -> Sender {
        let sender = Sender(Rc::new(Shared {
            state: RefCell::new(State::Opening),
            opened: Notify::new(),
            most: attempt.call.snapshot.limits.streams_per_upstream,
            open: Cell::new(0),
            given_up: Cell::new(0),
            unsure: Cell::new(0),
            proven: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            lease,
        }));
        let shared = sender.0.clone();
        let (place, timeouts) = (attempt.place(), attempt.call.snapshot.timeouts.clone());
        let head_bytes = u32::try_from(attempt.call.snapshot.limits.head_bytes).unwrap_or(u32::MAX);
        tokio::task::spawn_local(async move {
            let state = match connect(&place, &timeouts, head_bytes).await {
                Ok((requests, driver)) => State::Open(requests, driver),
                Err(error) => State::Failed(error),
            };
            shared.state.replace(state);
            shared.opened.notify_waiters();
        });
        sender
    }

    /// Waits until it is open.
    async fn opened(&self, deadline: &mut Deadline) -> Result<(), Error> {
        loop {
            let told = self.0.opened.notified();
            match &*self.0.state.borrow() {
                State::Opening => {}
                State::Open(..) => return Ok(()),
                State::Failed(error) => return Err(error.clone()),
            }
            deadline.race_limit(told).await.map_err(upstream::no_time_to_connect)?;
        }
    }

    /// Streams that it may have at a time.
    fn room(&self) -> usize {
        match &*self.0.state.borrow() {
            State::Opening => self.0.most,
            State::Open(_, driver) => {
                let driver = driver.upgrade();
                // It cannot be asked while hyper drives it, and is not asked from there.
                let connection = driver.as_ref().and_then(|driver| driver.try_borrow().ok());
                self.0.most.min(connection.map_or(0, |connection| connection.current_max_send_streams()))
            }
            State::Failed(_) => 0,
        }
    }

    /// Whether one more stream may use it, of whose request not all is here if `unsure`.
    fn takes(&self, unsure: bool) -> bool {
        let sure = !unsure || self.0.given_up.get() + self.0.unsure.get() < MOST_GIVEN_UP;
        !self.is_worn() && sure && self.0.open.get() < self.room()
    }

    /// No later exchange may use it.
    pub(crate) fn is_worn(&self) -> bool {
        let closed = match &*self.0.state.borrow() {
            State::Opening => false,
            State::Open(requests, _) => requests.is_closed(),
            State::Failed(_) => true,
        };
        closed || self.0.given_up.get() >= WORN
    }

    /// How long it has had no stream.
    pub(crate) fn idle_for(&self) -> Duration {
        if self.0.open.get() > 0 { Duration::ZERO } else { self.0.idle_since.get().elapsed() }
    }
}

/// A stream for a request of which not all is here if `unsure`: on a connection that has room, on one that is being
/// opened, or on a new one.
pub(super) async fn reserve(attempt: &Attempt<'_>, unsure: bool, deadline: &mut Deadline) -> Result<Stream, Error> {
    let pool = attempt.pool();
    let patience = attempt.call.snapshot.timeouts.queue;
    let began = Instant::now();
    loop {
        let found = pool.http2.borrow().iter().find(|sender| sender.takes(unsure)).cloned();
        let lease = if found.is_some() { None } else { pool.gate.try_lease() };
        let sender = match (found, lease) {
            (Some(sender), _) => sender,
            (None, Some(lease)) => open(attempt, lease),
            (None, None) => {
                let ended = pool.gate.stream_ended();
                let left = patience.saturating_sub(began.elapsed()).max(Duration::from_nanos(1));
                let left = if patience.is_zero() { patience } else { left };
                tokio::select! {
                    lease = pool.gate.lease(left, deadline) => open(attempt, lease?),
                    () = ended => continue,
                }
            }
        };
        let stream = Stream::new(sender, unsure);
        let opened = stream.connection.opened(deadline).await;
        if opened.is_err() {
            stream.retire(pool);
        }
        opened?;
        // The upstream allows fewer than were waiting for it.
        if stream.connection.0.open.get() <= stream.connection.room() {
            return Ok(stream);
        }
    }
}

fn open(attempt: &Attempt<'_>, lease: Lease) -> Sender {
    let sender = Sender::open(attempt, lease);
    attempt.pool().http2.borrow_mut().push(sender.clone());
    sender
}

async fn connect(
    place: &Place,
    timeouts: &Timeouts,
    head_bytes: u32,
) -> Result<(SendRequest<Body>, Weak<Driver>), Error> {
    let stream = upstream::connect(place, timeouts.connect, &mut Deadline::default()).await?;
    let failed = |error: hyper::Error| Error::new(Kind::ConnectFailed, error.to_string()).retryable(true);
    let (io, heard) = Io::telling(stream);
    let mut builder = Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(head_bytes);
    if !timeouts.http2_ping.is_zero() {
        builder.keep_alive_interval(timeouts.http2_ping).keep_alive_timeout(timeouts.http2_ping);
    }
    let (requests, connection) = builder.handshake(io).await.map_err(failed)?;
    let driver = Rc::new(RefCell::new(connection));
    let known = Rc::downgrade(&driver);
    tokio::task::spawn_local(async move {
        if let Err(error) = poll_fn(|cx| Pin::new(&mut *driver.borrow_mut()).poll(cx)).await {
            tracing::debug!(%error, "HTTP/2 upstream connection ended");
        }
    });
    // Without them it would be a guess how many streams the upstream takes. One that says nothing is asked all the same.
    let _ = tokio::time::timeout(SETTINGS_WAIT, heard.notified()).await;
    Ok((requests, known))
}
