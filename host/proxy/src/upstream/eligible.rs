//! Which endpoints of a cluster may be picked, how many they are and what they weigh, kept up to date with every change of
//! an endpoint's health: a balancer is answered in at most log2(endpoints) steps, and never by a walk over all of them.
//!
//! While every endpoint is fine an answer reads one number that nobody writes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::upstream::health::Standing;
use crate::upstream::sums::Sums;

/// So many endpoints come back in one pick; those that are due beyond it come back in the next ones.
const AT_ONCE: usize = 8;

/// The endpoints that one pick chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// Every endpoint, whatever its health.
    All,
    /// Those that are fine, and those on trial.
    Open,
    /// Those that are fine.
    Fine,
}

impl Set {
    /// Whether an endpoint that stands so belongs to it.
    pub(crate) fn has(self, standing: Standing) -> bool {
        match self {
            Set::All => true,
            Set::Open => !matches!(standing, Standing::Out { .. }),
            Set::Fine => standing == Standing::Fine,
        }
    }
}

/// The endpoints of a cluster by health.
pub(crate) struct Eligible {
    /// Endpoints that are not fine.
    troubled: AtomicU32,
    all: Everyone,
    open: Counted,
    fine: Counted,
    /// When the first penalty ends, in [`clock::millis`](crate::transport::clock::millis); the largest number when there is none.
    due: AtomicU64,
    /// When each penalty ends, and whose it is.
    penalties: Mutex<BTreeSet<(u64, u32)>>,
}

/// All endpoints: this never changes.
struct Everyone {
    len: u32,
    /// Of each endpoint when they are all the same.
    weight: u64,
    /// The weights before each endpoint and, at the end, of all; empty when they are all the same.
    ends: Box<[u64]>,
}

/// A set of endpoints that changes.
struct Counted {
    count: Sums,
    /// None when all weigh the same.
    weight: Option<Sums>,
}

