//! What belongs to a plugin over all its generations and workers: its spec, config, shared state and statistics.
//! Must never be locked on the path of a call, except where a plugin opens a counter by name.

use std::sync::Arc;
use std::time::Instant;

use crate::breaker::Breaker;
use crate::capability::metrics;
use crate::capability::shared::{Owner, Space};
use crate::error::{CallError, Cause, LoadError};
use crate::failure::Failure;
use crate::hook::Hook;
use crate::runtime::Runtime;
use crate::spec::PluginSpec;
use crate::stats::WorkerStats;

/// See the module.
pub(crate) struct Slot {
    pub(crate) spec: PluginSpec,
    pub(crate) name: Arc<str>,
    pub(crate) config: serde_json::Value,
    pub(crate) breaker: Breaker,
    pub(crate) space: Arc<Space>,
    pub(crate) metrics: metrics::Metrics,
    /// One for each worker, one for the thread that loads, and the last for the one that asks the steer hook.
    pub(crate) stats: Box<[WorkerStats]>,
}

impl Slot {
    pub(crate) fn new(spec: PluginSpec, runtime: &Runtime) -> Result<Slot, LoadError> {
        let config = serde_json::from_str(&spec.config).map_err(|error| LoadError::Config(error.to_string()))?;
        let owner = match &spec.grants.shared_space {
            Some(common) => Owner::Common(common.clone()),
            None => Owner::Plugin(spec.name.clone()),
        };
        // Counters have one writer at a time: see `loader` and `steerer`.
        let shares = runtime.workers() + 2;
        Ok(Slot {
            name: spec.name.as_str().into(),
            breaker: Breaker::new(&spec.name, spec.breaker.clone()),
            space: runtime.spaces().open(owner, spec.limits.shared_bytes),
            metrics: metrics::Metrics::new(shares),
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

    /// Counts a call, which took `spent` nanoseconds, and tells the breaker.
    pub(crate) fn done<T>(
        &self,
        worker: usize,
        hook: Hook,
        spent: u64,
        result: Result<T, Box<Failure>>,
    ) -> Result<T, CallError> {
        match result {
            Ok(answer) => {
                self.stats[worker].record(hook, spent, None);
                self.breaker.succeeded(hook);
                Ok(answer)
            }
            Err(failure) => {
                self.breaker.failed(hook, Instant::now);
                Err(self.failed(worker, hook, spent, *failure))
            }
        }
    }

    /// Counts a failed call, of which the breaker is not told.
    pub(crate) fn failed(&self, worker: usize, hook: Hook, spent: u64, failure: Failure) -> CallError {
        let Failure { cause, backtrace } = failure;
        self.stats[worker].record(hook, spent, Some(&cause));
        CallError::new(self.name.clone(), hook, cause, backtrace)
    }

    /// For a call that was not made.
    #[cold]
    pub(crate) fn paused(&self, worker: usize, hook: Hook) -> CallError {
        self.stats[worker].paused.add(1);
        CallError::new(self.name.clone(), hook, Cause::Paused, String::new())
    }
}
