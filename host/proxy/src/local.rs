//! A worker's own view of a snapshot: the same listeners and clusters with this worker's pools and plugin instances.
//!
//! What a worker has of a cluster, a plugin or a route is made when it is first used, so a new config costs a worker next
//! to nothing, however much it holds; pools and instances of what did not change are carried over.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use http::Uri;
use odin_runtime::{OutboundSender, Plugin, Routing, WorkerPlugin};

use crate::balance::Candidates;
use crate::cluster::{Cluster, Endpoint};
use crate::pool::Pool;
use crate::settings::HttpRules;
use crate::snapshot::{CpuTime, Listener, ListenerKind, PluginUse, Snapshot};

/// So many clusters are swept, and targets let go, before others may run.
const AT_ONCE: usize = 256;

/// The snapshot, as this worker uses it.
pub(crate) struct Local {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) listeners: HashMap<String, Rc<LocalListener>>,
    pub(crate) clusters: Rc<Clusters>,
}

/// One listener, as this worker serves it.
pub(crate) struct LocalListener {
    pub(crate) name: Arc<str>,
    pub(crate) shared: Arc<Listener>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) kind: LocalKind,
    /// Where requests and connections go.
    pub(crate) router: Arc<Router>,
    /// What the router's answers stand for, once it was asked for.
    targets: Box<[OnceCell<Target>]>,
    pub(crate) clusters: Rc<Clusters>,
}

#[derive(Clone, Copy)]
pub(crate) enum LocalKind {
    Http(HttpRules),
    Tcp,
}

impl LocalKind {
    /// Whether a connection of the one can go on as one of the other.
    pub(crate) fn same_protocol(self, other: LocalKind) -> bool {
        matches!((self, other), (LocalKind::Tcp, LocalKind::Tcp) | (LocalKind::Http(_), LocalKind::Http(_)))
    }
}

/// Where a route leads.
pub(crate) struct Target {
    /// The route in words.
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Rc<LocalCluster>,
    pub(crate) plugins: Vec<RoutePlugin>,
}

/// A plugin at its place in a route, as this worker calls it.
#[derive(Clone)]
pub(crate) struct RoutePlugin {
    pub(crate) plugin: Rc<WorkerPlugin>,
    cpu: Arc<CpuTime>,
    worker: usize,
}

impl RoutePlugin {
    /// Its hooks took so long.
    pub(crate) fn took(&self, nanos: u64) {
        self.cpu.add(self.worker, nanos);
    }
}

/// Matches the routes of a listener, for the exchange and for plugins.
pub(crate) struct Router {
    listener: Arc<Listener>,
    snapshot: Arc<Snapshot>,
}

impl Router {
    /// The index of the target.
    pub(crate) fn find(&self, authority: &str, path: &str) -> Option<usize> {
        match &self.listener.kind {
            ListenerKind::Http { routes, rules } => routes.find(authority, &rules.paths.for_matching(path)),
            ListenerKind::Tcp { .. } => None,
        }
    }
}

impl Routing for Router {
    fn has_cluster(&self, name: &str) -> bool {
        self.snapshot.clusters.contains_key(name)
    }

    fn matches(&self, authority: &str, uri: &Uri) -> bool {
        self.find(authority, uri.path()).is_some()
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

impl Local {
    /// The view of `snapshot`, with what can be kept of the one before.
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        before: Option<&Local>,
        worker: usize,
        outbound: &OutboundSender,
    ) -> Self {
        let made = before.map(|before| before.clusters.made.clone());
        let made = made.unwrap_or_else(|| Rc::new(Made::new(worker, outbound.clone())));
        let clusters = Rc::new(Clusters { snapshot: snapshot.clone(), made });
        let local = |listener: &Arc<Listener>| Rc::new(LocalListener::new(listener, &snapshot, &clusters));
        let listeners = snapshot.listeners.iter().map(|(name, listener)| (name.clone(), local(listener))).collect();
        clusters.made.go_on(&snapshot, before.map(|before| &*before.snapshot));
        Local { snapshot: snapshot.clone(), listeners, clusters }
    }

    /// Closes idle connections, forgets clusters that are gone, and lets old generations of plugins go. For the worker's
    /// event loop: of many clusters it looks at some, then lets others run.
    pub(crate) fn tick(&self) {
        self.clusters.made.plugins.borrow().values().for_each(|plugin| plugin.refresh());
        let mut made = self.clusters.made.clusters.borrow().clone().into_iter();
        let mut left: Vec<_> = self.clusters.made.left.take().into_iter().flatten().collect();
        if made.len() + left.len() <= AT_ONCE {
            return self.clusters.sweep(made);
        }
        let clusters = self.clusters.clone();
        tokio::task::spawn_local(async move {
            while made.len() + left.len() > 0 {
                clusters.sweep(made.by_ref().take(AT_ONCE));
                left.truncate(left.len().saturating_sub(AT_ONCE));
                tokio::task::yield_now().await;
            }
        });
    }
}

impl LocalListener {
    fn new(listener: &Arc<Listener>, snapshot: &Arc<Snapshot>, clusters: &Rc<Clusters>) -> Self {
        let (kind, targets) = match &listener.kind {
            ListenerKind::Tcp { .. } => (LocalKind::Tcp, 1),
            ListenerKind::Http { routes, rules } => (LocalKind::Http(*rules), routes.len()),
        };
        LocalListener {
            name: Arc::from(listener.name.as_str()),
            shared: listener.clone(),
            snapshot: snapshot.clone(),
            kind,
            router: Arc::new(Router { listener: listener.clone(), snapshot: snapshot.clone() }),
            targets: (0..targets).map(|_| OnceCell::new()).collect(),
            clusters: clusters.clone(),
        }
    }

