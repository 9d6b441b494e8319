//! One hook on one route: how many of its calls fail, and whether it is called.
//! Must take its lock only for calls that fail, and for those that are made to see whether it still fails.

use std::fmt::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use odin_chain::{Hook, HookState};

use super::{BreakerState, BreakerUnit};
use crate::spec::BreakerPolicy;

/// After a pause: so many percent of the calls are made, each share for as long as the first pause, then the next.
const SHARES: [u32; 3] = [1, 5, 25];

/// It is called, and its calls are counted.
const COUNTING: u8 = 0;
/// Calls must ask.
const OUT: u8 = 1;

/// See the module.
pub(super) struct Unit {
    pub(super) hook: Hook,
    listener: String,
    route: Option<String>,
    policy: BreakerPolicy,
    mode: AtomicU8,
    /// Calls that did not fail while it was counting, by worker.
    well: Box<[Count]>,
    inner: Mutex<Inner>,
}

/// Written by one worker.
#[derive(Default)]
#[repr(align(128))]
struct Count(AtomicU64);

struct Inner {
    phase: Phase,
    /// When the present window began, and what `well` summed up to then.
    window: (Instant, u64),
    failures: u64,
    /// Calls in the window that ended with a pause.
    calls: u64,
    last_failure: Instant,
    /// The length of the next pause.
    pause: Duration,
}

enum Phase {
    Counting,
    Paused { until: Instant },
    Trying(Trial),
}

/// A share of the calls is made.
struct Trial {
    /// Index into [`SHARES`].
    share: usize,
    since: Instant,
    /// Calls that asked.
    asked: u64,
    /// One is made now and then, however few there are.
    next: Instant,
    well: u64,
    failures: u64,
}

/// What a call changed.
#[derive(Debug, PartialEq)]
pub(super) enum Happened {
    Nothing,
    Paused { pause: Duration, failures: u64, calls: u64 },
    Closed,
}

impl Trial {
    fn new(share: usize, now: Instant) -> Self {
        Trial { share, since: now, asked: 0, next: now, well: 0, failures: 0 }
    }
}

impl Unit {
    pub(super) fn new(hook: Hook, state: &HookState, policy: BreakerPolicy, workers: usize, now: Instant) -> Self {
        Unit {
            hook,
            listener: state.connection.listener.to_string(),
            route: state.facts.route.as_deref().map(str::to_owned),
            mode: AtomicU8::new(COUNTING),
            well: (0..workers).map(|_| Count::default()).collect(),
            inner: Mutex::new(Inner {
                phase: Phase::Counting,
                window: (now, 0),
                failures: 0,
                calls: 0,
                last_failure: now,
                pause: policy.pause,
            }),
            policy,
        }
    }

    /// Where it is, in words.
    pub(super) fn place(&self) -> String {
        let mut place = format!("on listener {:?}", self.listener);
        if let Some(route) = &self.route {
            // Writing to a string does not fail.
            let _ = write!(place, ", route {route:?}");
        }
        place
    }

    /// Whether a call may be made now.
    pub(super) fn admits(&self, now: impl FnOnce() -> Instant) -> bool {
        if self.mode.load(Relaxed) == COUNTING {
            return true;
        }
        let now = now();
        let mut inner = self.lock();
        match &mut inner.phase {
            Phase::Counting => true,
            Phase::Paused { until } if *until > now => false,
            Phase::Paused { .. } => {
                inner.phase = Phase::Trying(Trial::new(0, now));
                inner.tries(now, &self.policy)
            }
            Phase::Trying(_) => inner.tries(now, &self.policy),
        }
    }