impl Eligible {
    /// Every endpoint is fine; `weights` has one for each.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let uniform = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let counted = || Counted {
            count: Sums::of(weights.iter().map(|_| 1)),
            weight: (!uniform).then(|| Sums::of(weights.iter().map(|weight| u64::from(*weight)))),
        };
        let ends = weights.iter().scan(0, |sum, weight| Some(std::mem::replace(sum, *sum + u64::from(*weight))));
        let total = weights.iter().map(|weight| u64::from(*weight)).sum();
        let everyone = Everyone {
            len: weights.len() as u32,
            weight: u64::from(weights.first().copied().unwrap_or(1)),
            ends: if uniform { Box::default() } else { ends.chain([total]).collect() },
        };
        Eligible {
            troubled: AtomicU32::new(0),
            all: everyone,
            open: counted(),
            fine: counted(),
            due: AtomicU64::new(u64::MAX),
            penalties: Mutex::default(),
        }
    }

    /// Nothing is known against any endpoint.
    pub(crate) fn all_fine(&self) -> bool {
        self.troubled.load(Relaxed) == 0
    }

    /// All endpoints have the same weight.
    pub(crate) fn uniform(&self) -> bool {
        self.all.ends.is_empty()
    }

    /// How many belong to the set.
    pub(crate) fn count(&self, set: Set) -> u32 {
        match self.counted(set) {
            None => self.all.len,
            Some(counted) => counted.count.total() as u32,
        }
    }

    /// What those of the set weigh.
    pub(crate) fn weight(&self, set: Set) -> u64 {
        match self.counted(set) {
            None if self.uniform() => u64::from(self.all.len) * self.all.weight,
            None => self.all.ends[self.all.len as usize],
            Some(Counted { weight: Some(weight), .. }) => weight.total(),
            Some(counted) => counted.count.total() * self.all.weight,
        }
    }

    /// How many of the set come before this endpoint.
    pub(crate) fn count_before(&self, set: Set, index: u32) -> u32 {
        self.counted(set).map_or(index, |counted| counted.count.before(index) as u32)
    }

    /// What those of the set weigh that come before this endpoint.
    pub(crate) fn weight_before(&self, set: Set, index: u32) -> u64 {
        match self.counted(set) {
            None if !self.uniform() => self.all.ends[index as usize],
            Some(Counted { weight: Some(weight), .. }) => weight.before(index),
            _ => u64::from(self.count_before(set, index)) * self.all.weight,
        }
    }

    /// The `n`-th endpoint of the set, from zero.
    pub(crate) fn nth(&self, set: Set, n: u32) -> Option<u32> {
        match self.counted(set) {
            None => (n < self.all.len).then_some(n),
            Some(counted) => counted.count.holder(u64::from(n)),
        }
    }

    /// The endpoint of the set that holds `point` when their weights are laid end to end.
    pub(crate) fn nth_by_weight(&self, set: Set, point: u64) -> Option<u32> {
        match self.counted(set) {
            None if !self.uniform() => {
                let at = self.all.ends.partition_point(|end| *end <= point) as u32;
                (at <= self.all.len).then(|| at - 1)
            }
            Some(Counted { weight: Some(weight), .. }) => weight.holder(point),
            _ => self.nth(set, u32::try_from(point / self.all.weight.max(1)).ok()?),
        }
    }

    /// None for all of them.
    fn counted(&self, set: Set) -> Option<&Counted> {
        match set {
            Set::All => None,
            Set::Open => Some(&self.open),
            Set::Fine => Some(&self.fine),
        }
    }

    /// An endpoint stands otherwise than before. The endpoint's health says so once for each change.
    pub(crate) fn change(&self, index: u32, before: Standing, now: Standing) {
        for (set, counted) in [(Set::Open, &self.open), (Set::Fine, &self.fine)] {
            match (set.has(before), set.has(now)) {
                (true, false) => counted.remove(index, self.weight_of(index)),
                (false, true) => counted.add(index, self.weight_of(index)),
                _ => {}
            }
        }
        match (before == Standing::Fine, now == Standing::Fine) {
            (true, false) => self.troubled.fetch_add(1, Relaxed),
            (false, true) => self.troubled.fetch_sub(1, Relaxed),
            _ => 0,
        };
        self.schedule(index, before, now);
    }

    fn schedule(&self, index: u32, before: Standing, now: Standing) {
        let mut penalties = self.penalties.lock().unwrap_or_else(PoisonError::into_inner);
        if let Standing::Out { until } = before {
            penalties.remove(&(until, index));
        }
        if let Standing::Out { until } = now {
            penalties.insert((until, index));
        }
        self.due.store(penalties.first().map_or(u64::MAX, |(until, _)| *until), Relaxed);
    }

    fn weight_of(&self, index: u32) -> u64 {
        if self.uniform() { self.all.weight } else { self.all.ends[index as usize + 1] - self.all.ends[index as usize] }
    }

    /// The endpoints whose penalty is over; at most a few of them. None when another thread looks at that moment.
    pub(crate) fn overdue(&self, now: impl FnOnce() -> u64) -> Option<(u64, Vec<u32>)> {
        let due = self.due.load(Relaxed);
        if due == u64::MAX {
            return None;
        }
        let now = now();
        if due > now {
            return None;
        }
        let penalties = self.penalties.try_lock().ok()?;
        let over = penalties.iter().take_while(|(until, _)| *until <= now).take(AT_ONCE);
        Some((now, over.map(|(_, index)| *index).collect()))
    }
}

impl Counted {
    fn add(&self, index: u32, weight: u64) {
        self.count.add(index, 1);
        if let Some(weights) = &self.weight {
            weights.add(index, weight);
        }
    }

    fn remove(&self, index: u32, weight: u64) {
        self.count.take(index, 1);
        if let Some(weights) = &self.weight {
            weights.take(index, weight);
        }
    }
}
