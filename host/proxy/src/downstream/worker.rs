//! What everything that runs on a worker may use: its log, its connections, the config as plugins' calls see it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::downstream::handshakes::Handshakes;
use crate::downstream::trim::Trim;
use crate::http::fields::RequestIds;
use crate::observe::access_log::{LogHandle, WorkerLog};
use crate::snapshot::Snapshot;
use crate::transport::drain::{Drain, Phase, Schedule};
use crate::upstream::local::{Clusters, LocalCluster};

/// The end of a listener's connections.
struct Retiring {
    drain: Rc<Drain>,
    schedule: Schedule,
}

/// What everything that runs on a worker may use.
pub(crate) struct Worker {
    /// Its number, from zero.
    pub(crate) id: usize,
    pub(crate) log: WorkerLog,
    pub(crate) request_ids: RequestIds,
    pub(crate) handshakes: Rc<Handshakes>,
    /// The tasks of the open connections, to be woken when a drain goes on.
    open: RefCell<Slab<(Waker, Rc<Drain>)>>,
    /// The last connection ended.
    empty: Notify,
    /// Listeners that are gone and whose connections are not.
    retiring: RefCell<Vec<Retiring>>,
    /// What calls of plugins go by: the config, as this worker sees it now.
    current: RefCell<Option<(Arc<Snapshot>, Rc<Clusters>)>>,
    trim: Trim,
    /// Ends of exchanges that plugins are still to be told of.
    endings: RefCell<VecDeque<Ending>>,
    /// There is one.
    ending: Notify,
}

/// Calls plugins about an exchange that is over.
type Ending = Pin<Box<dyn Future<Output = ()>>>;
/// So many of them are called before other tasks have their turn.
const ENDINGS_AT_ONCE: usize = 16;

impl Worker {
    /// One that has no connection yet. It calls `trim` to give memory back to the system.
    pub(crate) fn new(id: usize, log: LogHandle, trim: fn()) -> Rc<Self> {
        Rc::new(Worker {
            id,
            log: WorkerLog::new(log),
            request_ids: RequestIds::new(),
            handshakes: Rc::default(),
            open: RefCell::default(),
            empty: Notify::new(),
            retiring: RefCell::default(),
            current: RefCell::default(),
            trim: Trim::new(trim),
            endings: RefCell::default(),
            ending: Notify::new(),
        })
    }

    /// A cluster by its name, with the config that it belongs to.
    pub(crate) fn cluster(&self, name: &str) -> Option<(Arc<Snapshot>, Rc<LocalCluster>)> {
        let current = self.current.borrow();
        let (snapshot, clusters) = current.as_ref()?;
        Some((snapshot.clone(), clusters.get(name)?))
    }

    /// Open downstream connections.
    pub(crate) fn connections(&self) -> usize {
        self.open.borrow().len()
    }

