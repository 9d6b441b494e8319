//! Where requests go: the compiled routes of a listener.

pub(crate) mod names;
pub(crate) mod route;

use std::sync::Arc;

use http::Uri;
use odin_chain::Routing;

use crate::snapshot::{Auto, Listener, ListenerKind, Snapshot};

/// Matches the routes of a listener, for the exchange and for plugins.
pub(crate) struct Router {
    listener: Arc<Listener>,
    snapshot: Arc<Snapshot>,
}

impl Router {
    pub(crate) fn new(listener: Arc<Listener>, snapshot: Arc<Snapshot>) -> Self {
        Router { listener, snapshot }
    }

    /// The index of the target.
    pub(crate) fn find(&self, authority: &str, path: &str) -> Option<usize> {
        match &self.listener.kind {
            ListenerKind::Http { routes, rules } | ListenerKind::Auto(Auto { http: routes, rules, .. }) => {
                routes.find(authority, &rules.paths.for_matching(path))
            }
            ListenerKind::Tcp { .. } | ListenerKind::Tls { .. } => None,
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
