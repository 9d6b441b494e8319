//! What a worker has made of clusters and plugins. It outlives a reload: what did not change is not touched by one.
//!
//! The worker's tick goes through all of it in steps, and other tasks run between two of them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use odin_runtime::{OutboundSender, Plugin, WorkerPlugin};
use slab::Slab;

use crate::snapshot::Snapshot;
use crate::transport::connector::{Peer, Secrecy};
use crate::transport::tls;
use crate::upstream::candidates::Candidates;
use crate::upstream::cluster::{Cluster, Endpoint};
use crate::upstream::pool::Pool;

/// Pools are swept so many at a time, fewer if connections are closed on the way: each of those counts as eight.
const SWEPT_AT_ONCE: usize = 64;
/// A system call that wakes the peer as well costs many times as much as a look at a pool.
const CLOSED: usize = 8;
/// Pools are told of new limits so many at a time: two numbers are stored in each.
const CONFIGURED_AT_ONCE: usize = 1024;

/// The clusters of a snapshot, as this worker uses them.
pub(crate) struct Clusters {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) made: Rc<Made>,
}

impl Clusters {
    pub(crate) fn get(&self, name: &str) -> Option<Rc<LocalCluster>> {
        Some(self.made.cluster(self.snapshot.clusters.get(name)?, &self.snapshot))
    }

    /// Closes idle connections, forgets clusters that are gone, and frees routes of configs that are gone. The first step
    /// is done at once.
    pub(crate) fn sweep(self: &Rc<Self>) {
        if self.made.sweeping.replace(true) {
            return;
        }
        let (clusters, mut walk) = (self.clone(), Walk::default());
        in_steps(move || {
            let more = clusters.sweep_some(&mut walk);
            clusters.made.sweeping.set(more);
            more
        });
    }

    /// One step; false when it was the last one.
    fn sweep_some(&self, walk: &mut Walk) -> bool {
        let freeing = self.made.free_some();
        let swept = walk.step(&self.made.clusters.borrow().all, SWEPT_AT_ONCE, |pool| 1 + CLOSED * pool.sweep());
        let gone = swept.iter().filter(|name| !self.snapshot.clusters.contains_key(&***name));
        // Here and not before: with its last pools a cluster may end what borrows the table.
        let gone: Vec<_> = gone.filter_map(|name| self.made.clusters.borrow_mut().remove(name)).collect();
        drop(gone);
        freeing || !walk.over
    }
}

/// One cluster, with this worker's connections to it.
pub(crate) struct LocalCluster {
    pub(crate) shared: Arc<Cluster>,
    pub(crate) name: Arc<str>,
    pub(crate) pools: Vec<Rc<Pool>>,
    pub(crate) balancer: Option<Rc<WorkerPlugin>>,
    /// What a balancer sees first: every endpoint.
    pub(crate) all: Arc<Candidates>,
}

/// What takes long to free, and is freed in steps.
pub(crate) trait Leftover {
    /// Frees some of it; false when nothing is left.
    fn free_some(&mut self) -> bool;
}

/// The clusters that were made.
#[derive(Default)]
struct Table {
    all: Slab<Rc<LocalCluster>>,
    by_name: HashMap<Arc<str>, usize>,
}

impl Table {
    fn get(&self, name: &str) -> Option<&Rc<LocalCluster>> {
        self.all.get(*self.by_name.get(name)?)
    }

    /// Answers the one of that name that was there before.
    fn put(&mut self, cluster: Rc<LocalCluster>) -> Option<Rc<LocalCluster>> {
        if let Some(slot) = self.by_name.get(&cluster.name) {
            return Some(std::mem::replace(&mut self.all[*slot], cluster));
        }
        let name = cluster.name.clone();
        self.by_name.insert(name, self.all.insert(cluster));
        None
    }

    fn remove(&mut self, name: &str) -> Option<Rc<LocalCluster>> {
        self.by_name.remove(name).map(|slot| self.all.remove(slot))
    }
}

