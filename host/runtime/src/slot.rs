//! What belongs to a plugin over all its generations and workers: its spec, config, counters and statistics.
//! Must never be locked on the path of a call, except where a plugin opens a counter by name.

use crate::capability::{metrics, shared};
use crate::error::LoadError;
use crate::spec::PluginSpec;
use crate::stats::WorkerStats;

/// See the module.
pub(crate) struct Slot {
    pub(crate) spec: PluginSpec,
    pub(crate) config: serde_json::Value,
    pub(crate) counters: shared::Counters,
    pub(crate) metrics: metrics::Metrics,
    /// One for each worker, and the last for the thread that loads.
    pub(crate) stats: Box<[WorkerStats]>,
}

impl Slot {
    pub(crate) fn new(spec: PluginSpec, workers: usize) -> Result<Slot, LoadError> {
        let config = serde_json::from_str(&spec.config).map_err(|error| LoadError::Config(error.to_string()))?;
        Ok(Slot {
            spec,
            config,
            counters: shared::Counters::default(),
            metrics: metrics::Metrics::new(workers + 1),
            stats: (0..=workers).map(|_| WorkerStats::default()).collect(),
        })
    }

    /// The index for the thread that loads.
    pub(crate) fn loader(&self) -> usize {
        self.stats.len() - 1
    }
}
