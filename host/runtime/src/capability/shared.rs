//! `odin:plugin/shared`: state that outlives an exchange, one copy for all workers and generations.
//! A counter's handle carries its index in the space's registry.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime::Result;
use wasmtime::component::{ComponentType, Lower, Resource, ResourceType, WasmList, WasmStr};

use crate::capability::message::Interface;
use crate::shared::{Condition, Refused};
use crate::store::{Ctx, Link};

/// Marks handles of the resource.
enum Counter {}

/// `entry` of wit/shared.wit.
#[derive(ComponentType, Lower)]
#[component(record)]
struct WitEntry {
    value: Bytes,
    version: u64,
}

/// `shared-error` of wit/shared.wit.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum SharedError {
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "conflict")]
    Conflict(Option<u64>),
}

impl From<Refused> for SharedError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLarge => SharedError::TooLarge,
            Refused::Conflict(version) => SharedError::Conflict(version),
        }
    }
}

pub(crate) fn link(linker: &mut Link) -> Result<()> {
    let mut shared = linker.instance("odin:plugin/shared@0.1.0")?;
    link_counters(&mut shared)?;
    shared.func_wrap("get", |store: Ctx<'_>, (key,): (WasmStr,)| {
        let found = store.data().slot.space.get(&key.to_str(&store)?, Instant::now());
        Ok((found.map(|(value, version)| WitEntry { value, version }),))
    })?;
    shared.func_wrap("set", |store: Ctx<'_>, (key, value, expires): (WasmStr, WasmList<u8>, Option<u64>)| {
        put(&store, &key, &value, expires, Condition::Always)
    })?;
    shared.func_wrap(
        "compare-and-set",
        |store: Ctx<'_>, (key, version, value, expires): (WasmStr, Option<u64>, WasmList<u8>, Option<u64>)| {
            put(&store, &key, &value, expires, Condition::At(version))
        },
    )?;
    shared.func_wrap("remove", |store: Ctx<'_>, (key,): (WasmStr,)| {
        Ok((store.data().slot.space.remove(&key.to_str(&store)?, Instant::now()),))
    })
}

fn put(
    store: &Ctx<'_>,
    key: &WasmStr,
    value: &WasmList<u8>,
    expires_ms: Option<u64>,
    condition: Condition,
) -> Result<(std::result::Result<u64, SharedError>,)> {
    let now = Instant::now();
    // A time past what the clock can tell is never.
    let expires = expires_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
    let space = &store.data().slot.space;
    let put = space.put(&key.to_str(store)?, value.as_le_slice(store), expires, condition, now);
    Ok((put.map_err(SharedError::from),))
}

fn link_counters(shared: &mut Interface<'_>) -> Result<()> {
    shared.resource("counter", ResourceType::host::<Counter>(), |_, _| Ok(()))?;
    shared.func_wrap("[constructor]counter", |mut store: Ctx<'_>, (name,): (WasmStr,)| {
        let (index, counter) = store.data().slot.space.counters.open(&name.to_str(&store)?)?;
        store.data_mut().counters.put(index, counter);
        Ok((Resource::<Counter>::new_own(u32::try_from(index)?),))
    })?;
    shared.func_wrap("[method]counter.add", |store: Ctx<'_>, (counter, delta): (Resource<Counter>, u64)| {
        Ok((store.data().counters.get(counter.rep())?.fetch_add(delta, Relaxed),))
    })?;
    shared.func_wrap("[method]counter.get", |store: Ctx<'_>, (counter,): (Resource<Counter>,)| {
        Ok((store.data().counters.get(counter.rep())?.load(Relaxed),))
    })?;
    shared.func_wrap("[method]counter.swap", |store: Ctx<'_>, (counter, value): (Resource<Counter>, u64)| {
        Ok((store.data().counters.get(counter.rep())?.swap(value, Relaxed),))
    })
}
