//! A worker's own view of a snapshot: the same listeners and clusters with this worker's pools and plugin instances.
//! Rebuilt when the config changes; pools and instances of what did not change are carried over.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::Uri;
use odin_runtime::{OutboundSender, Plugin, Routing, WorkerPlugin};

use crate::balance::Candidates;
use crate::cluster::{Cluster, Endpoint};
use crate::path::PathRules;
use crate::pool::Pool;
use crate::route::{Route, Routes};
use crate::settings::HttpRules;
use crate::snapshot::{CpuTime, Listener, ListenerKind, PluginUse, Snapshot};

/// The snapshot, as this worker uses it.
pub(crate) struct Local {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) listeners: HashMap<String, Rc<LocalListener>>,
    pub(crate) clusters: Rc<Clusters>,
    plugins: HashMap<*const Plugin, Rc<WorkerPlugin>>,
}

/// The clusters by name.
pub(crate) type Clusters = HashMap<String, Rc<LocalCluster>>;

/// One listener, as this worker serves it.
pub(crate) struct LocalListener {
    pub(crate) name: Arc<str>,
    pub(crate) shared: Arc<Listener>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) kind: LocalKind,
    /// Where requests and connections go.
    pub(crate) router: Arc<Router>,
    /// What the router's answers stand for; a TCP listener has one.
    pub(crate) targets: Vec<Target>,
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
    routes: Routes<usize>,
    paths: PathRules,
    snapshot: Arc<Snapshot>,
}

impl Router {
    /// The index of the target.
    pub(crate) fn find(&self, authority: &str, uri: &Uri) -> Option<usize> {
        self.routes.find(authority, &self.paths.for_matching(uri.path())).copied()
    }
}

impl Routing for Router {
    fn has_cluster(&self, name: &str) -> bool {
        self.snapshot.clusters.contains_key(name)
    }

    fn matches(&self, authority: &str, uri: &Uri) -> bool {
        self.find(authority, uri).is_some()
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
        let mut build = Build { before, worker, outbound, plugins: HashMap::new(), snapshot: &snapshot };
        let clusters = snapshot.clusters.iter().map(|(name, cluster)| (name.clone(), build.cluster(cluster)));
        let clusters = Rc::new(clusters.collect::<Clusters>());
        let listener = |listener: &Arc<Listener>| build.listener(listener, &clusters).map(Rc::new);
        let listeners = snapshot.listeners.values().filter_map(listener);
        let listeners = listeners.map(|listener| (listener.shared.name.clone(), listener)).collect();
        let Build { plugins, .. } = build;
        Local { snapshot: snapshot.clone(), listeners, clusters, plugins }
    }

    /// Closes idle connections and lets old generations of plugins go.
    pub(crate) fn tick(&self) {
        for cluster in self.clusters.values() {
            cluster.pools.iter().for_each(|pool| pool.sweep());
        }
        self.plugins.values().for_each(|plugin| plugin.refresh());
    }
}

struct Build<'a> {
    before: Option<&'a Local>,
    worker: usize,
    outbound: &'a OutboundSender,
    plugins: HashMap<*const Plugin, Rc<WorkerPlugin>>,
    snapshot: &'a Arc<Snapshot>,
}

impl Build<'_> {
    /// None when it names a cluster that the snapshot does not have: who made it has checked that.
    fn listener(&mut self, listener: &Arc<Listener>, clusters: &Rc<Clusters>) -> Option<LocalListener> {
        let (kind, targets, routes) = match &listener.kind {
            ListenerKind::Tcp { cluster, plugins } => {
                let name = Arc::from(listener.name.as_str());
                let cluster = clusters.get(&cluster.name)?.clone();
                (LocalKind::Tcp, vec![Target { name, cluster, plugins: self.uses(plugins) }], Vec::new())
            }
            ListenerKind::Http { routes, rules } => {
                let (mut targets, mut matching) = (Vec::new(), Vec::new());
                for (at, route) in routes.iter().enumerate() {
                    let cluster = clusters.get(&route.cluster.name)?.clone();
                    let plugins = self.uses(&route.plugins);
                    targets.push(Target { name: Arc::from(route.name()), cluster, plugins });
                    matching.push(Route::new(route.host.as_deref(), route.path.as_deref(), at));
                }
                (LocalKind::Http(*rules), targets, matching)
            }
        };
        let paths = match kind {
            LocalKind::Http(rules) => rules.paths,
            LocalKind::Tcp => PathRules::Off,
        };
        let router = Arc::new(Router { routes: Routes::new(routes), paths, snapshot: self.snapshot.clone() });
        Some(LocalListener {
            name: Arc::from(listener.name.as_str()),
            shared: listener.clone(),
            snapshot: self.snapshot.clone(),
            kind,
            router,
            targets,
            clusters: clusters.clone(),
        })
    }

    fn uses(&mut self, uses: &[PluginUse]) -> Vec<RoutePlugin> {
        let worker = self.worker;
        let local = |used: &PluginUse| RoutePlugin { plugin: self.plugin(&used.plugin), cpu: used.cpu.clone(), worker };
        uses.iter().map(local).collect()
    }

    fn plugin(&mut self, plugin: &Arc<Plugin>) -> Rc<WorkerPlugin> {
        let key = Arc::as_ptr(plugin);
        let (before, worker) = (self.before, self.worker);
        let make = || {
            let kept = before.and_then(|before| before.plugins.get(&key).cloned());
            let new = || Rc::new(WorkerPlugin::new(plugin.clone(), worker, Some(self.outbound.clone())));
            kept.unwrap_or_else(new)
        };
        self.plugins.entry(key).or_insert_with(make).clone()
    }

    fn cluster(&mut self, cluster: &Arc<Cluster>) -> Rc<LocalCluster> {
        let kept = self.before.and_then(|before| before.clusters.get(&cluster.name));
        let kept = kept.map(|kept| kept.shared.endpoints.iter().map(Endpoint::identity).zip(&kept.pools));
        let kept: HashMap<_, _> = kept.into_iter().flatten().collect();
        let Snapshot { limits, timeouts, .. } = &**self.snapshot;
        let pool = |endpoint: &Endpoint| match kept.get(&endpoint.identity()) {
            Some(pool) => {
                pool.configure(limits, timeouts);
                Rc::clone(pool)
            }
            None => Rc::new(Pool::new(limits, timeouts)),
        };
        Rc::new(LocalCluster {
            shared: cluster.clone(),
            name: Arc::from(cluster.name.as_str()),
            pools: cluster.endpoints.iter().map(pool).collect(),
            balancer: cluster.balancer.as_ref().map(|plugin| self.plugin(plugin)),
            all: Arc::new(Candidates::all(cluster.clone())),
        })
    }
}
