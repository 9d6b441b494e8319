//! Leaves a plugin out that fails again and again: after so many failures of one hook in a row it is paused, each pause
//! twice as long as the one before, and then one call of that hook is let through to see. Counts over all workers, each
//! hook for itself: one that succeeds says nothing about another that fails.
//! In the normal case a call reads one cache line that nobody writes; the lock is taken only while something fails.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::hook::Hook;
use crate::spec::BreakerPolicy;

/// Whether a plugin is in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is called.
    Closed,
    /// It failed too often in a row and is not called.
    Open {
        /// When one call is let through again; zero: the next.
        retry_in: Duration,
        /// Failures in a row.
        failures: u32,
    },
    /// The one call is under way that decides.
    HalfOpen,
}

/// No failure since the last success.
const WELL: u8 = 0;
/// Some failures, and calls go on: a success must say so.
const FAILING: u8 = 1;
/// Calls must ask.
const PAUSED: u8 = 2;

/// See the module.
#[repr(align(128))]
pub(crate) struct Breaker {
    mood: AtomicU8,
    inner: Mutex<Inner>,
    trips: AtomicU64,
    policy: BreakerPolicy,
    plugin: String,
}

#[derive(Clone, Copy)]
struct Inner {
    /// Failures in a row of each hook.
    rows: [u32; Hook::ALL.len()],
    /// The hook that failed too often.
    tripped: Option<Hook>,
    /// The length of the next pause.
    pause: Duration,
    state: State,
}

impl Inner {
    fn new(pause: Duration) -> Self {
        Inner { rows: [0; Hook::ALL.len()], tripped: None, pause, state: State::Closed }
    }

    fn failures(&self) -> u32 {
        self.tripped.map_or(0, |hook| self.rows[hook.index()])
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

/// The one call that is let through after a pause. Dropped without an outcome, it lets the next call try.
pub(crate) struct Probe<'a>(&'a Breaker);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        if inner.state == State::HalfOpen {
            inner.state = State::Open { until: Instant::now() };
        }
    }
}

/// The plugin is not to be called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Paused;

impl Breaker {
    pub(crate) fn new(plugin: &str, policy: BreakerPolicy) -> Self {
        Breaker {
            mood: AtomicU8::new(WELL),
            inner: Mutex::new(Inner::new(policy.pause)),
            trips: AtomicU64::new(0),
            policy,
            plugin: plugin.to_owned(),
        }
    }