    pub(super) fn succeeded(&self, worker: usize, now: impl FnOnce() -> Instant) -> Happened {
        if self.mode.load(Relaxed) == COUNTING {
            let count = &self.well[worker].0;
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
            return Happened::Nothing;
        }
        let now = now();
        let mut inner = self.lock();
        let Phase::Trying(trial) = &mut inner.phase else { return Happened::Nothing };
        trial.well += 1;
        if now.saturating_duration_since(trial.since) < self.policy.pause {
            return Happened::Nothing;
        }
        let share = trial.share + 1;
        if share < SHARES.len() {
            inner.phase = Phase::Trying(Trial::new(share, now));
            return Happened::Nothing;
        }
        inner.phase = Phase::Counting;
        inner.window = (now, self.well());
        (inner.failures, inner.pause) = (0, self.policy.pause);
        self.mode.store(COUNTING, Relaxed);
        Happened::Closed
    }

    pub(super) fn failed(&self, now: Instant) -> Happened {
        let mut inner = self.lock();
        inner.last_failure = now;
        match &mut inner.phase {
            // It began before the pause.
            Phase::Paused { .. } => return Happened::Nothing,
            Phase::Trying(trial) => {
                trial.failures += 1;
                let (failures, calls) = (trial.failures, trial.failures + trial.well);
                if !self.policy.too_many(failures, calls) {
                    return Happened::Nothing;
                }
                (inner.failures, inner.calls) = (failures, calls);
            }
            Phase::Counting => {
                if now.saturating_duration_since(inner.window.0) > self.policy.window {
                    (inner.window, inner.failures) = ((now, self.well()), 0);
                }
                inner.failures += 1;
                inner.calls = inner.failures + self.well().wrapping_sub(inner.window.1);
                if inner.calls < self.policy.calls || !self.policy.too_many(inner.failures, inner.calls) {
                    return Happened::Nothing;
                }
            }
        }
        let pause = inner.pause.min(self.policy.max_pause);
        inner.phase = Phase::Paused { until: now.checked_add(pause).unwrap_or(now) };
        inner.pause = pause.saturating_mul(2).min(self.policy.max_pause);
        self.mode.store(OUT, Relaxed);
        Happened::Paused { pause, failures: inner.failures, calls: inner.calls }
    }

    /// It is paused, or being tried.
    pub(super) fn is_out(&self) -> bool {
        self.mode.load(Relaxed) == OUT
    }

    /// It is called and has not failed for a whole window.
    pub(super) fn is_well(&self, now: Instant) -> bool {
        let inner = self.lock();
        matches!(inner.phase, Phase::Counting) && now.saturating_duration_since(inner.last_failure) > self.policy.window
    }

    pub(super) fn told(&self, now: Instant) -> BreakerUnit {
        let inner = self.lock();
        let (state, calls) = match &inner.phase {
            Phase::Counting => (BreakerState::Closed, inner.failures + self.well().wrapping_sub(inner.window.1)),
            Phase::Paused { until } => {
                (BreakerState::Open { retry_in: until.saturating_duration_since(now) }, inner.calls)
            }
            Phase::Trying(trial) => (BreakerState::HalfOpen { percent: SHARES[trial.share] }, inner.calls),
        };
        let (listener, route, failures) = (self.listener.clone(), self.route.clone(), inner.failures);
        BreakerUnit { listener, route, hook: self.hook, state, failures, calls }
    }

    /// Calls that did not fail, of all workers.
    fn well(&self) -> u64 {
        self.well.iter().fold(0, |sum, count| sum.wrapping_add(count.0.load(Relaxed)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether one more call is made of those that ask.
    fn tries(&mut self, now: Instant, policy: &BreakerPolicy) -> bool {
        let Phase::Trying(trial) = &mut self.phase else { return true };
        let one_in = u64::from(100 / SHARES[trial.share]);
        trial.asked += 1;
        let made = trial.asked % one_in == 0 || trial.next <= now;
        if made {
            trial.next = now.checked_add(policy.pause).unwrap_or(now);
        }
        made
    }
}

impl BreakerPolicy {
    fn too_many(&self, failures: u64, calls: u64) -> bool {
        failures.saturating_mul(100) >= u64::from(self.percent).saturating_mul(calls)
    }
}
