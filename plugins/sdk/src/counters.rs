//! Counters that live in a `static`: opened at the first use, then held, because opening costs a look-up.

use std::sync::OnceLock;

use crate::bindings::imports::{metrics, shared};

/// A named atomic counter, one for all workers and kept over swaps; private to the plugin.
///
/// ```no_run
/// use odin_sdk::SharedCounter;
///
/// static TURN: SharedCounter = SharedCounter::new("turn");
///
/// let turn = TURN.add(1); // no other caller ever gets this number
/// ```
#[derive(Debug)]
pub struct SharedCounter {
    name: &'static str,
    handle: OnceLock<shared::Counter>,
}

impl SharedCounter {
    /// Names the counter; the same name is the same counter. A plugin has at most 1,024.
    pub const fn new(name: &'static str) -> Self {
        Self { name, handle: OnceLock::new() }
    }

    /// Adds and returns the value before the addition. Wraps at 2^64.
    pub fn add(&self, delta: u64) -> u64 {
        self.open().add(delta)
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.open().get()
    }

    /// Replaces the value and returns the one before.
    pub fn swap(&self, value: u64) -> u64 {
        self.open().swap(value)
    }

    fn open(&self) -> &shared::Counter {
        self.handle.get_or_init(|| shared::Counter::new(self.name))
    }
}

/// A counter of the plugin's own on `/metrics`, as `odin_plugin_<name>{plugin="…"}`.
///
/// ```no_run
/// use odin_sdk::MetricCounter;
///
/// static REFUSED: MetricCounter = MetricCounter::new("refused_total");
///
/// REFUSED.add(1);
/// ```
#[derive(Debug)]
pub struct MetricCounter {
    name: &'static str,
    handle: OnceLock<metrics::Counter>,
}

impl MetricCounter {
    /// Names the metric, `[a-z0-9_]+`. A plugin has at most 256.
    pub const fn new(name: &'static str) -> Self {
        Self { name, handle: OnceLock::new() }
    }

    /// Adds; the counter only grows.
    pub fn add(&self, delta: u64) {
        self.handle.get_or_init(|| metrics::Counter::new(self.name)).add(delta);
    }
}