    /// Whether this hook of the plugin may be called now. A probe must live as long as the call.
    pub(crate) fn admit(&self, hook: Hook, now: impl FnOnce() -> Instant) -> Result<Option<Probe<'_>>, Paused> {
        if self.mood.load(Relaxed) != PAUSED {
            return Ok(None);
        }
        let mut inner = self.lock();
        let tripped = inner.tripped == Some(hook);
        match inner.state {
            State::Open { until } if until > now() => Err(Paused),
            State::Open { .. } if tripped => {
                inner.state = State::HalfOpen;
                Ok(Some(Probe(self)))
            }
            State::HalfOpen if tripped => Err(Paused),
            // An exchange must get as far as the hook that is to be tried.
            State::Closed | State::Open { .. } | State::HalfOpen => Ok(None),
        }
    }

    /// A call of this hook succeeded.
    pub(crate) fn succeeded(&self, hook: Hook) {
        if self.mood.load(Relaxed) == WELL {
            return;
        }
        let mut inner = self.lock();
        match inner.state {
            // It began before the pause.
            State::Open { .. } if inner.tripped == Some(hook) => {}
            State::HalfOpen if inner.tripped == Some(hook) => {
                drop(inner);
                self.close("a call succeeded");
            }
            State::Open { .. } | State::HalfOpen | State::Closed => {
                inner.rows[hook.index()] = 0;
                if inner.state == State::Closed && inner.rows.iter().all(|row| *row == 0) {
                    self.mood.store(WELL, Relaxed);
                }
            }
        }
    }

    /// The plugin was swapped: what it failed with may be gone.
    pub(crate) fn swapped(&self) {
        if self.mood.load(Relaxed) != WELL {
            self.close("it was swapped");
        }
    }

    /// A call of this hook failed.
    pub(crate) fn failed(&self, hook: Hook, now: impl FnOnce() -> Instant) {
        if self.policy.failures == 0 {
            return;
        }
        let mut inner = self.lock();
        let row = &mut inner.rows[hook.index()];
        *row = row.saturating_add(1);
        let too_often = *row >= self.policy.failures;
        let now = now();
        let opens = match inner.state {
            State::Closed => too_often,
            State::HalfOpen => too_often || inner.tripped == Some(hook),
            // Within the pause it is a call that began before it; after it, a hook that keeps the one that tripped from
            // being tried.
            State::Open { until } => too_often && until <= now,
        };
        if !opens {
            if inner.state == State::Closed {
                self.mood.store(FAILING, Relaxed);
            }
            return;
        }
        let pause = inner.pause.min(self.policy.max_pause);
        inner.tripped = Some(hook);
        inner.state = State::Open { until: now.checked_add(pause).unwrap_or(now) };
        inner.pause = pause.saturating_mul(2).min(self.policy.max_pause);
        self.mood.store(PAUSED, Relaxed);
        self.trips.fetch_add(1, Relaxed);
        let failures = inner.failures();
        drop(inner);
        tracing::warn!(plugin = self.plugin, "paused for {pause:?} after {failures} failures of {hook} in a row");
    }

    /// For an operator.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        let inner = self.lock();
        match inner.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } => {
                BreakerState::Open { retry_in: until.saturating_duration_since(now), failures: inner.failures() }
            }
            State::HalfOpen => BreakerState::HalfOpen,
        }
    }

    /// How often it opened.
    pub(crate) fn trips(&self) -> u64 {
        self.trips.load(Relaxed)
    }

    fn close(&self, why: &str) {
        let mut inner = self.lock();
        let was = inner.state;
        *inner = Inner::new(self.policy.pause);
        self.mood.store(WELL, Relaxed);
        drop(inner);
        if was != State::Closed {
            tracing::info!(plugin = self.plugin, "no longer paused: {why}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: Hook = Hook::RequestHeaders;
    const SECOND: Duration = Duration::from_secs(1);

    fn breaker(failures: u32) -> (Breaker, Instant) {
        let policy = BreakerPolicy { failures, pause: SECOND, max_pause: 3 * SECOND };
        (Breaker::new("test", policy), Instant::now())
    }

    fn fail(breaker: &Breaker, times: u32, now: Instant) {
        for _ in 0..times {
            breaker.failed(HOOK, || now);
        }
    }

    fn admits(breaker: &Breaker, now: Instant) -> bool {
        breaker.admit(HOOK, || now).is_ok()
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let (breaker, now) = breaker(3);
        fail(&breaker, 2, now);
        breaker.succeeded(HOOK);
        fail(&breaker, 2, now);
        assert!(admits(&breaker, now));
        fail(&breaker, 1, now);
        assert!(!admits(&breaker, now));
        assert_eq!(breaker.state(now), BreakerState::Open { retry_in: SECOND, failures: 3 });
        assert_eq!(breaker.trips(), 1);
    }

    #[test]
    fn after_the_pause_one_call_decides_and_failures_double_it() {
        let (breaker, mut now) = breaker(1);
        fail(&breaker, 1, now);
        for pause in [1, 2, 3, 3] {
            assert_eq!(
                breaker.state(now),
                BreakerState::Open { retry_in: pause * SECOND, failures: breaker.lock().failures() }
            );
            now += pause * SECOND;
            let probe = breaker.admit(HOOK, || now).unwrap().expect("a probe");
            assert_eq!(breaker.state(now), BreakerState::HalfOpen);
            assert!(!admits(&breaker, now));
            breaker.failed(HOOK, || now);
            drop(probe);
        }
        now += 3 * SECOND;
        let probe = breaker.admit(HOOK, || now).unwrap();
        breaker.succeeded(HOOK);
        drop(probe);
        assert_eq!(breaker.state(now), BreakerState::Closed);
        fail(&breaker, 1, now);
        assert_eq!(breaker.state(now), BreakerState::Open { retry_in: SECOND, failures: 1 });
    }

    #[test]
    fn a_probe_without_an_outcome_lets_the_next_try() {
        let (breaker, now) = breaker(1);
        fail(&breaker, 1, now - SECOND);
        drop(breaker.admit(HOOK, || now).unwrap().expect("a probe"));
        assert!(breaker.admit(HOOK, Instant::now).unwrap().is_some());
    }

    #[test]
    fn a_swap_closes_it_and_zero_turns_it_off() {
        let (breaker, now) = breaker(1);
        fail(&breaker, 1, now);
        breaker.swapped();
        assert!(breaker.admit(HOOK, || now).unwrap().is_none());
        let (off, now) = self::breaker(0);
        fail(&off, 100, now);
        assert!(off.admit(HOOK, || now).unwrap().is_none());
    }

    #[test]
    fn failures_of_calls_that_began_before_the_pause_do_not_lengthen_it() {
        let (breaker, now) = breaker(1);
        fail(&breaker, 5, now);
        assert_eq!(breaker.trips(), 1);
        assert_eq!(breaker.state(now), BreakerState::Open { retry_in: SECOND, failures: 5 });
    }

    #[test]
    fn another_hook_that_succeeds_changes_nothing() {
        let (breaker, now) = breaker(2);
        fail(&breaker, 1, now);
        breaker.succeeded(Hook::ExchangeEnd);
        fail(&breaker, 1, now);
        assert!(!admits(&breaker, now) && breaker.admit(Hook::ExchangeEnd, || now).is_err());
    }

    #[test]
    fn after_the_pause_an_exchange_gets_as_far_as_the_hook_that_tripped() {
        let (breaker, mut now) = breaker(1);
        let late = Hook::ResponseHeaders;
        breaker.failed(late, || now);
        assert!(!admits(&breaker, now));
        now += SECOND;
        assert!(matches!(breaker.admit(HOOK, || now), Ok(None)));
        breaker.succeeded(HOOK);
        assert_ne!(breaker.state(now), BreakerState::Closed, "the hook that tripped has not been tried");
        let probe = breaker.admit(late, || now).unwrap().expect("a probe");
        assert!(breaker.admit(late, || now).is_err() && admits(&breaker, now));
        breaker.succeeded(late);
        drop(probe);
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_hook_that_keeps_the_tripped_one_from_being_tried_trips_itself() {
        let (breaker, mut now) = breaker(2);
        breaker.failed(Hook::ResponseHeaders, || now);
        breaker.failed(Hook::ResponseHeaders, || now);
        now += SECOND;
        assert!(admits(&breaker, now));
        fail(&breaker, 2, now);
        assert!(!admits(&breaker, now));
        assert_eq!(breaker.trips(), 2);
    }

    #[test]
    fn hooks_that_fail_in_turn_are_counted_each() {
        let (breaker, now) = breaker(2);
        fail(&breaker, 1, now);
        breaker.failed(Hook::ResponseHeaders, || now);
        assert!(admits(&breaker, now));
        fail(&breaker, 1, now);
        assert!(!admits(&breaker, now));
    }
}
