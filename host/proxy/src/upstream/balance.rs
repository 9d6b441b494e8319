//! Picks the endpoints of a call, one after the other: asks the cluster's balancer plugin, or the built-in balancer.

use std::sync::Arc;

use crate::error::{Error, Kind};
use crate::http::head::Head;
use crate::upstream::attempt::Caller;
use crate::upstream::candidates::Candidates;
use crate::upstream::cluster::Cluster;
use crate::upstream::local::LocalCluster;

/// The endpoints that one exchange or connection tries, one after the other.
pub(crate) struct Tries {
    limit: usize,
    /// In order of the index.
    failed: Vec<u32>,
    last: Option<Error>,
    /// Failed endpoints that this exchange is the first to try again.
    trials: Vec<(Arc<Cluster>, usize)>,
}

impl Tries {
    /// At most so many, and no endpoint twice.
    pub(crate) fn up_to(limit: usize) -> Self {
        Tries { limit, failed: Vec::new(), last: None, trials: Vec::new() }
    }

    /// The next endpoint, by the cluster's balancer plugin; when there is none, what the last one failed with.
    pub(crate) async fn next(
        &mut self,
        cluster: &LocalCluster,
        caller: &dyn Caller,
        head: &mut Option<Head>,
    ) -> Result<usize, Error> {
        let candidates = self.candidates(cluster)?;
        let picked = match caller.pick(cluster, head, candidates.clone()).await {
            Ok(Some(Some(index))) => Ok(index),
            Ok(Some(None)) => Err(none("the balancer picked none")),
            Ok(None) => in_turn(&candidates),
            Err(error) => Err(error),
        };
        self.picked(cluster, &candidates, picked)
    }

    /// The next endpoint, by the built-in balancer.
    pub(crate) fn in_turn(&mut self, cluster: &LocalCluster) -> Result<usize, Error> {
        let candidates = self.candidates(cluster)?;
        let picked = in_turn(&candidates);
        self.picked(cluster, &candidates, picked)
    }

    /// What is left to pick from.
    fn candidates(&mut self, cluster: &LocalCluster) -> Result<Arc<Candidates>, Error> {
        if self.failed.len() >= self.limit.min(cluster.shared.endpoints.len()) {
            return Err(self.last.take().unwrap_or_else(|| none("the cluster has no endpoint")));
        }
        cluster.shared.refresh();
        Ok(match self.failed.as_slice() {
            [] => cluster.all.clone(),
            failed => Arc::new(Candidates::without(cluster.shared.clone(), failed)),
        })
    }

    fn picked(
        &mut self,
        cluster: &LocalCluster,
        among: &Candidates,
        picked: Result<u32, Error>,
    ) -> Result<usize, Error> {
        let picked = picked.and_then(|index| match among.is_tried(index) {
            true => Err(none("the balancer picked an endpoint that has just failed")),
            false => Ok(index as usize),
        });
        // What the last endpoint failed with says more than that no other is left.
        let picked =
            picked.map_err(|error| self.last.take().filter(|_| error.kind == Kind::NoEndpoint).unwrap_or(error))?;
        if cluster.shared.health(picked).try_out() {
            self.trials.push((cluster.shared.clone(), picked));
        }
        Ok(picked)
    }

    /// The endpoint failed, and another may be tried.
    pub(crate) fn failed(&mut self, index: usize, error: Error) {
        if let Err(at) = self.failed.binary_search(&(index as u32)) {
            self.failed.insert(at, index as u32);
        }
        self.last = Some(error);
    }
}

impl Drop for Tries {
    /// By now the endpoint that was tried has answered, or failed, or shown nothing.
    fn drop(&mut self) {
        self.trials.drain(..).for_each(|(cluster, index)| cluster.health(index).end_trial());
    }
}

fn in_turn(candidates: &Candidates) -> Result<u32, Error> {
    candidates.take_turn().ok_or_else(|| none("every endpoint failed"))
}

fn none(detail: &'static str) -> Error {
    Error::new(Kind::NoEndpoint, detail)
}

#[cfg(test)]
mod tests;
