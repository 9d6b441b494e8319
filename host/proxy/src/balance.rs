//! Picks the endpoint: asks the cluster's balancer plugin, or takes its turn in the built-in round robin.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use odin_runtime::{Endpoints, HookState};

use crate::cluster::Cluster;
use crate::error::{Error, Kind};
use crate::hooks;
use crate::local::LocalCluster;

/// The endpoints of a cluster for one pick: all of them, less those that failed for this exchange.
pub(crate) struct Candidates {
    cluster: Arc<Cluster>,
    failed: Vec<u32>,
}

impl Candidates {
    /// Every endpoint.
    pub(crate) fn all(cluster: Arc<Cluster>) -> Self {
        Candidates { cluster, failed: Vec::new() }
    }

    /// Every endpoint but these.
    fn without(cluster: Arc<Cluster>, failed: &[u32]) -> Self {
        Candidates { cluster, failed: failed.to_vec() }
    }

    /// Nothing is known against any endpoint: nobody has to be looked at one by one.
    fn all_fine(&self) -> bool {
        self.failed.is_empty() && !self.cluster.any_failed.load(Relaxed)
    }

    fn untried(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).filter(|index| !self.failed.contains(index))
    }

    /// The built-in round robin.
    fn take_turn(&self) -> Option<u32> {
        let eligible = self.eligible_len();
        if eligible == 0 {
            return None;
        }
        let n = (self.turn() % u64::from(eligible)) as u32;
        // Health may have changed between the two questions.
        self.nth_eligible(n).or_else(|| self.nth_eligible(0))
    }

    fn eligible_indexes(&self) -> impl Iterator<Item = u32> {
        let ignore_health = !self.untried().any(|index| self.healthy(index));
        self.untried().filter(move |index| ignore_health || self.healthy(*index))
    }
}

impl Endpoints for Candidates {
    fn len(&self) -> u32 {
        self.cluster.endpoints.len() as u32
    }

    fn eligible_len(&self) -> u32 {
        if self.all_fine() { self.len() } else { self.eligible_indexes().count() as u32 }
    }

    fn nth_eligible(&self, n: u32) -> Option<u32> {
        if self.all_fine() { (n < self.len()).then_some(n) } else { self.eligible_indexes().nth(n as usize) }
    }

    fn turn(&self) -> u64 {
        self.cluster.turn.fetch_add(1, Relaxed)
    }

    fn uniform(&self) -> bool {
        self.cluster.uniform
    }

    fn eligible(&self, index: u32) -> bool {
        if self.all_fine() { index < self.len() } else { self.eligible_indexes().any(|other| other == index) }
    }

    fn address(&self, index: u32) -> Cow<'_, str> {
        self.cluster.endpoints[index as usize].address.to_string().into()
    }

    fn weight(&self, index: u32) -> u32 {
        self.cluster.endpoints[index as usize].weight
    }

    fn healthy(&self, index: u32) -> bool {
        self.cluster.endpoints[index as usize].healthy()
    }

    fn active_requests(&self, index: u32) -> u32 {
        u32::try_from(self.cluster.endpoints[index as usize].active()).unwrap_or(u32::MAX)
    }
}

/// The endpoints that one exchange or connection tries, one after the other.
pub(crate) struct Tries {
    limit: usize,
    failed: Vec<u32>,
    last: Option<Error>,
}

impl Tries {
    /// At most so many, and no endpoint twice.
    pub(crate) fn up_to(limit: usize) -> Self {
        Tries { limit, failed: Vec::new(), last: None }
    }

    /// The next endpoint; when there is none, what the last one failed with.
    pub(crate) async fn next(&mut self, cluster: &LocalCluster, state: &mut Box<HookState>) -> Result<usize, Error> {
        let none = Error::new(Kind::NoEndpoint, "the cluster has no endpoint");
        if self.failed.len() >= self.limit.min(cluster.shared.endpoints.len()) {
            return Err(self.last.take().unwrap_or(none));
        }
        let candidates = match self.failed.as_slice() {
            [] => cluster.all.clone(),
            failed => Arc::new(Candidates::without(cluster.shared.clone(), failed)),
        };
        // The failure says more than that nobody is left.
        let picked = pick(cluster, candidates, state).await;
        picked.map_err(|error| self.last.take().filter(|_| error.kind == Kind::NoEndpoint).unwrap_or(error))
    }

    /// The endpoint failed, and another may be tried.
    pub(crate) fn failed(&mut self, index: usize, error: Error) {
        self.failed.push(index as u32);
        self.last = Some(error);
    }
}

/// Picks among the candidates; an error when there is none, or none was picked.
async fn pick(cluster: &LocalCluster, candidates: Arc<Candidates>, state: &mut Box<HookState>) -> Result<usize, Error> {
    let none = |detail: &'static str| Error::new(Kind::NoEndpoint, detail);
    let picked = match &cluster.balancer {
        Some(plugin) => hooks::pick(plugin, state, candidates.clone()).await?,
        None => None,
    };
    let picked = match picked {
        Some(index) => index.ok_or_else(|| none("the balancer picked none"))?,
        None => candidates.take_turn().ok_or_else(|| none("every endpoint failed"))?,
    };
    if candidates.failed.contains(&picked) {
        return Err(none("the balancer picked an endpoint that has just failed"));
    }
    Ok(picked as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Protocol;

    #[test]
    fn failed_and_unhealthy_endpoints_are_not_eligible() {
        let addresses = (1..=3).map(|port| (([127, 0, 0, 1], port).into(), 1));
        let cluster = Arc::new(Cluster::new("c", addresses, None, Protocol::Http1, 1));
        let all = Candidates::all(cluster.clone());
        assert_eq!((all.eligible_len(), all.nth_eligible(2), all.nth_eligible(3)), (3, Some(2), None));
        cluster.connect_failed(0);
        assert_eq!((all.eligible_len(), all.nth_eligible(0), all.eligible(0)), (2, Some(1), false));
        let rest = Candidates::without(cluster.clone(), &[1]);
        assert_eq!((rest.eligible_len(), rest.nth_eligible(0)), (1, Some(2)));
        cluster.connect_failed(1);
        cluster.connect_failed(2);
        assert_eq!(all.eligible_len(), 3, "a guess beats a certain failure");
        cluster.connected(0);
        cluster.connected(1);
        cluster.connected(2);
        assert!(all.all_fine());
    }
}
