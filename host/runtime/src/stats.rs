//! Counts and times of hook calls: one cache-padded set per worker, written by that worker alone, summed when read.
//! Must never take a lock or an atomic read-modify-write on the path of a call.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use odin_chain::Hook;

use crate::error::Cause;

/// Upper bounds of the histogram's buckets in nanoseconds; the last bucket of a histogram has no bound.
pub const BUCKETS_NANOS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];

/// A counter with one writer at a time: a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }
}

#[derive(Default)]
struct HookCells {
    failures: Cell,
    nanos: Cell,
    buckets: [Cell; BUCKETS_NANOS.len() + 1],
}

/// What one worker counts about one plugin.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct WorkerStats {
    hooks: [HookCells; Hook::ALL.len()],
    traps: Cell,
    timeouts: Cell,
    refused: Cell,
    pub(crate) paused: Cell,
    too_many: Cell,
    /// Calls on fibers that are open now.
    pub(crate) open: AtomicUsize,
    pub(crate) outbound_calls: Cell,
    pub(crate) outbound_failures: Cell,
    pub(crate) instances: Cell,
    /// The second in which `log_lines` were written: the log's rate limit.
    pub(crate) log_second: Cell,
    pub(crate) log_lines: Cell,
}

impl WorkerStats {
    pub(crate) fn record(&self, hook: Hook, nanos: u64, failure: Option<&Cause>) {
        let cells = &self.hooks[hook.index()];
        cells.nanos.add(nanos);
        cells.buckets[bucket(nanos)].add(1);
        if let Some(cause) = failure {
            cells.failures.add(1);
            match cause {
                Cause::Timeout { .. } | Cause::Budget { .. } => self.timeouts.add(1),
                Cause::Trap { .. } | Cause::OutOfMemory { .. } | Cause::StackOverflow => self.traps.add(1),
                Cause::Refused(_) => self.refused.add(1),
                Cause::TooManyCalls { .. } => self.too_many.add(1),
                Cause::BadAnswer(_) | Cause::Paused | Cause::Instantiate(_) | Cause::Configure(_) => {}
            }
        }
    }
}

fn bucket(nanos: u64) -> usize {
    BUCKETS_NANOS.iter().position(|&bound| nanos <= bound).unwrap_or(BUCKETS_NANOS.len())
}

/// The counts of one plugin since it was first loaded, over all workers and generations.
#[derive(Clone, Debug, Default)]
pub struct StatsSnapshot {
    hooks: [HookStats; Hook::ALL.len()],
    /// Traps, among them those for lack of memory or stack.
    pub traps: u64,
    /// Calls that overran their time, or a CPU budget.
    pub timeouts: u64,
    /// Calls that the plugin itself answered with an error.
    pub refused: u64,
    /// Calls that were not made, because the hook failed too often on the route.
    pub paused: u64,
    /// Calls that were not made, because too many waited on the worker.
    pub too_many: u64,
    /// Calls that wait now, or give way to others.
    pub open: u64,
    /// How many of them one worker may have of this plugin.
    pub open_limit: u64,
    /// How often one of its hooks was paused on a route.
    pub breaker_trips: u64,
    /// Calls of `outbound` that the plugin made.
    pub outbound_calls: u64,
    /// Those that had no answer.
    pub outbound_failures: u64,
    /// Instances made so far.
    pub instances_created: u64,
    /// The plugin's own metrics by name, in order.
    pub custom: Vec<CustomMetric>,
}

/// A metric of the plugin's own.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomMetric {
    /// As the plugin named it: `[a-z0-9_]+`.
    pub name: String,
    /// Summed over workers.
    pub value: CustomValue,
}

/// The value of a metric of the plugin's own.
#[derive(Clone, Debug, PartialEq)]
pub enum CustomValue {
    /// A number that only grows.
    Counter(u64),
    /// A number that goes up and down.
    Gauge(f64),
    /// Values counted by size.
    Histogram {
        /// The upper bounds of the buckets, ascending.
        bounds: Vec<f64>,
        /// Values by bucket, not cumulative; one more than `bounds`, without a bound.
        buckets: Vec<u64>,
        /// Of all values.
        sum: f64,
    },
}

impl StatsSnapshot {
    /// The counts of one hook.
    pub fn hook(&self, hook: Hook) -> &HookStats {
        &self.hooks[hook.index()]
    }

    /// Over all workers. What is not counted by workers is the caller's to fill in.
    pub(crate) fn sum(workers: &[WorkerStats]) -> Self {
        let mut total = StatsSnapshot::default();
        for worker in workers {
            for (into, cells) in total.hooks.iter_mut().zip(&worker.hooks) {
                into.failures += cells.failures.get();
                into.nanos_total += cells.nanos.get();
                for (into, cell) in into.histogram.iter_mut().zip(&cells.buckets) {
                    *into += cell.get();
                }
            }
            total.traps += worker.traps.get();
            total.timeouts += worker.timeouts.get();
            total.refused += worker.refused.get();
            total.paused += worker.paused.get();
            total.too_many += worker.too_many.get();
            total.open += worker.open.load(Relaxed) as u64;
            total.outbound_calls += worker.outbound_calls.get();
            total.outbound_failures += worker.outbound_failures.get();
            total.instances_created += worker.instances.get();
        }
        for hook in &mut total.hooks {
            hook.calls = hook.histogram.iter().sum();
        }
        total
    }
}

/// The counts of one hook.
#[derive(Clone, Debug, Default)]
pub struct HookStats {
    /// Calls, failed ones too.
    pub calls: u64,
    /// Calls that ended in a `CallError`.
    pub failures: u64,
    /// Nanoseconds spent in all calls together.
    pub nanos_total: u64,
    /// Calls by duration; not cumulative. The last has no upper bound, the others those of [`BUCKETS_NANOS`].
    pub histogram: [u64; BUCKETS_NANOS.len() + 1],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_and_durations_fall_into_buckets() {
        let workers = [WorkerStats::default(), WorkerStats::default()];
        workers[0].record(Hook::Balancer, 100, None);
        workers[1].record(Hook::Balancer, 101, None);
        workers[1].record(Hook::Balancer, 20_000_000, Some(&Cause::Timeout { limit: Default::default() }));
        let sum = StatsSnapshot::sum(&workers);
        let balancer = sum.hook(Hook::Balancer);
        assert_eq!((balancer.calls, balancer.failures, balancer.nanos_total), (3, 1, 20_000_201));
        assert_eq!((balancer.histogram[0], balancer.histogram[1], balancer.histogram[12]), (1, 1, 1));
        assert_eq!((sum.timeouts, sum.traps), (1, 0));
    }
}
