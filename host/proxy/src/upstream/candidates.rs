//! The endpoints of a cluster as a balancer sees them in one pick, and the turn of the built-in balancer.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use odin_chain::Endpoints;

use crate::upstream::cluster::Cluster;
use crate::upstream::eligible::Set;

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
    pub(crate) fn without(cluster: Arc<Cluster>, tried: &[u32]) -> Self {
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

    pub(crate) fn is_tried(&self, index: u32) -> bool {
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
