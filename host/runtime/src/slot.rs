//! What belongs to a plugin over all its generations and workers: its spec, config, shared state and statistics.
//! Must never be locked on the path of a call, except where a plugin opens a counter by name.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use odin_chain::{Hook, HookState, Setter};

use crate::breaker::Breaker;
use crate::clock::Hands;
use crate::error::{CallError, Cause, LoadError};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::shared::{Owner, Space, Spaces};
use crate::spec::PluginSpec;
use crate::stats::WorkerStats;
use crate::waiting::Waiting;
use crate::words;

/// See the module.
pub(crate) struct Slot {
    pub(crate) spec: PluginSpec,
    pub(crate) name: Arc<str>,
    pub(crate) config: serde_json::Value,
    pub(crate) breaker: Breaker,
    pub(crate) clock: Arc<Hands>,
    /// By worker.
    pub(crate) waiting: Arc<[Waiting]>,
    /// The hooks that ran longer than a slice, a bit each.
    slow: AtomicU32,
    /// Of its name; not 0.
    id: u64,
    pub(crate) space: Arc<Space>,
    pub(crate) metrics: Metrics,
    /// One for each worker, one for the thread that loads, and the last for the one that asks the steer hook.
    pub(crate) stats: Box<[WorkerStats]>,
}

impl Slot {
    pub(crate) fn new(
        spec: PluginSpec,
        clock: &Arc<Hands>,
        waiting: &Arc<[Waiting]>,
        spaces: &Spaces,
    ) -> Result<Slot, LoadError> {
        let config = serde_json::from_str(&spec.config).map_err(|error| LoadError::Config(error.to_string()))?;
        let owner = match &spec.grants.shared_space {
            Some(common) => Owner::Common(common.clone()),
            None => Owner::Plugin(spec.name.clone()),
        };
        // Counters have one writer at a time: see `loader` and `steerer`.
        let shares = waiting.len() + 2;
        clock.serve(spec.limits.timeout.min(spec.limits.cpu_budget.unwrap_or(spec.limits.timeout)));
        Ok(Slot {
            name: spec.name.as_str().into(),
            breaker: Breaker::new(&spec.name, spec.breaker.clone(), shares),
            clock: clock.clone(),
            waiting: waiting.clone(),
            slow: AtomicU32::new(0),
            id: BuildHasherDefault::<DefaultHasher>::default().hash_one(&spec.name) | 1,
            space: spaces.open(owner, spec.limits.shared_bytes),
            metrics: Metrics::new(shares),
            stats: (0..shares).map(|_| WorkerStats::default()).collect(),
            config,
            spec,
        })
    }

    /// The index for the thread that loads.
    pub(crate) fn loader(&self) -> usize {
        self.stats.len() - 2
    }

    /// The index for the thread that asks the steer hook.
    pub(crate) fn steerer(&self) -> usize {
        self.stats.len() - 1
    }

    /// The plugin, as contexts know it.
    pub(crate) fn setter(&self) -> Setter<'_> {
        Setter { name: &self.spec.name, id: self.id }
    }

    /// Whether the hook is called on a fiber, because it once ran longer than a slice.
    #[inline]
    pub(crate) fn is_slow(&self, hook: Hook) -> bool {
        let slow = self.slow.load(Relaxed);
        slow != 0 && slow & (1 << hook.index()) != 0
    }

    /// The hook ran longer than a slice.
    pub(crate) fn note_slow(&self, hook: Hook) {
        if !self.is_slow(hook) {
            self.slow.fetch_or(1 << hook.index(), Relaxed);
        }
    }

    /// Another file serves: what ran long may not any more.
    pub(crate) fn swapped(&self) {
        self.slow.store(0, Relaxed);
        self.breaker.swapped();
    }

    /// The plugin's own CPU budget in an exchange, with what stands for the plugin there; none if it has the exchange's.
    #[inline]
    pub(crate) fn own_budget(&self) -> Option<(usize, Duration)> {
        self.spec.limits.cpu_budget.map(|budget| (std::ptr::from_ref(self).addr(), budget))
    }

    /// Takes what a call of the hook computed, in nanoseconds, from the budget of its exchange.
    #[inline]
    pub(crate) fn spend(&self, hook: Hook, state: &mut HookState, nanos: u64) {
        if hook.is_budgeted() {
            state.cpu.spend(nanos, self.own_budget());
        }
    }

    /// Counts a call for the exchange in `state`, which took `spent` nanoseconds, and tells the breaker.
    pub(crate) fn done<T>(
        &self,
        worker: usize,
        hook: Hook,
        state: &HookState,
        spent: u64,
        result: Result<T, Box<Failure>>,
    ) -> Result<T, CallError> {
        match result {
            Ok(answer) => {
                self.stats[worker].record(hook, spent, None);
                self.breaker.succeeded(worker, hook, state, Instant::now);
                Ok(answer)
            }
            Err(failure) => {
                match failure.cause.is_the_plugins() {
                    true => self.breaker.failed(hook, state, Instant::now()),
                    false => self.breaker.succeeded(worker, hook, state, Instant::now),
                }
                Err(self.failed(worker, hook, spent, *failure))
            }
        }
    }

    /// Counts a failed call, of which the breaker is not told.
    pub(crate) fn failed(&self, worker: usize, hook: Hook, spent: u64, failure: Failure) -> CallError {
        let Failure { mut cause, mut backtrace } = failure;
        let stats = &self.stats[worker];
        stats.record(hook, spent, Some(&cause));
        let told = words::may_say(stats, self.spec.limits.log_lines_per_second, &self.name);
        if !told {
            cause.without_words();
            backtrace.clear();
        }
        CallError::new(self.name.clone(), hook, cause, backtrace, told)
    }

    /// For a call that was not made.
    #[cold]
    pub(crate) fn paused(&self, worker: usize, hook: Hook) -> CallError {
        self.stats[worker].paused.add(1);
        CallError::new(self.name.clone(), hook, Cause::Paused, String::new(), false)
    }
}
