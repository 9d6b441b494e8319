//! A worker's own view of a snapshot: the same listeners and clusters with this worker's pools and plugin instances.
//! Rebuilt when the config changes; pools and instances of what did not change are carried over.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use odin_runtime::{Plugin, WorkerPlugin};

use crate::balance::Candidates;
use crate::cluster::Cluster;
use crate::pool::Pool;
use crate::route::{Route, Routes};
use crate::snapshot::{Listener, ListenerKind, Snapshot};

/// The snapshot, as this worker uses it.
pub(crate) struct Local {
    pub(crate) listeners: HashMap<String, Rc<LocalListener>>,
    clusters: HashMap<*const Cluster, Rc<LocalCluster>>,
    plugins: HashMap<*const Plugin, Rc<WorkerPlugin>>,
}

/// One listener, as this worker serves it.
pub(crate) struct LocalListener {
    pub(crate) shared: Arc<Listener>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) kind: LocalKind,
}

pub(crate) enum LocalKind {
    Http { routes: Routes<Target>, trust_forwarded: bool },
    Tcp { cluster: Rc<LocalCluster> },
}

/// Where a route leads.
pub(crate) struct Target {
    pub(crate) cluster: Rc<LocalCluster>,
    pub(crate) plugins: Vec<Rc<WorkerPlugin>>,
}

/// One cluster, with this worker's connections to it.
pub(crate) struct LocalCluster {
    pub(crate) shared: Arc<Cluster>,
    pub(crate) pools: Vec<Rc<Pool>>,
    pub(crate) balancer: Option<Rc<WorkerPlugin>>,
    /// What a balancer sees first: every endpoint.
    pub(crate) all: Rc<Candidates>,
}

impl Local {
    /// The view of `snapshot`, with what can be kept of the one before.
    pub(crate) fn new(snapshot: Arc<Snapshot>, before: Option<&Local>, worker: usize) -> Self {
        let mut build =
            Build { before, worker, clusters: HashMap::new(), plugins: HashMap::new(), snapshot: &snapshot };
        let mut listeners = HashMap::new();
        for (name, listener) in &snapshot.listeners {
            let kind = match &listener.kind {
                ListenerKind::Tcp { cluster } => LocalKind::Tcp { cluster: build.cluster(cluster) },
                ListenerKind::Http { routes, trust_forwarded } => {
                    let routes = routes.iter().map(|route| {
                        let plugins = route.plugins.iter().map(|plugin| build.plugin(plugin)).collect();
                        let target = Target { cluster: build.cluster(&route.cluster), plugins };
                        Route::new(route.host.as_deref(), route.path.as_deref(), target)
                    });
                    LocalKind::Http { routes: Routes::new(routes.collect()), trust_forwarded: *trust_forwarded }
                }
            };
            let local = LocalListener { shared: listener.clone(), snapshot: snapshot.clone(), kind };
            listeners.insert(name.clone(), Rc::new(local));
        }
        let Build { clusters, plugins, .. } = build;
        Local { listeners, clusters, plugins }
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
    clusters: HashMap<*const Cluster, Rc<LocalCluster>>,
    plugins: HashMap<*const Plugin, Rc<WorkerPlugin>>,
    snapshot: &'a Snapshot,
}

impl Build<'_> {
    fn plugin(&mut self, plugin: &Arc<Plugin>) -> Rc<WorkerPlugin> {
        let key = Arc::as_ptr(plugin);
        let (before, worker) = (self.before, self.worker);
        let make = || {
            let kept = before.and_then(|before| before.plugins.get(&key).cloned());
            kept.unwrap_or_else(|| Rc::new(WorkerPlugin::new(plugin.clone(), worker)))
        };
        self.plugins.entry(key).or_insert_with(make).clone()
    }

    fn cluster(&mut self, cluster: &Arc<Cluster>) -> Rc<LocalCluster> {
        let key = Arc::as_ptr(cluster);
        if let Some(local) = self.clusters.get(&key) {
            return local.clone();
        }
        let kept = self.before.and_then(|before| before.clusters.get(&key));
        let limit = self.snapshot.limits.idle_upstream_connections;
        let local = Rc::new(LocalCluster {
            shared: cluster.clone(),
            pools: match kept {
                Some(kept) => {
                    kept.pools.iter().for_each(|pool| pool.set_limit(limit));
                    kept.pools.clone()
                }
                None => cluster.endpoints.iter().map(|_| Rc::new(Pool::new(limit))).collect(),
            },
            balancer: cluster.balancer.as_ref().map(|plugin| self.plugin(plugin)),
            all: Rc::new(Candidates::all(cluster.clone())),
        });
        self.clusters.insert(key, local.clone());
        local
    }
}
