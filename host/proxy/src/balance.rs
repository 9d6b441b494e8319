//! Picks the endpoint: asks the cluster's balancer plugin, or takes its turn in the built-in round robin.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use odin_runtime::Endpoints;

use crate::cluster::Cluster;
use crate::eligible::Set;
use crate::error::{Error, Kind};
use crate::head::Head;
use crate::local::LocalCluster;
use crate::upstream::Caller;

/// The endpoints of a cluster for one pick: all of them, less those that this exchange has tried.
pub(crate) struct Candidates {
    cluster: Arc<Cluster>,
    /// In order of the index.
    tried: Vec<u32>,
}

impl Candidates {
    /// Every endpoint.
    pub(crate) fn all(cluster: Arc<Cluster>) -> Self {
        Candidates { cluster, tried: Vec::new() }
    }

    /// Every endpoint but these, which are in order of the index.
    fn without(cluster: Arc<Cluster>, tried: &[u32]) -> Self {
        Candidates { cluster, tried: tried.to_vec() }
    }

    /// What this pick chooses from. An exchange finds out about one endpoint that has failed before, not about several in a
    /// row. When there is nothing but failed ones a guess beats a certain failure.
    fn set(&self) -> Set {
        let eligible = &self.cluster.eligible;
        if eligible.all_fine() {
            return Set::All;
        }
        let sets = if self.tried.is_empty() { &[Set::Open][..] } else { &[Set::Fine, Set::Open] };
        let some_left = |set: &&Set| match eligible.count(**set) as usize {
            0 => false,
            count => count > self.tried_of(**set).count(),
        };
        sets.iter().find(some_left).copied().unwrap_or(Set::All)
    }

    /// The tried ones that belong to a set.
    fn tried_of(&self, set: Set) -> impl Iterator<Item = u32> {
        self.tried.iter().copied().filter(move |index| set.has(self.cluster.health(*index as usize).standing()))
    }

    fn is_tried(&self, index: u32) -> bool {
        self.tried.binary_search(&index).is_ok()
    }

    /// An answer that was right a moment ago may be wrong by now. A tried endpoint must not be picked all the same.
    fn untried(&self, index: u32) -> Option<u32> {
        if self.is_tried(index) { (0..self.len()).find(|other| !self.is_tried(*other)) } else { Some(index) }
    }

    /// The built-in round robin: each as often as its weight says.
    pub(crate) fn take_turn(&self) -> Option<u32> {
        if self.uniform() {
            let eligible = self.eligible_len();
            let n = self.turn().checked_rem(u64::from(eligible))?;
            // Health may have changed between the two questions.
            self.nth_eligible(n as u32).or_else(|| self.nth_eligible(0))
        } else {
            let total = Some(self.eligible_weight()).filter(|total| *total > 0)?;
            self.nth_by_weight(self.cluster.stride.point(self.turn(), total)).or_else(|| self.nth_by_weight(0))
        }
    }
}

impl Endpoints for Candidates {
    fn len(&self) -> u32 {
        self.cluster.endpoints.len() as u32
    }

    fn eligible_len(&self) -> u32 {
        let set = self.set();
        self.cluster.eligible.count(set).saturating_sub(self.tried_of(set).count() as u32)
    }

    fn nth_eligible(&self, mut n: u32) -> Option<u32> {
        let (set, eligible) = (self.set(), &self.cluster.eligible);
        for tried in self.tried_of(set) {
            if eligible.count_before(set, tried) > n {
                break;
            }
            n = n.checked_add(1)?;
        }
        eligible.nth(set, n).and_then(|index| self.untried(index))
    }

    fn eligible_weight(&self) -> u64 {
        let set = self.set();
        let tried: u64 = self.tried_of(set).map(|index| u64::from(self.weight(index))).sum();
        self.cluster.eligible.weight(set).saturating_sub(tried)
    }

    fn nth_by_weight(&self, mut point: u64) -> Option<u32> {
        let (set, eligible) = (self.set(), &self.cluster.eligible);
        for tried in self.tried_of(set) {
            if eligible.weight_before(set, tried) > point {
                break;
            }
            point = point.checked_add(u64::from(self.weight(tried)))?;
        }
        eligible.nth_by_weight(set, point).and_then(|index| self.untried(index))
    }

    fn turn(&self) -> u64 {
        self.cluster.turn.fetch_add(1, Relaxed)
    }

    fn uniform(&self) -> bool {
        self.cluster.eligible.uniform()
    }

    fn eligible(&self, index: u32) -> bool {
        index < self.len() && !self.is_tried(index) && {
            let set = self.set();
            set.has(self.cluster.health(index as usize).standing())
        }
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

/// What a balancer sees: every endpoint of the cluster.
pub fn candidates(cluster: &Arc<Cluster>) -> Arc<dyn Endpoints> {
    Arc::new(Candidates::all(cluster.clone()))
}

/// Picks an endpoint as clusters without a balancer do: in turns, each as often as its weight says. None when there is no
/// endpoint.
pub fn take_turn(cluster: &Arc<Cluster>) -> Option<u32> {
    Candidates::all(cluster.clone()).take_turn()
}

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
        head: Option<&mut Head>,
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
