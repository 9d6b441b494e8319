//! Resolves the names of endpoints, before a config is assembled: a resolver that does not answer takes ten seconds for
//! each, and the main thread has other things to do meanwhile. Must never fail: a name without an address is a result.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::{Cluster, EndpointAddress};
use crate::systemd;

/// Threads that wait for the resolver.
const AT_ONCE: usize = 64;

/// How often the watchdog is told meanwhile.
const ALIVE: Duration = Duration::from_secs(1);

/// What was found behind names.
#[derive(Default)]
pub(crate) struct Names(HashMap<EndpointAddress, io::Result<Vec<SocketAddr>>>);

impl Names {
    /// The names among the endpoints of these clusters.
    pub(crate) fn wanted<'a>(clusters: impl Iterator<Item = &'a Cluster>) -> HashSet<EndpointAddress> {
        let addresses = clusters.flat_map(|cluster| &cluster.endpoints).map(|endpoint| &endpoint.address);
        addresses.filter(|address| matches!(address, EndpointAddress::Name { .. })).cloned().collect()
    }

    /// Resolves each of them, many at a time.
    pub(crate) async fn resolve(names: HashSet<EndpointAddress>) -> Names {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut resolving = JoinSet::new();
        for name in names {
            let turns = turns.clone();
            resolving.spawn(async move {
                // The semaphore is never closed.
                let _turn = turns.acquire().await;
                let asked = name.clone();
                let found = tokio::task::spawn_blocking(move || asked.resolve()).await;
                (name, found.unwrap_or_else(|panic| Err(io::Error::other(panic))))
            });
        }
        let mut found = HashMap::new();
        loop {
            // Whoever waits for the resolver is alive.
            systemd::alive();
            match tokio::time::timeout(ALIVE, resolving.join_next()).await {
                Ok(Some(resolved)) => found.extend(resolved),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        Names(found)
    }

    /// The addresses behind an endpoint's address.
    pub(crate) fn of(&self, address: &EndpointAddress) -> io::Result<Vec<SocketAddr>> {
        match self.0.get(address) {
            Some(Ok(found)) => Ok(found.clone()),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => address.resolve(),
        }
    }
}
