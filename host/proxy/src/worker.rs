//! A worker: one thread, one event loop, its own sockets, pools, plugin instances and counters.
//!
//! Workers are told what to do by commands and share nothing that a request would have to wait for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use odin_runtime::OutboundSender;
use slab::Slab;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::access_log::{LogHandle, WorkerLog};
use crate::clock;
use crate::drain::{Drain, LAST_WORDS, Phase, Schedule};
use crate::fields::RequestIds;
use crate::listener::{self, Door, Handle, Stop};
use crate::local::{Clusters, Local, LocalCluster};
use crate::outbound;
use crate::proxy::{Closing, Draining, Opened, SocketId};
use crate::snapshot::Snapshot;
use crate::trim::Trim;

/// How often idle connections and old generations are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Is never there: the end of the last sender says that something was done.
pub(crate) enum Applied {}

/// What a worker is told.
pub(crate) enum Command {
    /// A new config, sockets to accept from, and sockets to close.
    Apply { snapshot: Arc<Snapshot>, opened: Vec<Opened>, closing: Vec<Closing>, applied: UnboundedSender<Applied> },
    /// Accept no more; end when what runs has ended.
    Drain(Draining),
}

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
    /// The tasks of the open connections, to be woken when a drain goes on.
    open: RefCell<Slab<(Waker, Rc<Drain>)>>,
    /// The last connection ended.
    empty: Notify,
    /// Listeners that are gone and whose connections are not.
    retiring: RefCell<Vec<Retiring>>,
    /// What calls of plugins go by: the config, as this worker sees it now.
    current: RefCell<Option<(Arc<Snapshot>, Rc<Clusters>)>>,
    trim: Trim,
}

impl Worker {
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
            std::future::poll_fn(|cx| {
                open.wake_by(cx);
                Poll::Ready(())
            })
            .await;
            std::future::poll_fn(|cx| match connection.as_mut().poll(cx) {
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
    fn advance_all(&self, phase: Phase, schedule: &Schedule) {
        self.retiring.borrow().iter().for_each(|retiring| retiring.drain.advance(phase, schedule));
        self.open.borrow().iter().for_each(|(_, (_, drain))| drain.advance(phase, schedule));
        self.wake(|_| true);
    }

    /// A listener is gone: its connections end when they can, or are cut when the time is over.
    fn retire(&self, handle: &Rc<Handle>, deadline: Duration) {
        let schedule = Schedule::new(Instant::now() + deadline, true);
        self.retiring.borrow_mut().push(Retiring { drain: handle.drain.clone(), schedule });
        self.tick();
    }

    /// Lets the listeners that are gone go on with their end.
    fn tick(&self) {
        self.trim.tick(self.connections());
        let mut retiring = std::mem::take(&mut *self.retiring.borrow_mut());
        retiring.retain(|Retiring { drain, schedule }| {
            let phase = schedule.phase();
            if drain.phase() < phase {
                drain.advance(phase, schedule);
                self.wake(|other| Rc::ptr_eq(other, drain));
            }
            // Otherwise nobody is left who would have to know.
            phase < Phase::Cut && Rc::strong_count(drain) > 1
        });
        self.retiring.borrow_mut().append(&mut retiring);
    }

    /// No connection is left, and none can come.
    async fn ended(&self, accepting: Vec<JoinHandle<()>>) {
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

/// The body of a worker's thread.
pub(crate) fn run(
    id: usize,
    commands: UnboundedReceiver<Command>,
    log: LogHandle,
    beat: Arc<AtomicU64>,
    trim: fn(),
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let worker = Rc::new(Worker {
        id,
        log: WorkerLog::new(log),
        request_ids: RequestIds::new(),
        open: RefCell::default(),
        empty: Notify::new(),
        retiring: RefCell::default(),
        current: RefCell::default(),
        trim: Trim::new(trim),
    });
    runtime.block_on(obey(&worker, commands, &beat));
    // Tasks that are still there are dropped with the runtime, and leave their lines behind.
    drop(runtime);
    worker.log.flush();
    Ok(())
}

async fn obey(worker: &Rc<Worker>, mut commands: UnboundedReceiver<Command>, beat: &AtomicU64) {
    let (outbound, calls) = unbounded_channel();
    tokio::task::spawn_local(outbound::serve(worker.clone(), calls));
    let mut serving =
        Serving { local: None, doors: HashMap::new(), sockets: HashMap::new(), closing: Vec::new(), outbound };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Apply { snapshot, opened, closing, applied }) => {
                    serving.apply(snapshot, opened, worker);
                    serving.close(closing, &applied);
                }
                // The loop beats no more, and nobody asks: the process is about to end.
                Some(Command::Drain(draining)) => return serving.drain(draining, worker, &mut commands).await,
                None => return,
            },
            _ = tick.tick() => {
                beat.store(clock::millis(), Relaxed);
                serving.tick();
                worker.tick();
            }
        }
    }
}