/// Does the first step at once, and the others in a task, so that other tasks run between two of them. `step` answers false
/// when it was the last one.
fn in_steps(mut step: impl FnMut() -> bool + 'static) {
    if step() {
        tokio::task::spawn_local(async move {
            tokio::task::yield_now().await;
            while step() {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// How far a way through all pools has come. What is made meanwhile may be passed by.
#[derive(Default)]
struct Walk {
    slot: usize,
    pool: usize,
    over: bool,
}

impl Walk {
    /// Goes on until it has done this much work; `each` does some for a pool, and answers how much. Answers the names of
    /// the clusters that are done.
    fn step(&mut self, all: &Slab<Rc<LocalCluster>>, mut work: usize, each: impl Fn(&Pool) -> usize) -> Vec<Arc<str>> {
        let mut done = Vec::new();
        while work > 0 && self.slot < all.capacity() {
            let cluster = all.get(self.slot);
            if let Some(pool) = cluster.and_then(|cluster| cluster.pools.get(self.pool)) {
                work = work.saturating_sub(each(pool));
                self.pool += 1;
                continue;
            }
            done.extend(cluster.map(|cluster| cluster.name.clone()));
            (self.slot, self.pool) = (self.slot + 1, 0);
            work -= 1;
        }
        self.over = self.slot >= all.capacity();
        done
    }
}

/// See the module.
pub(crate) struct Made {
    pub(crate) worker: usize,
    outbound: OutboundSender,
    clusters: RefCell<Table>,
    plugins: RefCell<HashMap<*const Plugin, Rc<WorkerPlugin>>>,
    /// Of listeners that are no more, to be freed in steps.
    left: RefCell<Vec<Box<dyn Leftover>>>,
    sweeping: Cell<bool>,
    /// The config whose limits hold for all pools.
    current: RefCell<Arc<Snapshot>>,
}

impl Made {
    pub(crate) fn new(worker: usize, outbound: OutboundSender, snapshot: &Arc<Snapshot>) -> Self {
        Made {
            worker,
            outbound,
            clusters: RefCell::default(),
            plugins: RefCell::default(),
            left: RefCell::default(),
            sweeping: Cell::new(false),
            current: RefCell::new(snapshot.clone()),
        }
    }

    /// Lets the plugins go that are no more in the config, and tells the pools of new limits: the first of many at once,
    /// the others in steps.
    pub(crate) fn go_on(self: &Rc<Self>, snapshot: &Arc<Snapshot>) {
        let before = self.current.replace(snapshot.clone());
        if (&before.limits, &before.timeouts) != (&snapshot.limits, &snapshot.timeouts) {
            let (made, mut walk) = (self.clone(), Walk::default());
            in_steps(move || made.configure_some(&mut walk));
        }
        let used: HashSet<_> = snapshot.plugins.iter().map(Arc::as_ptr).collect();
        self.plugins.borrow_mut().retain(|plugin, _| used.contains(plugin));
    }

    /// One step; false when it was the last one. The limits are those of now: another reload may have come in between.
    fn configure_some(&self, walk: &mut Walk) -> bool {
        let current = self.current.borrow().clone();
        let configure = |pool: &Pool| {
            pool.configure(&current.limits, &current.timeouts);
            1
        };
        walk.step(&self.clusters.borrow().all, CONFIGURED_AT_ONCE, configure);
        !walk.over
    }

    /// Takes what a listener that is gone has left.
    pub(crate) fn leave(&self, left: Box<dyn Leftover>) {
        self.left.borrow_mut().push(left);
    }

    /// Frees some of what was left; false when there is no more.
    fn free_some(&self) -> bool {
        let Some(mut freed) = self.left.borrow_mut().pop() else { return false };
        // Not borrowed meanwhile: what is freed may be the last owner of another listener.
        let more = freed.free_some();
        let mut left = self.left.borrow_mut();
        if more {
            left.push(freed);
        }
        !left.is_empty()
    }

    /// Lets old generations of plugins go.
    pub(crate) fn refresh_plugins(&self) {
        self.plugins.borrow().values().for_each(|plugin| plugin.refresh());
    }

    pub(crate) fn plugin(&self, plugin: &Arc<Plugin>) -> Rc<WorkerPlugin> {
        let new = || Rc::new(WorkerPlugin::new(plugin.clone(), self.worker, Some(self.outbound.clone())));
        self.plugins.borrow_mut().entry(Arc::as_ptr(plugin)).or_insert_with(new).clone()
    }

    pub(crate) fn cluster(&self, cluster: &Arc<Cluster>, snapshot: &Snapshot) -> Rc<LocalCluster> {
        let kept = self.clusters.borrow().get(&cluster.name).cloned();
        if let Some(kept) = kept.as_ref().filter(|kept| Arc::ptr_eq(&kept.shared, cluster)) {
            return kept.clone();
        }
        let kept = kept.as_ref().map(|kept| kept.shared.endpoints.iter().map(Endpoint::identity).zip(&kept.pools));
        let kept: HashMap<_, _> = kept.into_iter().flatten().collect();
        let pool = |endpoint: &Endpoint| {
            let secrecy = |client: &Arc<tls::Client>| Secrecy { client: client.clone(), host: endpoint.host.clone() };
            let tls = cluster.tls.as_ref().map(secrecy);
            let Cluster { protocol, proxy_header, .. } = **cluster;
            let peer = Peer { address: endpoint.address, protocol, tls, proxy_header };
            // What is kept open to one peer is of no use for another.
            match kept.get(&endpoint.identity()).filter(|pool| pool.peer == peer) {
                Some(pool) => Rc::clone(pool),
                None => Rc::new(Pool::new(peer, &snapshot.limits, &snapshot.timeouts)),
            }
        };
        let local = Rc::new(LocalCluster {
            shared: cluster.clone(),
            name: Arc::from(cluster.name.as_str()),
            pools: cluster.endpoints.iter().map(pool).collect(),
            balancer: cluster.balancer.as_ref().map(|plugin| self.plugin(plugin)),
            all: Arc::new(Candidates::all(cluster.clone())),
        });
        let before = self.clusters.borrow_mut().put(local.clone());
        drop(before);
        local
    }

    /// Clusters that were made.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.clusters.borrow().all.len()
    }
}