    /// Runs a connection's task, until it ends or `drain` cuts it.
    pub(crate) fn serve(self: &Rc<Self>, drain: Rc<Drain>, connection: impl Future<Output = ()> + 'static) {
        let worker = self.clone();
        // Counted here and not at the first poll, so that a burst of accepts sees itself.
        let key = self.open.borrow_mut().insert((Waker::noop().clone(), drain.clone()));
        self.trim.connected(self.connections());
        // Boxed, or the task would have room for it twice: before its first poll, and after.
        let mut connection = Box::pin(connection);
        tokio::task::spawn_local(async move {
            let open = Open { worker: &worker, key };
            poll_fn(|cx| {
                open.wake_by(cx);
                Poll::Ready(())
            })
            .await;
            poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Pending if drain.cut() => Poll::Ready(()),
                polled => polled,
            })
            .await;
        });
    }

    /// An exchange with a future of its own waits for the head of its response, as long as what is returned is there.
    pub(crate) fn waiting(self: &Rc<Self>) -> Waiting {
        self.trim.waits();
        Waiting(self.clone())
    }

    /// An exchange is over, which plugins want to know. They are not called here: an exchange may end in any place where
    /// something is dropped.
    pub(crate) fn later(&self, ending: Ending) {
        self.endings.borrow_mut().push_back(ending);
        self.ending.notify_one();
    }

    /// Tells plugins of the exchanges that have ended, for as long as the worker runs. A hook that waits gets a task of its
    /// own.
    pub(crate) async fn tell_of_ends(self: Rc<Self>) {
        loop {
            for _ in 0..ENDINGS_AT_ONCE {
                let Some(mut ending) = self.next_ending() else { break };
                if poll_fn(|cx| Poll::Ready(ending.as_mut().poll(cx).is_pending())).await {
                    tokio::task::spawn_local(ending);
                }
            }
            let none_left = self.endings.borrow().is_empty();
            if none_left {
                self.ending.notified().await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The same for those that end with the worker. A hook that waits is given up.
    pub(crate) fn tell_of_last_ends(&self) {
        while let Some(mut ending) = self.next_ending() {
            let _ = ending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn next_ending(&self) -> Option<Ending> {
        self.endings.borrow_mut().pop_front()
    }

    /// Lets the connections that belong to `drain` know how far it is.
    fn wake(&self, of: impl Fn(&Rc<Drain>) -> bool) {
        let wakers: Vec<Waker> = self
            .open
            .borrow()
            .iter()
            .filter(|(_, (_, drain))| of(drain))
            .map(|(_, (waker, _))| waker.clone())
            .collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// The connections of all listeners, those that are gone included, go on to this phase.
    pub(crate) fn advance_all(&self, phase: Phase, schedule: &Schedule) {
        self.retiring.borrow().iter().for_each(|retiring| retiring.drain.advance(phase, schedule));
        self.open.borrow().iter().for_each(|(_, (_, drain))| drain.advance(phase, schedule));
        self.wake(|_| true);
    }

    /// The config from here on, for the calls of plugins.
    pub(crate) fn goes_by(&self, snapshot: &Arc<Snapshot>, clusters: &Rc<Clusters>) {
        *self.current.borrow_mut() = Some((snapshot.clone(), clusters.clone()));
    }

    /// A listener is gone: its connections, which have this drain, end when they can, or are cut when the time is over.
    pub(crate) fn retire(&self, drain: Rc<Drain>, deadline: Duration) {
        let schedule = Schedule::new(Instant::now() + deadline, true);
        self.retiring.borrow_mut().push(Retiring { drain, schedule });
        self.tick();
    }

    /// Lets the listeners that are gone go on with their end.
    pub(crate) fn tick(&self) {
        self.trim.tick(self.connections());
        let mut retiring = std::mem::take(&mut *self.retiring.borrow_mut());
        retiring.retain(|Retiring { drain, schedule }| {
            let phase = schedule.phase();
            if drain.phase() < phase {
                drain.advance(phase, schedule);
                self.wake(|other| Rc::ptr_eq(other, drain));
            }
            // Without another owner of the drain no connection is left to be told.
            phase < Phase::Cut && Rc::strong_count(drain) > 1
        });
        self.retiring.borrow_mut().append(&mut retiring);
    }

    /// No connection is left, and none can come.
    pub(crate) async fn ended(&self, accepting: Vec<JoinHandle<()>>) {
        for task in accepting {
            // It ends in any case; how does not matter.
            let _ = task.await;
        }
        while !self.open.borrow().is_empty() {
            self.empty.notified().await;
        }
    }
}

/// See [`Worker::waiting`].
pub(crate) struct Waiting(Rc<Worker>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.trim.waits_no_more();
    }
}

/// Takes the connection off the list, however its task ends.
struct Open<'a> {
    worker: &'a Worker,
    key: usize,
}

impl Open<'_> {
    fn wake_by(&self, cx: &Context<'_>) {
        self.worker.open.borrow_mut()[self.key].0 = cx.waker().clone();
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut open = self.worker.open.borrow_mut();
        open.remove(self.key);
        if open.is_empty() {
            self.worker.empty.notify_one();
        }
    }
}
