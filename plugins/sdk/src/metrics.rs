//! Numbers of the plugin's own on `/metrics`, as `odin_custom_<name>{plugin="…"}`. Granted by `grant = ["metrics"]`.
//! They live in a `static`: opened at the first use, then held, because opening costs a look-up.
//!
//! ```
//! # use odin_sdk::metrics::{Counter, Gauge, Histogram};
//! static REFUSED: Counter = Counter::new("refused_total");
//! static QUEUE: Gauge = Gauge::new("queue_length");
//! static SIZES: Histogram = Histogram::new("size_bytes", &[100.0, 10_000.0]);
//!
//! fn note(size: usize) {
//!     REFUSED.add(1);
//!     QUEUE.add(-1.0);
//!     SIZES.observe(size as f64);
//! }
//! # note(3);
//! ```
//!
//! A name is `[a-z0-9_]+`, at most 64 bytes, and a plugin has at most 256 metrics; anything else traps.

use std::sync::OnceLock;

use crate::host::metrics as host;

/// A number that only grows.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    handle: OnceLock<host::Counter>,
}

impl Counter {
    /// Names the metric.
    pub const fn new(name: &'static str) -> Self {
        Self { name, handle: OnceLock::new() }
    }

    /// Adds.
    pub fn add(&self, delta: u64) {
        self.handle.get_or_init(|| host::Counter::new(self.name)).add(delta);
    }
}

/// A number that goes up and down; one for all workers.
#[derive(Debug)]
pub struct Gauge {
    name: &'static str,
    handle: OnceLock<host::Gauge>,
}

impl Gauge {
    /// Names the metric.
    pub const fn new(name: &'static str) -> Self {
        Self { name, handle: OnceLock::new() }
    }

    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.open().set(value);
    }

    /// Adds; a negative number takes away.
    pub fn add(&self, delta: f64) {
        self.open().add(delta);
    }

    fn open(&self) -> &host::Gauge {
        self.handle.get_or_init(|| host::Gauge::new(self.name))
    }
}

/// Values counted by size.
#[derive(Debug)]
pub struct Histogram {
    name: &'static str,
    bounds: &'static [f64],
    handle: OnceLock<host::Histogram>,
}

impl Histogram {
    /// Names the metric and the upper bounds of its buckets: ascending, at most 32. One more bucket has no bound.
    pub const fn new(name: &'static str, bounds: &'static [f64]) -> Self {
        Self { name, bounds, handle: OnceLock::new() }
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        self.handle.get_or_init(|| host::Histogram::new(self.name, self.bounds)).observe(value);
    }
}
