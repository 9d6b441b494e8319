//! `odin:plugin/metrics`: numbers of the plugin's own on `/metrics`. A handle carries the metric's index in the plugin's
//! registry.

use std::sync::atomic::Ordering::Relaxed;

use wasmtime::component::{Resource, ResourceType, WasmStr};
use wasmtime::{Result, ensure};

use crate::metrics::{Metric, check_bounds, counter, gauge, histogram, observe};
use crate::store::{Ctx, Link};

/// Marks handles of the resource.
enum Counter {}
/// Marks handles of the resource.
enum Gauge {}
/// Marks handles of the resource.
enum Histogram {}

fn open<K: 'static>(
    store: &mut Ctx<'_>,
    name: &WasmStr,
    is_kind: fn(&Metric) -> bool,
    make: impl FnOnce(usize) -> Metric,
) -> Result<(Resource<K>,)> {
    let name = name.to_str(&*store)?;
    let (index, metric) = store.data().slot.metrics.open(&name, make)?;
    ensure!(is_kind(&metric), "the metric {name:?} is of another kind already");
    store.data_mut().metrics.put(index, metric);
    Ok((Resource::new_own(u32::try_from(index)?),))
}

pub(crate) fn link(linker: &mut Link) -> Result<()> {
    let mut metrics = linker.instance("odin:plugin/metrics@0.1.0")?;
    metrics.resource("counter", ResourceType::host::<Counter>(), |_, _| Ok(()))?;
    metrics.func_wrap("[constructor]counter", |mut store: Ctx<'_>, (name,): (WasmStr,)| {
        open::<Counter>(&mut store, &name, |metric| matches!(metric, Metric::Counter(_)), counter)
    })?;
    metrics.func_wrap("[method]counter.add", |store: Ctx<'_>, (counter, delta): (Resource<Counter>, u64)| {
        let data = store.data();
        if let Metric::Counter(parts) = data.metrics.get(counter.rep())? {
            parts[data.worker].0.add(delta);
        }
        Ok(())
    })?;

    metrics.resource("gauge", ResourceType::host::<Gauge>(), |_, _| Ok(()))?;
    metrics.func_wrap("[constructor]gauge", |mut store: Ctx<'_>, (name,): (WasmStr,)| {
        open::<Gauge>(&mut store, &name, |metric| matches!(metric, Metric::Gauge(_)), gauge)
    })?;
    metrics.func_wrap("[method]gauge.set", |store: Ctx<'_>, (gauge, value): (Resource<Gauge>, f64)| {
        if let Metric::Gauge(bits) = store.data().metrics.get(gauge.rep())? {
            bits.store(value.to_bits(), Relaxed);
        }
        Ok(())
    })?;
    metrics.func_wrap("[method]gauge.add", |store: Ctx<'_>, (gauge, delta): (Resource<Gauge>, f64)| {
        if let Metric::Gauge(bits) = store.data().metrics.get(gauge.rep())? {
            bits.update(Relaxed, Relaxed, |bits| (f64::from_bits(bits) + delta).to_bits());
        }
        Ok(())
    })?;

    metrics.resource("histogram", ResourceType::host::<Histogram>(), |_, _| Ok(()))?;
    metrics.func_wrap("[constructor]histogram", |mut store: Ctx<'_>, (name, bounds): (WasmStr, Vec<f64>)| {
        check_bounds(&bounds)?;
        let is_kind = |metric: &Metric| matches!(metric, Metric::Histogram { .. });
        open::<Histogram>(&mut store, &name, is_kind, |workers| histogram(&bounds, workers))
    })?;
    metrics.func_wrap("[method]histogram.observe", |store: Ctx<'_>, (of, value): (Resource<Histogram>, f64)| {
        let data = store.data();
        if let Metric::Histogram { bounds, workers } = data.metrics.get(of.rep())? {
            observe(bounds, &workers[data.worker], value);
        }
        Ok(())
    })
}
