//! The counters of a space. Must never lock but when one is opened.
//!
//! A counter's handle carries its index in the space's registry. Counters are never removed, so an index stays good;
//! each instance keeps the ones that it opened, so that using one takes no lock.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{Result, bail, ensure};

/// A space has at most so many counters.
const MAX_COUNTERS: usize = 1_024;
/// The name of a counter is at most so long, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Two counters never share a cache line.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Shared(AtomicU64);

/// The counters of a space.
#[derive(Default)]
pub(crate) struct Counters(Mutex<HashMap<String, (usize, Arc<Shared>)>>);

impl Counters {
    pub(crate) fn open(&self, name: &str) -> Result<(usize, Arc<Shared>)> {
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
    pub(crate) fn put(&mut self, index: usize, counter: Arc<Shared>) {
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(counter);
    }

    pub(crate) fn get(&self, index: u32) -> Result<&AtomicU64> {
        match self.0.get(index as usize) {
            Some(Some(counter)) => Ok(&counter.0),
            _ => bail!("a counter of another instance"),
        }
    }
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
