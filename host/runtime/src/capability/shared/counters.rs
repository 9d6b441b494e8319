//! The counters of a space. Must never lock but when one is opened.
//!
//! A counter's handle carries its index in the space's registry. Counters are never removed, so an index stays good;
//! each instance keeps the ones that it opened, so that using one takes no lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::{Resource, ResourceType, WasmStr};
use wasmtime::{Result, bail, ensure};

use crate::capability::message::Interface;
use crate::store::Ctx;

/// A space has at most so many counters.
const MAX_COUNTERS: usize = 1_024;
/// The name of a counter is at most so long, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Marks handles of the resource.
pub(crate) enum Counter {}

/// Two counters never share a cache line.
#[derive(Default)]
#[repr(align(128))]
struct Shared(AtomicU64);

/// The counters of a space.
#[derive(Default)]
pub(crate) struct Counters(Mutex<HashMap<String, (usize, Arc<Shared>)>>);

impl Counters {
    fn open(&self, name: &str) -> Result<(usize, Arc<Shared>)> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = counters.get(name) {
            return Ok(found.clone());
        }
        let index = counters.len();
        ensure!(index < MAX_COUNTERS, "the space has {MAX_COUNTERS} shared counters already");
        ensure!(name.len() <= MAX_NAME_BYTES, "the name of a shared counter is over {MAX_NAME_BYTES} bytes");
        let made = (index, Arc::new(Shared::default()));
        counters.insert(name.to_owned(), made.clone());
        Ok(made)
    }
}

/// The counters that one instance has opened, by index in the registry.
#[derive(Default)]
pub(crate) struct Opened(Vec<Option<Arc<Shared>>>);

impl Opened {
    fn put(&mut self, index: usize, counter: Arc<Shared>) {
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(counter);
    }

    fn get(&self, handle: &Resource<Counter>) -> Result<&AtomicU64> {
        match self.0.get(handle.rep() as usize) {
            Some(Some(counter)) => Ok(&counter.0),
            _ => bail!("a counter of another instance"),
        }
    }
}

pub(super) fn link(shared: &mut Interface<'_>) -> Result<()> {
    shared.resource("counter", ResourceType::host::<Counter>(), |_, _| Ok(()))?;
    shared.func_wrap("[constructor]counter", |mut store: Ctx<'_>, (name,): (WasmStr,)| {
        let (index, counter) = store.data().slot.space.counters.open(&name.to_str(&store)?)?;
        store.data_mut().counters.put(index, counter);
        Ok((Resource::<Counter>::new_own(u32::try_from(index)?),))
    })?;
    shared.func_wrap("[method]counter.add", |store: Ctx<'_>, (counter, delta): (Resource<Counter>, u64)| {
        Ok((store.data().counters.get(&counter)?.fetch_add(delta, Relaxed),))
    })?;
    shared.func_wrap("[method]counter.get", |store: Ctx<'_>, (counter,): (Resource<Counter>,)| {
        Ok((store.data().counters.get(&counter)?.load(Relaxed),))
    })?;
    shared.func_wrap("[method]counter.swap", |store: Ctx<'_>, (counter, value): (Resource<Counter>, u64)| {
        Ok((store.data().counters.get(&counter)?.swap(value, Relaxed),))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_the_same_counter_and_there_is_a_limit() {
        let counters = Counters::default();
        let (first, a) = counters.open("a").unwrap();
        let (again, same) = counters.open("a").unwrap();
        assert_eq!(first, again);
        assert!(Arc::ptr_eq(&a, &same));
        for n in 1..MAX_COUNTERS {
            counters.open(&n.to_string()).unwrap();
        }
        assert!(counters.open("one more").is_err());
        assert!(counters.open("a").is_ok());
    }
}
