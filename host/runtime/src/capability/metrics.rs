//! `odin:plugin/metrics`: counters of the plugin's own on `/metrics`.
//! Each worker counts for itself, without locked instructions; the sum is made when it is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::{Resource, ResourceType, WasmStr};
use wasmtime::{Result, bail, ensure};

use crate::stats::Cell;
use crate::store::{Ctx, Link};

/// A plugin has at most so many metrics.
const MAX_METRICS: usize = 256;
/// The name of a metric is at most so long, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Marks handles of the resource.
pub(crate) enum MetricCounter {}

/// One worker's part of one metric, on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Part(Cell);

type Parts = Arc<[Part]>;

/// The metrics of a plugin.
pub(crate) struct Metrics {
    workers: usize,
    by_name: Mutex<BTreeMap<String, (usize, Parts)>>,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Self {
        Metrics { workers, by_name: Mutex::default() }
    }

    /// Every metric with the sum over workers, by name.
    pub(crate) fn sums(&self) -> Vec<(String, u64)> {
        let metrics = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |parts: &Parts| parts.iter().fold(0u64, |sum, part| sum.wrapping_add(part.0.get()));
        metrics.iter().map(|(name, (_, parts))| (name.clone(), sum(parts))).collect()
    }

    fn open(&self, name: &str) -> Result<(usize, Parts)> {
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
        let parts: Parts = (0..self.workers).map(|_| Part::default()).collect();
        metrics.insert(name.to_owned(), (index, parts.clone()));
        Ok((index, parts))
    }
}

/// The metrics that one instance has opened, by index in the registry.
#[derive(Default)]
pub(crate) struct Opened(Vec<Option<Parts>>);

pub(crate) fn link(linker: &mut Link) -> Result<()> {
    let mut metrics = linker.instance("odin:plugin/metrics@0.1.0")?;
    metrics.resource("counter", ResourceType::host::<MetricCounter>(), |_, _| Ok(()))?;
    metrics.func_wrap("[constructor]counter", |mut store: Ctx<'_>, (name,): (WasmStr,)| {
        let (index, parts) = store.data().slot.metrics.open(&name.to_str(&store)?)?;
        let opened = &mut store.data_mut().metrics.0;
        if opened.len() <= index {
            opened.resize(index + 1, None);
        }
        opened[index] = Some(parts);
        Ok((Resource::<MetricCounter>::new_own(u32::try_from(index)?),))
    })?;
    metrics.func_wrap("[method]counter.add", |store: Ctx<'_>, (counter, delta): (Resource<MetricCounter>, u64)| {
        let data = store.data();
        match data.metrics.0.get(counter.rep() as usize) {
            Some(Some(parts)) => parts[data.worker].0.add(delta),
            _ => bail!("a metric of another instance"),
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_workers_summed() {
        let metrics = Metrics::new(2);
        assert!(metrics.open("").is_err());
        assert!(metrics.open("Upper").is_err());
        let (_, parts) = metrics.open("requests_total").unwrap();
        parts[0].0.add(2);
        parts[1].0.add(3);
        assert_eq!(metrics.sums(), [("requests_total".to_owned(), 5)]);
    }

    #[test]
    fn there_is_a_limit() {
        let metrics = Metrics::new(1);
        for n in 0..MAX_METRICS {
            metrics.open(&format!("m{n}")).unwrap();
        }
        assert!(metrics.open("one_more").is_err());
    }
}
