//! What belongs to a plugin over all its generations and workers: its spec, config, shared state and statistics.
//! Must never be locked on the path of a call, except where a plugin opens a counter by name.

use std::sync::Arc;

use crate::breaker::Breaker;
use crate::capability::metrics;
use crate::capability::shared::{Owner, Space};
use crate::error::LoadError;
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
    /// One for each worker, and the last for the thread that loads.
    pub(crate) stats: Box<[WorkerStats]>,
}

impl Slot {
    pub(crate) fn new(spec: PluginSpec, runtime: &Runtime) -> Result<Slot, LoadError> {
        let config = serde_json::from_str(&spec.config).map_err(|error| LoadError::Config(error.to_string()))?;
        let owner = match &spec.grants.shared_space {
            Some(common) => Owner::Common(common.clone()),
            None => Owner::Plugin(spec.name.clone()),
        };
        let workers = runtime.workers();
        Ok(Slot {
            name: spec.name.as_str().into(),
            breaker: Breaker::new(&spec.name, spec.breaker.clone()),
            space: runtime.spaces().open(owner, spec.limits.shared_bytes),
            metrics: metrics::Metrics::new(workers + 1),
            stats: (0..=workers).map(|_| WorkerStats::default()).collect(),
            config,
            spec,
        })
    }

    /// The index for the thread that loads.
    pub(crate) fn loader(&self) -> usize {
        self.stats.len() - 1
    }
}
