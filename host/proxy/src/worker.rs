//! A worker: one thread, one event loop, its own sockets, pools, plugin instances and counters.
//!
//! Workers are told what to do by commands and share nothing that a request would have to wait for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use odin_runtime::OutboundSender;
use slab::Slab;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::access_log::{LogHandle, WorkerLog};
use crate::clock;
use crate::drain::{self, Drain, Phase};
use crate::fields::RequestIds;
use crate::listener::{self, Door, Handle, Stop};
use crate::local::{Clusters, Local, LocalCluster};
use crate::outbound;
use crate::proxy::{Closing, Draining, Opened, SocketId};
use crate::snapshot::Snapshot;

/// How often idle connections and old generations are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What a worker is told.
pub(crate) enum Command {
    /// A new config, sockets to accept from, and sockets to close.
    Apply { snapshot: Arc<Snapshot>, opened: Vec<Opened>, closing: Vec<Closing> },
    /// Accept no more; end when what runs has ended.
    Drain(Draining),
}

/// The end of a listener's connections.
struct Retiring {
    drain: Rc<Drain>,
    /// When the next phase begins.
    next: Instant,
    schedule: std::array::IntoIter<(Phase, Duration), 4>,
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
}

impl Worker {
    /// A cluster by its name, with the config that it belongs to.
    pub(crate) fn cluster(&self, name: &str) -> Option<(Arc<Snapshot>, Rc<LocalCluster>)> {
        let current = self.current.borrow();
        let (snapshot, clusters) = current.as_ref()?;
        Some((snapshot.clone(), clusters.get(name)?.clone()))
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

    fn advance(&self, drain: &Rc<Drain>, phase: Phase) {
        drain.advance(phase);
        self.wake(|other| Rc::ptr_eq(other, drain));
    }

    fn advance_all(&self, phase: Phase) {
        self.open.borrow().iter().for_each(|(_, (_, drain))| drain.advance(phase));
        self.wake(|_| true);
    }

    /// A listener is gone: its connections end when they can, or are cut when the time is over.
    fn retire(&self, handle: &Rc<Handle>, deadline: Duration) {
        let drain = handle.drain.clone();
        let schedule = drain::schedule(deadline).into_iter();
        self.retiring.borrow_mut().push(Retiring { drain, next: Instant::now(), schedule });
        self.tick();
    }

    /// Lets the listeners that are gone go on with their end.
    fn tick(&self) {
        let mut retiring = std::mem::take(&mut *self.retiring.borrow_mut());
        retiring.retain_mut(|retiring| {
            while retiring.next <= Instant::now() {
                let Some((phase, time)) = retiring.schedule.next() else { return false };
                self.advance(&retiring.drain, phase);
                retiring.next += time;
            }
            // Nobody is left who would have to know.
            Rc::strong_count(&retiring.drain) > 1
        });
        self.retiring.borrow_mut().append(&mut retiring);
    }

    /// Waits for the end of all connections. A later order may leave them less time.
    async fn drain(&self, mut draining: Draining, commands: &mut UnboundedReceiver<Command>) {
        loop {
            tokio::select! {
                () = self.drained(draining) => return,
                command = commands.recv() => match command {
                    // The order that hurries may come first.
                    Some(Command::Drain(other)) if other.grace < draining.grace => draining = other,
                    Some(Command::Drain(_)) => {}
                    Some(Command::Apply { .. }) => {}
                    None => return self.drained(draining).await,
                },
            }
        }
    }

    async fn drained(&self, Draining { grace, leaving }: Draining) {
        for (phase, time) in drain::schedule(grace) {
            match phase {
                Phase::Leaving if !leaving => continue,
                Phase::Over => {
                    let connections = self.connections();
                    tracing::warn!(worker = self.id, connections, "closing what did not end in time");
                }
                _ => {}
            }
            self.advance_all(phase);
            // The first phase of a drain that nobody has to leave for gives its time to the next.
            let time = if phase == Phase::Draining && !leaving { grace } else { time };
            if tokio::time::timeout(time, self.emptied()).await.is_ok() {
                return;
            }
        }
    }

    async fn emptied(&self) {
        while !self.open.borrow().is_empty() {
            self.empty.notified().await;
        }
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
                Some(Command::Apply { snapshot, opened, closing }) => serving.apply(snapshot, opened, closing, worker),
                Some(Command::Drain(draining)) => {
                    serving.stop().await;
                    // The loop beats no more, and nobody asks: the process is about to end.
                    return worker.drain(draining, &mut commands).await;
                }
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
    sockets: HashMap<SocketId, (Rc<Stop>, JoinHandle<()>)>,
    /// Accept loops of sockets that are being closed.
    closing: Vec<JoinHandle<()>>,
}

impl Serving {
    fn apply(&mut self, snapshot: Arc<Snapshot>, opened: Vec<Opened>, closing: Vec<Closing>, worker: &Rc<Worker>) {
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
        self.closing.retain(|task| !task.is_finished());
        for Closing { id, linger } in closing {
            if let Some((stop, task)) = self.sockets.remove(&id) {
                stop.tell(linger);
                self.closing.push(task);
            }
        }
        self.local = Some(local);
    }

    /// Accepts what is waiting, and no more.
    async fn stop(&mut self) {
        let mut accepting = std::mem::take(&mut self.closing);
        for (_, (stop, task)) in self.sockets.drain() {
            stop.tell(Duration::ZERO);
            accepting.push(task);
        }
        for task in accepting {
            // It ends in any case; how does not matter.
            let _ = task.await;
        }
    }

    fn tick(&self) {
        if let Some(local) = &self.local {
            local.tick();
        }
    }
}
