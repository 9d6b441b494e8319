//! A worker's own view of a snapshot: the same listeners and clusters with this worker's pools and plugin instances.
//!
//! What a worker has of a cluster, a plugin or a route is made when it is first used, so a new config costs a worker next
//! to nothing, however much it holds; pools and instances of what did not change are carried over.

mod targets;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use odin_runtime::OutboundSender;

use crate::filter::RoutePlugin;
use crate::router::Router;
use crate::settings::HttpRules;
use crate::snapshot::{Auto, Listener, ListenerKind, PluginUse, Snapshot};
use crate::upstream::cluster::Cluster;
use crate::upstream::local::{Clusters, LocalCluster, Made};

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
    /// TLS, not decrypted.
    Tls,
    /// Any of these.
    Auto(HttpRules),
}

impl LocalKind {
    /// How requests are read, where there may be some.
    pub(crate) fn http(self) -> Option<HttpRules> {
        match self {
            LocalKind::Http(rules) | LocalKind::Auto(rules) => Some(rules),
            LocalKind::Tcp | LocalKind::Tls => None,
        }
    }
}

/// Where a route leads.
pub(crate) struct Target {
    /// The route in words.
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Rc<LocalCluster>,
    pub(crate) plugins: Vec<RoutePlugin>,
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
        self.clusters.made.refresh_plugins();
        self.clusters.sweep();
    }
}

impl LocalListener {
    /// Whether a connection of this listener can go on as one of `next`: it speaks the same protocol, and has shown what
    /// `next` asks of its clients.
    pub(crate) fn goes_on_as(&self, next: &LocalListener) -> bool {
        let same_tls = match (&self.shared.tls, &next.shared.tls) {
            (None, None) => true,
            (Some(tls), Some(next)) => tls.asks_as(next),
            _ => false,
        };
        let same_kind = std::mem::discriminant(&self.kind) == std::mem::discriminant(&next.kind);
        same_kind && same_tls && self.shared.proxy_header == next.shared.proxy_header
    }

    fn new(listener: &Arc<Listener>, snapshot: &Arc<Snapshot>, clusters: &Rc<Clusters>) -> Self {
        let (kind, targets) = match &listener.kind {
            ListenerKind::Tcp { .. } => (LocalKind::Tcp, 1),
            ListenerKind::Http { routes, rules } => (LocalKind::Http(*rules), routes.len()),
            ListenerKind::Tls { routes } => (LocalKind::Tls, routes.len()),
            ListenerKind::Auto(auto) => (LocalKind::Auto(auto.rules), auto.http.len() + auto.tls.len() + 1),
        };
        LocalListener {
            name: Arc::from(listener.name.as_str()),
            shared: listener.clone(),
            snapshot: snapshot.clone(),
            kind,
            router: Arc::new(Router::new(listener.clone(), snapshot.clone())),
            targets: Targets::new(targets),
            clusters: clusters.clone(),
        }
    }

    /// What an answer of the router stands for.
    pub(crate) fn target(&self, at: usize) -> Option<&Target> {
        let route = &self.shared.kind.http().get(at)?;
        self.targets.get(at, || self.make(Arc::from(route.name()), &route.cluster, &route.plugins))
    }

    /// Where a TLS connection goes that is not decrypted. After the routes of requests.
    pub(crate) fn tls_target(&self, sni: Option<&str>, alpn: &[Box<[u8]>]) -> Option<&Target> {
        let (ListenerKind::Tls { routes } | ListenerKind::Auto(Auto { tls: routes, .. })) = &self.shared.kind else {
            return None;
        };
        let at = routes.find(sni, alpn)?;
        let route = &routes[at];
        let make = || self.make(Arc::from(route.name()), &route.cluster, &route.plugins);
        self.targets.get(self.shared.kind.http().len() + at, make)
    }

    /// Where bytes of any protocol go. After the routes.
    pub(crate) fn tcp_target(&self) -> Option<&Target> {
        let (cluster, plugins) = match &self.shared.kind {
            ListenerKind::Tcp { cluster, plugins } => (cluster, &plugins[..]),
            ListenerKind::Auto(auto) => (auto.tcp.as_ref()?, &[][..]),
            ListenerKind::Http { .. } | ListenerKind::Tls { .. } => return None,
        };
        let at = self.shared.kind.http().len() + self.shared.kind.tls().len();
        self.targets.get(at, || self.make(self.name.clone(), cluster, plugins))
    }

    fn make(&self, name: Arc<str>, cluster: &Arc<Cluster>, plugins: &[PluginUse]) -> Target {
        let Clusters { made, snapshot } = &*self.clusters;
        let place = |used: &PluginUse| RoutePlugin::new(made.plugin(&used.plugin), used.cpu.clone(), made.worker);
        Target { name, cluster: made.cluster(cluster, snapshot), plugins: plugins.iter().map(place).collect() }
    }
}

impl Drop for LocalListener {
    /// The end of an exchange that began before a reload must not be that of thousands of targets too.
    fn drop(&mut self) {
        if self.targets.len() > FEW {
            self.clusters.made.leave(Box::new(std::mem::replace(&mut self.targets, Targets::new(0))));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
