//! A plugin's own numbers on `/metrics`.
//!
//! Each worker counts for itself, without locked instructions; the sum is made when it is read. A gauge is one for all.
//! Metrics are never removed, so an index stays good; each
//! instance keeps the ones that it opened, so that using one takes no lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{Result, bail, ensure};

use crate::stats::{Cell, CustomMetric, CustomValue};

/// A plugin has at most so many metrics.
const MAX_METRICS: usize = 256;
/// The name of a metric is at most so long, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// A histogram has at most so many bounds.
const MAX_BOUNDS: usize = 32;

/// One worker's part of one counter, on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Part(pub(crate) Cell);

/// One worker's part of one histogram.
#[repr(align(128))]
pub(crate) struct Sizes {
    buckets: Box<[Cell]>,
    /// The bits of an `f64`.
    sum: Cell,
}

/// One metric, over all workers.
#[derive(Clone)]
pub(crate) enum Metric {
    Counter(Arc<[Part]>),
    /// The bits of an `f64`.
    Gauge(Arc<AtomicU64>),
    Histogram {
        bounds: Arc<[f64]>,
        workers: Arc<[Sizes]>,
    },
}

/// The metrics of a plugin.
pub(crate) struct Metrics {
    workers: usize,
    by_name: Mutex<BTreeMap<String, (usize, Metric)>>,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Self {
        Metrics { workers, by_name: Mutex::default() }
    }

    /// Every metric, summed over workers, by name.
    pub(crate) fn read(&self) -> Vec<CustomMetric> {
        let metrics = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.iter().map(|(name, (_, metric))| CustomMetric { name: name.clone(), value: read(metric) }).collect()
    }

    /// The metric of this name, made when it is new. The kind of one that is there is the caller's to check.
    pub(crate) fn open(&self, name: &str, make: impl FnOnce(usize) -> Metric) -> Result<(usize, Metric)> {
        let mut metrics = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = metrics.get(name) {
            return Ok(found.clone());
        }
        let index = metrics.len();
        ensure!(index < MAX_METRICS, "the plugin has {MAX_METRICS} metrics already");
        let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        ensure!(
            (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(good),
            "the name of a metric is not [a-z0-9_]+, at most {MAX_NAME_BYTES} long"
        );
        let metric = make(self.workers);
        metrics.insert(name.to_owned(), (index, metric.clone()));
        Ok((index, metric))
    }
}

fn read(metric: &Metric) -> CustomValue {
    match metric {
        Metric::Counter(parts) => CustomValue::Counter(sum(parts.iter().map(|part| &part.0))),
        Metric::Gauge(bits) => CustomValue::Gauge(f64::from_bits(bits.load(Relaxed))),
        Metric::Histogram { bounds, workers } => CustomValue::Histogram {
            bounds: bounds.to_vec(),
            buckets: (0..=bounds.len()).map(|at| sum(workers.iter().map(|worker| &worker.buckets[at]))).collect(),
            sum: workers.iter().map(|worker| f64::from_bits(worker.sum.get())).sum(),
        },
    }
}

fn sum<'a>(cells: impl Iterator<Item = &'a Cell>) -> u64 {
    cells.fold(0u64, |sum, cell| sum.wrapping_add(cell.get()))
}

pub(crate) fn counter(workers: usize) -> Metric {
    Metric::Counter((0..workers).map(|_| Part::default()).collect())
}

pub(crate) fn gauge(_: usize) -> Metric {
    Metric::Gauge(Arc::default())
}

pub(crate) fn histogram(bounds: &[f64], workers: usize) -> Metric {
    let sizes = || Sizes { buckets: (0..=bounds.len()).map(|_| Cell::default()).collect(), sum: Cell::default() };
    Metric::Histogram { bounds: bounds.into(), workers: (0..workers).map(|_| sizes()).collect() }
}

pub(crate) fn check_bounds(bounds: &[f64]) -> Result<()> {
    ensure!(bounds.len() <= MAX_BOUNDS, "a histogram has at most {MAX_BOUNDS} bounds");
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    ensure!(ascending && bounds.iter().all(|bound| bound.is_finite()), "the bounds of a histogram do not ascend");
    Ok(())
}

/// The metrics that one instance has opened, by index in the registry.
#[derive(Default)]
pub(crate) struct Opened(Vec<Option<Metric>>);

impl Opened {
    pub(crate) fn put(&mut self, index: usize, metric: Metric) {
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(metric);
    }

    pub(crate) fn get(&self, index: u32) -> Result<&Metric> {
        match self.0.get(index as usize) {
            Some(Some(metric)) => Ok(metric),
            _ => bail!("a metric of another instance"),
        }
    }
}

pub(crate) fn observe(bounds: &[f64], sizes: &Sizes, value: f64) {
    sizes.buckets[bounds.partition_point(|&bound| bound < value)].add(1);
    sizes.sum.set((f64::from_bits(sizes.sum.get()) + value).to_bits());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_workers_summed() {
        let metrics = Metrics::new(2);
        assert!(metrics.open("", counter).is_err());
        assert!(metrics.open("Upper", counter).is_err());
        let (_, Metric::Counter(parts)) = metrics.open("requests_total", counter).unwrap() else { panic!("a counter") };
        parts[0].0.add(2);
        parts[1].0.add(3);
        let expected = CustomMetric { name: "requests_total".to_owned(), value: CustomValue::Counter(5) };
        assert_eq!(metrics.read(), [expected]);
    }

    #[test]
    fn there_is_a_limit() {
        let metrics = Metrics::new(1);
        for n in 0..MAX_METRICS {
            metrics.open(&format!("m{n}"), counter).unwrap();
        }
        assert!(metrics.open("one_more", counter).is_err());
    }

    #[test]
    fn a_histogram_counts_by_size_over_workers() {
        let metric = histogram(&[1.0, 10.0], 2);
        let Metric::Histogram { bounds, workers } = &metric else { panic!("a histogram") };
        for (worker, value) in [(0, 0.5), (1, 1.0), (0, 2.0), (1, 100.0), (0, f64::INFINITY)] {
            observe(bounds, &workers[worker], value);
        }
        let CustomValue::Histogram { bounds, buckets, sum } = read(&metric) else { panic!("a histogram") };
        assert_eq!((bounds, buckets, sum), (vec![1.0, 10.0], vec![2, 1, 2], f64::INFINITY));
    }

    #[test]
    fn bounds_ascend() {
        assert!(check_bounds(&[]).is_ok());
        assert!(check_bounds(&[1.0, 1.0]).is_err());
        assert!(check_bounds(&[1.0, f64::NAN]).is_err());
        assert!(check_bounds(&[f64::INFINITY]).is_err());
        assert!(check_bounds(&vec![0.0; MAX_BOUNDS + 1]).is_err());
    }
}