/// What the worker serves now.
struct Serving {
    local: Option<Local>,
    outbound: OutboundSender,
    /// By the names of the listeners.
    doors: HashMap<String, Rc<Door>>,
    sockets: HashMap<SocketId, Accepting>,
    /// Of sockets that are being closed.
    closing: Vec<Accepting>,
}

/// An accept loop, and how it is told to end.
type Accepting = (Rc<Stop>, JoinHandle<()>);

impl Serving {
    fn apply(&mut self, snapshot: Arc<Snapshot>, opened: Vec<Opened>, worker: &Rc<Worker>) {
        let local = Local::new(snapshot, self.local.as_ref(), worker.id, &self.outbound);
        *worker.current.borrow_mut() = Some((local.snapshot.clone(), local.clusters.clone()));
        let deadline = local.snapshot.timeouts.drain;
        self.doors.retain(|name, door| {
            let stays = local.listeners.contains_key(name);
            if !stays {
                worker.retire(&door.handle(), deadline);
            }
            stays
        });
        for (name, listener) in &local.listeners {
            match self.doors.get(name) {
                None => {
                    self.doors.insert(name.clone(), Door::new(Handle::new(listener.clone())));
                }
                Some(door) if door.handle().current().kind.same_protocol(listener.kind) => {
                    door.handle().replace(listener.clone());
                }
                // A connection that began with one protocol cannot go on with the other.
                Some(door) => worker.retire(&door.replace(Handle::new(listener.clone())), deadline),
            }
        }
        for Opened { id, listener, socket, .. } in opened {
            if let Some(door) = self.doors.get(&listener) {
                let stop = Rc::new(Stop::default());
                let accepting = listener::accept(socket, door.clone(), worker.clone(), stop.clone());
                self.sockets.insert(id, (stop, tokio::task::spawn_local(accepting)));
            }
        }
        self.local = Some(local);
    }

    fn close(&mut self, closing: Vec<Closing>, applied: &UnboundedSender<Applied>) {
        self.closing.retain(|(_, task)| !task.is_finished());
        for one in closing {
            if let Some(accepting) = self.sockets.remove(&one.id) {
                accepting.0.close(one, applied);
                self.closing.push(accepting);
            }
        }
    }

    /// Accepts no more, and waits for the end of all connections. A later order may leave them less time, never more.
    async fn drain(mut self, draining: Draining, worker: &Worker, commands: &mut UnboundedReceiver<Command>) {
        let Draining { grace, mut leaving } = draining;
        let mut over = Instant::now() + grace;
        let mut schedule = Schedule::new(over, leaving);
        let closing = std::mem::take(&mut self.closing).into_iter();
        let (stops, accepting): (Vec<_>, Vec<_>) = closing.chain(self.sockets.drain().map(|(_, one)| one)).unzip();
        stops.iter().for_each(|stop| stop.leave(leaving));
        let mut ended = pin!(worker.ended(accepting));
        let mut tick = tokio::time::interval(TICK);
        let mut told = Phase::Serving;
        loop {
            let phase = schedule.phase();
            if told < phase {
                told = phase;
                self.advance(phase, &schedule, worker);
            }
            let Some(next) = schedule.after(told) else {
                // What was cut is gone at its next turn. What is still there then is dropped with the runtime.
                let _ = tokio::time::timeout(LAST_WORDS, ended).await;
                return;
            };
            tokio::select! {
                () = &mut ended => return,
                () = tokio::time::sleep_until(next.into()) => {}
                _ = tick.tick() => {
                    self.tick();
                    worker.tick();
                }
                Some(command) = commands.recv() => {
                    let Command::Drain(Draining { grace, leaving: still }) = command else { continue };
                    (over, leaving) = (over.min(Instant::now() + grace), leaving && still);
                    schedule = Schedule::new(over, leaving);
                    stops.iter().for_each(|stop| stop.leave(leaving));
                }
            }
        }
    }

    /// Lets all connections go on to this phase, and those that are still to come.
    fn advance(&self, phase: Phase, schedule: &Schedule, worker: &Worker) {
        let connections = worker.connections();
        if phase == Phase::Over && connections > 0 {
            tracing::warn!(worker = worker.id, connections, "closing what did not end in time");
        }
        self.doors.values().for_each(|door| door.handle().drain.advance(phase, schedule));
        worker.advance_all(phase, schedule);
    }

    fn tick(&self) {
        if let Some(local) = &self.local {
            local.tick();
        }
    }
}
