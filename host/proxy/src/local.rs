//! A worker's own view of a snapshot: the same listeners and clusters with this worker's pools and plugin instances.
//!
//! What a worker has of a cluster, a plugin or a route is made when it is first used, so a new config costs a worker next
//! to nothing, however much it holds; pools and instances of what did not change are carried over.

mod made;
mod targets;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::Uri;
use odin_runtime::{OutboundSender, Routing, WorkerPlugin};

use crate::candidates::Candidates;
use crate::cluster::Cluster;
use crate::pool::Pool;
use crate::settings::HttpRules;
use crate::snapshot::{CpuTime, Listener, ListenerKind, PluginUse, Snapshot};

pub(crate) use made::Clusters;
use made::Made;
use targets::Targets;

/// The targets of a listener with more routes than this are freed in steps.
const FEW: usize = 256;

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
    targets: Targets<Target>,
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
        let made = match before {
            Some(before) => before.clusters.made.clone(),
            None => Rc::new(Made::new(worker, outbound.clone(), &snapshot)),
        };
        let clusters = Rc::new(Clusters { snapshot: snapshot.clone(), made });
        let local = |listener: &Arc<Listener>| Rc::new(LocalListener::new(listener, &snapshot, &clusters));
        let listeners = snapshot.listeners.iter().map(|(name, listener)| (name.clone(), local(listener))).collect();
        clusters.made.go_on(&snapshot);
        Local { snapshot: snapshot.clone(), listeners, clusters }
    }

    /// Closes idle connections, forgets what the config before had, and lets old generations of plugins go. For the
    /// worker's event loop: of many clusters and routes it takes some, then lets others run.
    pub(crate) fn tick(&self) {
        self.clusters.made.plugins.borrow().values().for_each(|plugin| plugin.refresh());
        self.clusters.sweep();
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
            targets: Targets::new(targets),
            clusters: clusters.clone(),
        }
    }

    /// What an answer of the router stands for; a TCP listener has one, the first.
    pub(crate) fn target(&self, at: usize) -> Option<&Target> {
        let make = || match &self.shared.kind {
            ListenerKind::Tcp { cluster, plugins } => self.make(self.name.clone(), cluster, plugins),
            ListenerKind::Http { routes, .. } => {
                let route = &routes[at];
                self.make(Arc::from(route.name()), &route.cluster, &route.plugins)
            }
        };
        self.targets.get(at, make)
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
        if self.targets.len() > FEW {
            self.clusters.made.leave(std::mem::replace(&mut self.targets, Targets::new(0)));
        }
    }
}

#[cfg(test)]
mod tests;