    /// What an answer of the router stands for; a TCP listener has one, the first.
    pub(crate) fn target(&self, at: usize) -> Option<&Target> {
        let cell = self.targets.get(at)?;
        let make = || match &self.shared.kind {
            ListenerKind::Tcp { cluster, plugins } => self.make(self.name.clone(), cluster, plugins),
            ListenerKind::Http { routes, .. } => {
                let route = &routes[at];
                self.make(Arc::from(route.name()), &route.cluster, &route.plugins)
            }
        };
        Some(cell.get_or_init(make))
    }

    fn make(&self, name: Arc<str>, cluster: &Arc<Cluster>, plugins: &[PluginUse]) -> Target {
        let Clusters { made, snapshot } = &*self.clusters;
        let place = |used: &PluginUse| RoutePlugin {
            plugin: made.plugin(&used.plugin),
            cpu: used.cpu.clone(),
            worker: made.worker,
        };
        Target { name, cluster: made.cluster(cluster, snapshot), plugins: plugins.iter().map(place).collect() }
    }
}

impl Drop for LocalListener {
    /// The end of an exchange that began before a reload must not be that of thousands of targets too.
    fn drop(&mut self) {
        if self.targets.len() > AT_ONCE {
            self.clusters.made.left.borrow_mut().push(std::mem::take(&mut self.targets).into_vec());
        }
    }
}

/// The clusters of a snapshot, as this worker uses them.
pub(crate) struct Clusters {
    snapshot: Arc<Snapshot>,
    made: Rc<Made>,
}

impl Clusters {
    fn sweep(&self, made: impl Iterator<Item = (Rc<str>, Rc<LocalCluster>)>) {
        for (name, cluster) in made {
            cluster.pools.iter().for_each(|pool| pool.sweep());
            if !self.snapshot.clusters.contains_key(&*name) {
                self.made.clusters.borrow_mut().remove(&name);
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Rc<LocalCluster>> {
        Some(self.made.cluster(self.snapshot.clusters.get(name)?, &self.snapshot))
    }
}

/// What this worker has of clusters and plugins, from one config to the next.
struct Made {
    worker: usize,
    outbound: OutboundSender,
    /// By their names.
    clusters: RefCell<HashMap<Rc<str>, Rc<LocalCluster>>>,
    plugins: RefCell<HashMap<*const Plugin, Rc<WorkerPlugin>>>,
    /// Of listeners that are no more, to be let go by and by.
    left: RefCell<Vec<Vec<OnceCell<Target>>>>,
}

impl Made {
    fn new(worker: usize, outbound: OutboundSender) -> Self {
        Made { worker, outbound, clusters: RefCell::default(), plugins: RefCell::default(), left: RefCell::default() }
    }

    /// Lets the plugins go that are no more in the config, and tells the pools of new limits.
    fn go_on(&self, snapshot: &Snapshot, before: Option<&Snapshot>) {
        let Snapshot { limits, timeouts, .. } = snapshot;
        if before.is_some_and(|before| (&before.limits, &before.timeouts) != (limits, timeouts)) {
            let clusters = self.clusters.borrow();
            clusters.values().flat_map(|cluster| &cluster.pools).for_each(|pool| pool.configure(limits, timeouts));
        }
        let used: HashSet<_> = snapshot.plugins.iter().map(Arc::as_ptr).collect();
        self.plugins.borrow_mut().retain(|plugin, _| used.contains(plugin));
    }

    fn plugin(&self, plugin: &Arc<Plugin>) -> Rc<WorkerPlugin> {
        let new = || Rc::new(WorkerPlugin::new(plugin.clone(), self.worker, Some(self.outbound.clone())));
        self.plugins.borrow_mut().entry(Arc::as_ptr(plugin)).or_insert_with(new).clone()
    }

    fn cluster(&self, cluster: &Arc<Cluster>, snapshot: &Snapshot) -> Rc<LocalCluster> {
        let kept = self.clusters.borrow().get(cluster.name.as_str()).cloned();
        if let Some(kept) = kept.as_ref().filter(|kept| Arc::ptr_eq(&kept.shared, cluster)) {
            return kept.clone();
        }
        let kept = kept.as_ref().map(|kept| kept.shared.endpoints.iter().map(Endpoint::identity).zip(&kept.pools));
        let kept: HashMap<_, _> = kept.into_iter().flatten().collect();
        let pool = |endpoint: &Endpoint| match kept.get(&endpoint.identity()) {
            Some(pool) => Rc::clone(pool),
            None => Rc::new(Pool::new(&snapshot.limits, &snapshot.timeouts)),
        };
        let local = Rc::new(LocalCluster {
            shared: cluster.clone(),
            name: Arc::from(cluster.name.as_str()),
            pools: cluster.endpoints.iter().map(pool).collect(),
            balancer: cluster.balancer.as_ref().map(|plugin| self.plugin(plugin)),
            all: Arc::new(Candidates::all(cluster.clone())),
        });
        self.clusters.borrow_mut().insert(cluster.name.as_str().into(), local.clone());
        local
    }
}
