//! Whether an endpoint may be picked: what it failed at, for how long it is left alone, and how it comes back. It outlives
//! a reload that keeps the endpoint, and tells the [`Eligible`] of every cluster that has the endpoint about each change.
//!
//! The lock is taken when an endpoint fails, and by exchanges that meet an endpoint which has failed; never while all is
//! well.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::transport::clock;
use crate::upstream::eligible::Eligible;

/// After a first failure an endpoint is left alone for so long; each further failure doubles it.
const FIRST_PENALTY: Duration = Duration::from_secs(1);
const MAX_DOUBLINGS: u32 = 5;

/// A trial that has shown nothing by then makes room for another: its client may send a body that never ends.
const TRIAL: Duration = Duration::from_secs(32);

/// Where an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is known against it.
    Fine,
    /// Its penalty is over. The next exchange that picks it shows whether it works; until that is known it is out again.
    Trial,
    /// Left alone until this [`clock::millis`].
    Out { until: u64 },
}

impl Standing {
    const FINE: u64 = 0;
    const TRIAL: u64 = 1;

    fn read(word: u64) -> Self {
        match word {
            Self::FINE => Standing::Fine,
            Self::TRIAL => Standing::Trial,
            until => Standing::Out { until },
        }
    }

    fn word(self) -> u64 {
        match self {
            Standing::Fine => Self::FINE,
            Standing::Trial => Self::TRIAL,
            // The clock starts at 1, and a penalty is longer than that.
            Standing::Out { until } => until,
        }
    }
}

/// The health of one endpoint.
pub(crate) struct Health {
    standing: AtomicU64,
    /// How often it was put out; tells failures that began before the last time from those that say something new.
    penalties: AtomicU32,
    more: Mutex<More>,
}

struct More {
    failures_in_a_row: u32,
    /// It did not answer requests in time: that it takes connections clears nothing.
    hung: bool,
    /// It is out because an exchange tries it.
    on_trial: bool,
    /// Those that have the endpoint, each with its index there: the clusters before and after a reload.
    clusters: Vec<(Weak<Eligible>, u32)>,
}

/// How an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connect failed.
    Connect,
    /// No response came in time.
    Silence,
}

impl Health {
    pub(crate) fn new() -> Self {
        let more = More { failures_in_a_row: 0, hung: false, on_trial: false, clusters: Vec::new() };
        Health { standing: AtomicU64::new(Standing::FINE), penalties: AtomicU32::new(0), more: Mutex::new(more) }
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing::read(self.standing.load(Relaxed))
    }

    /// To be handed to [`Health::failed`] by an attempt that begins now.
    pub(crate) fn penalties(&self) -> u32 {
        self.penalties.load(Relaxed)
    }

    /// From now on `cluster` has this endpoint at `index`.
    pub(crate) fn join(&self, cluster: &Arc<Eligible>, index: u32) {
        let mut more = self.lock();
        more.clusters.retain(|(cluster, _)| cluster.strong_count() > 0);
        more.clusters.push((Arc::downgrade(cluster), index));
        cluster.change(index, Standing::Fine, self.standing());
    }

    /// An attempt failed that began when there were so many [`penalties`](Health::penalties). Of those that were under
    /// way when the endpoint was put out none counts: a burst of failures is one failure.
    pub(crate) fn failed(&self, failure: Failure, penalties: u32) {
        let mut more = self.lock();
        if self.penalties() != penalties {
            return;
        }
        self.penalties.fetch_add(1, Relaxed);
        let penalty = FIRST_PENALTY * (1 << more.failures_in_a_row.min(MAX_DOUBLINGS));
        more.failures_in_a_row = more.failures_in_a_row.saturating_add(1);
        more.hung |= failure == Failure::Silence;
        more.on_trial = false;
        self.set(&mut more, Standing::Out { until: after(penalty) });
    }

    /// A connect worked: all is forgiven, unless it was no connect that failed.
    pub(crate) fn connected(&self) {
        if self.standing() == Standing::Fine {
            return;
        }
        let mut more = self.lock();
        if !more.hung {
            self.clear(&mut more);
        }
    }

    /// A response came: all is forgiven.
    pub(crate) fn answered(&self) {
        if self.standing() != Standing::Fine {
            self.clear(&mut self.lock());
        }
    }

    fn clear(&self, more: &mut More) {
        (more.failures_in_a_row, more.hung, more.on_trial) = (0, false, false);
        self.set(more, Standing::Fine);
    }

    /// The penalty is over, unless another has begun.
    pub(crate) fn expire(&self, now: u64) {
        let mut more = self.lock();
        if matches!(self.standing(), Standing::Out { until } if until <= now) {
            more.on_trial = false;
            self.set(&mut more, Standing::Trial);
        }
    }

    /// An exchange picked the endpoint. True when it is its trial.
    pub(crate) fn try_out(&self) -> bool {
        if self.standing() != Standing::Trial {
            return false;
        }
        let mut more = self.lock();
        let first = self.standing() == Standing::Trial;
        if first {
            more.on_trial = true;
            self.set(&mut more, Standing::Out { until: after(TRIAL) });
        }
        first
    }

    /// The exchange that tried the endpoint ended. When it has shown nothing, another may try.
    pub(crate) fn end_trial(&self) {
        let mut more = self.lock();
        if std::mem::take(&mut more.on_trial) {
            self.set(&mut more, Standing::Trial);
        }
    }

    fn set(&self, more: &mut More, standing: Standing) {
        let before = self.standing();
        if before == standing {
            return;
        }
        self.standing.store(standing.word(), Relaxed);
        for (cluster, index) in &more.clusters {
            if let Some(cluster) = cluster.upgrade() {
                cluster.change(*index, before, standing);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, More> {
        // Nothing in here can panic half-way.
        self.more.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after(time: Duration) -> u64 {
    clock::millis() + time.as_millis() as u64
}
