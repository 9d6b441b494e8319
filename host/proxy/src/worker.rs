//! A worker: one thread, one event loop, its own sockets, pools, plugin instances and counters.
//!
//! Workers are told what to do by commands and share nothing that a request would have to wait for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use odin_runtime::OutboundSender;
use slab::Slab;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::access_log::{LogHandle, WorkerLog};
use crate::fields::RequestIds;
use crate::listener::{self, Handle};
use crate::local::{Clusters, Local, LocalCluster};
use crate::outbound;
use crate::snapshot::Snapshot;

/// How often idle connections and old generations are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What a worker is told.
pub(crate) enum Command {
    /// A new config, and sockets for the listeners that have none yet.
    Apply { snapshot: Arc<Snapshot>, sockets: Vec<(String, StdListener)> },
    /// Accept no more; end when what runs has ended, or after so long.
    Drain(Duration),
}

/// What everything that runs on a worker may use.
pub(crate) struct Worker {
    /// Its number, from zero.
    pub(crate) id: usize,
    pub(crate) log: WorkerLog,
    pub(crate) request_ids: RequestIds,
    draining: Cell<bool>,
    /// The tasks of the open connections, to be woken when the drain begins.
    open: RefCell<Slab<Waker>>,
    /// The last connection ended while the worker drains.
    empty: Notify,
    /// What calls of plugins go by: the config, as this worker sees it now.
    current: RefCell<Option<(Arc<Snapshot>, Rc<Clusters>)>>,
}

impl Worker {
    /// True once the worker accepts no more: connections end when they are idle.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

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

    /// Runs a connection's task.
    pub(crate) fn serve(self: &Rc<Self>, connection: impl Future<Output = ()> + 'static) {
        let worker = self.clone();
        // Counted here and not at the first poll, so that a burst of accepts sees itself.
        let key = self.open.borrow_mut().insert(Waker::noop().clone());
        // Boxed, or the task would have room for it twice: before its first poll, and after.
        let connection = Box::pin(connection);
        tokio::task::spawn_local(async move {
            let _open = Open { worker: &worker, key };
            std::future::poll_fn(|cx| {
                worker.open.borrow_mut()[key] = cx.waker().clone();
                std::task::Poll::Ready(())
            })
            .await;
            connection.await;
        });
    }

    async fn drain(&self, grace: Duration) {
        self.draining.set(true);
        let wakers: Vec<Waker> = self.open.borrow().iter().map(|(_, waker)| waker.clone()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
        let emptied = async {
            while !self.open.borrow().is_empty() {
                self.empty.notified().await;
            }
        };
        if tokio::time::timeout(grace, emptied).await.is_err() {
            tracing::warn!(worker = self.id, connections = self.connections(), "closing what did not end in time");
        }
    }
}

/// Takes the connection off the list, however its task ends.
struct Open<'a> {
    worker: &'a Worker,
    key: usize,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.worker.open.borrow_mut().remove(self.key);
        if self.worker.draining.get() && self.worker.open.borrow().is_empty() {
            self.worker.empty.notify_one();
        }
    }
}

/// The body of a worker's thread.
pub(crate) fn run(id: usize, commands: UnboundedReceiver<Command>, log: LogHandle) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let worker = Rc::new(Worker {
        id,
        log: WorkerLog::new(log),
        request_ids: RequestIds::new(),
        draining: Cell::new(false),
        open: RefCell::default(),
        empty: Notify::new(),
        current: RefCell::default(),
    });
    runtime.block_on(obey(&worker, commands));
    // Tasks that are still there are dropped with the runtime, and leave their lines behind.
    drop(runtime);
    worker.log.flush();
    Ok(())
}

async fn obey(worker: &Rc<Worker>, mut commands: UnboundedReceiver<Command>) {
    let (outbound, calls) = unbounded_channel();
    tokio::task::spawn_local(outbound::serve(worker.clone(), calls));
    let mut serving = Serving { local: None, listeners: HashMap::new(), outbound };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Apply { snapshot, sockets }) => serving.apply(snapshot, sockets, worker),
                Some(Command::Drain(grace)) => {
                    serving.stop_accepting();
                    return worker.drain(grace).await;
                }
                None => return,
            },
            _ = tick.tick() => serving.tick(),
        }
    }
}

/// What the worker serves now.
struct Serving {
    local: Option<Local>,
    outbound: OutboundSender,
    listeners: HashMap<String, (Rc<Handle>, Option<JoinHandle<()>>)>,
}

impl Serving {
    fn apply(&mut self, snapshot: Arc<Snapshot>, sockets: Vec<(String, StdListener)>, worker: &Rc<Worker>) {
        let local = Local::new(snapshot, self.local.as_ref(), worker.id, &self.outbound);
        *worker.current.borrow_mut() = Some((local.snapshot.clone(), local.clusters.clone()));
        // Connections of a listener that is gone go on with what they have.
        self.listeners.retain(|name, (_, accepting)| {
            let stays = local.listeners.contains_key(name);
            if !stays && let Some(task) = accepting {
                task.abort();
            }
            stays
        });
        for (name, listener) in &local.listeners {
            match self.listeners.get(name) {
                Some((handle, _)) => handle.replace(listener.clone()),
                None => {
                    self.listeners.insert(name.clone(), (Handle::new(listener.clone()), None));
                }
            }
        }
        for (name, socket) in sockets {
            if let Some((handle, accepting)) = self.listeners.get_mut(&name) {
                let task = tokio::task::spawn_local(listener::accept(socket, handle.clone(), worker.clone()));
                if let Some(before) = accepting.replace(task) {
                    before.abort();
                }
            }
        }
        self.local = Some(local);
    }

    fn stop_accepting(&mut self) {
        for (_, (_, accepting)) in self.listeners.drain() {
            if let Some(task) = accepting {
                task.abort();
            }
        }
    }

    fn tick(&self) {
        if let Some(local) = &self.local {
            local.tick();
        }
    }
}
