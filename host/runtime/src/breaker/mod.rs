//! Leaves a hook of a plugin out of a route on which it fails too often: the breaker of one plugin.
//!
//! What counts as a failure is a trap, an overrun, a lack of memory or stack, or an answer that the contract forbids.
//! The plugin's own `err` is an answer about one exchange: clients can cause it, so it counts as a call that went well.
//! The unit is the hook on one route: what fails there says nothing about other routes and hooks, and costs them nothing.
//!
//! While nothing fails, a call reads one cache line that nobody writes. A failure makes its unit, and from then on the
//! calls of that unit are counted, by each worker for itself, until it has not failed for a whole window.

mod unit;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use odin_chain::{Hook, HookState};

use crate::spec::BreakerPolicy;
use unit::{Happened, Unit};

/// Whether a hook is called on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerState {
    /// It is called.
    Closed,
    /// A share of its calls is made, to see whether it still fails.
    HalfOpen {
        /// The share in percent.
        percent: u32,
    },
    /// It failed too often and is not called.
    Open {
        /// When calls are made again; zero: with the next.
        retry_in: Duration,
    },
}

/// A hook that failed lately, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerUnit {
    /// The listener's name in the config; `outbound` for calls that plugins make.
    pub listener: String,
    /// The route in words; none on a TCP listener.
    pub route: Option<String>,
    /// The hook.
    pub hook: Hook,
    /// Whether it is called there.
    pub state: BreakerState,
    /// Failures in the present window, or in the one that ended with a pause.
    pub failures: u64,
    /// Calls in that window.
    pub calls: u64,
}

/// See the module.
#[repr(align(128))]
pub(crate) struct Breaker {
    /// There are units: calls must look whether theirs is among them.
    watching: AtomicBool,
    units: ArcSwap<Units>,
    /// Held by whoever adds or removes units.
    changing: Mutex<()>,
    trips: AtomicU64,
    policy: BreakerPolicy,
    plugin: String,
    workers: usize,
}

/// By [`key`].
type Units = HashMap<u64, Arc<Unit>>;

/// The hook is not to be called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Paused;

/// A hook on the route of an exchange. Two of them may collide by chance only: no client chooses what goes in.
fn key(hook: Hook, state: &HookState) -> u64 {
    let mut hasher = DefaultHasher::new();
    (hook, &*state.connection.listener, state.facts.route.as_deref()).hash(&mut hasher);
    hasher.finish()
}

impl Breaker {
    /// `workers` is how many threads may call the plugin.
    pub(crate) fn new(plugin: &str, policy: BreakerPolicy, workers: usize) -> Self {
        Breaker {
            watching: AtomicBool::new(false),
            units: ArcSwap::default(),
            changing: Mutex::default(),
            trips: AtomicU64::new(0),
            policy,
            plugin: plugin.to_owned(),
            workers,
        }
    }

    /// Whether this hook may be called now for the exchange.
    #[inline]
    pub(crate) fn admit(&self, hook: Hook, state: &HookState, now: impl FnOnce() -> Instant) -> Result<(), Paused> {
        if !self.watching.load(Relaxed) {
            return Ok(());
        }
        match self.units.load().get(&key(hook, state)) {
            Some(unit) if !unit.admits(now) => Err(Paused),
            _ => Ok(()),
        }
    }

    /// A call of this hook did not fail.
    #[inline]
    pub(crate) fn succeeded(&self, worker: usize, hook: Hook, state: &HookState, now: impl FnOnce() -> Instant) {
        if !self.watching.load(Relaxed) {
            return;
        }
        if let Some(unit) = self.units.load().get(&key(hook, state)) {
            let happened = unit.succeeded(worker, now);
            self.tell(unit, happened);
        }
    }

    /// A call of this hook failed.
    #[cold]
    pub(crate) fn failed(&self, hook: Hook, state: &HookState, now: Instant) {
        if self.policy.percent == 0 {
            return;
        }
        let unit = self.unit(hook, state, now);
        let happened = unit.failed(now);
        self.tell(&unit, happened);
    }

    /// The plugin was swapped: what it failed with may be gone.
    pub(crate) fn swapped(&self) {
        let _alone = self.changing();
        let units = self.units.swap(Arc::default());
        self.watching.store(false, Relaxed);
        if units.values().any(|unit| unit.is_out()) {
            tracing::info!(plugin = self.plugin, "no longer paused: it was swapped");
        }
    }

    /// Forgets what has not failed for a whole window. For a tick of a worker.
    pub(crate) fn sweep(&self, now: Instant) {
        if !self.watching.load(Relaxed) {
            return;
        }
        let _alone = self.changing();
        let mut units = Units::clone(&self.units.load());
        units.retain(|_, unit| !unit.is_well(now));
        self.watching.store(!units.is_empty(), Relaxed);
        self.units.store(Arc::new(units));
    }

    /// The hooks that failed lately, for an operator.
    pub(crate) fn units(&self, now: Instant) -> Vec<BreakerUnit> {
        let mut units: Vec<BreakerUnit> = self.units.load().values().map(|unit| unit.told(now)).collect();
        units.sort_by(|a, b| (&a.listener, &a.route, a.hook.index()).cmp(&(&b.listener, &b.route, b.hook.index())));
        units
    }

    /// How often a hook was paused.
    pub(crate) fn trips(&self) -> u64 {
        self.trips.load(Relaxed)
    }

    fn unit(&self, hook: Hook, state: &HookState, now: Instant) -> Arc<Unit> {
        let key = key(hook, state);
        if let Some(unit) = self.units.load().get(&key) {
            return unit.clone();
        }
        let _alone = self.changing();
        let mut units = Units::clone(&self.units.load());
        let new = || Arc::new(Unit::new(hook, state, self.policy.clone(), self.workers, now));
        let unit = units.entry(key).or_insert_with(new).clone();
        self.units.store(Arc::new(units));
        self.watching.store(true, Relaxed);
        unit
    }

    fn tell(&self, unit: &Unit, happened: Happened) {
        let (plugin, hook, at) = (&self.plugin, unit.hook, unit.place());
        match happened {
            Happened::Nothing => {}
            Happened::Paused { pause, failures, calls } => {
                self.trips.fetch_add(1, Relaxed);
                tracing::warn!(plugin, "{hook} paused for {pause:?} {at}: {failures} of its last {calls} calls failed");
            }
            Happened::Closed => tracing::info!(plugin, "{hook} no longer paused {at}: its calls succeed"),
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
