//! State that outlives an exchange: one copy for all workers, kept over swaps. Granted by `grant = ["shared"]`.
//! Private to the plugin, unless its config names a common space with `shared-space`.
//!
//! ```
//! # use std::time::Duration;
//! # use odin_sdk::{Result, SharedCounter, shared};
//! static SEEN: SharedCounter = SharedCounter::new("seen");
//!
//! fn note(session: &str) -> Result<u64> {
//!     let turn = SEEN.add(1); // no other caller ever gets this number
//!     shared::set(session, "open", Some(Duration::from_secs(60)))?;
//!     shared::update("sessions", |old| [old.unwrap_or_default(), session.as_bytes(), b" "].concat())?;
//!     Ok(turn)
//! }
//! # assert_eq!(note("a").ok(), Some(0));
//! # assert_eq!(shared::get("sessions").map(|entry| entry.value), Some(b"a ".to_vec()));
//! ```

use std::sync::OnceLock;
use std::time::Duration;

use crate::host::shared as host;

pub use crate::bindings::imports::shared::Entry;
pub use crate::refusals::SharedError;

/// A named atomic counter; it begins at zero and wraps at 2^64. Opened at the first use, then held.
#[derive(Debug)]
pub struct SharedCounter {
    name: &'static str,
    handle: OnceLock<host::Counter>,
}

impl SharedCounter {
    /// Names the counter; the same name is the same counter. A space has at most 1,024.
    pub const fn new(name: &'static str) -> Self {
        Self { name, handle: OnceLock::new() }
    }

    /// Adds and returns the value before the addition.
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

    fn open(&self) -> &host::Counter {
        self.handle.get_or_init(|| host::Counter::new(self.name))
    }
}

/// The value under a key and its version, or `None` when it was never set, has expired, or was evicted.
pub fn get(key: &str) -> Option<Entry> {
    host::get(key)
}

/// Sets or replaces a value; answers its version. It expires after this time (in whole milliseconds), or never.
pub fn set(key: &str, value: impl AsRef<[u8]>, expires: Option<Duration>) -> Result<u64, SharedError> {
    Ok(host::set(key, value.as_ref(), milliseconds(expires))?)
}

/// Sets the value only when the key is at this version; `None` means when it is not there.
pub fn compare_and_set(
    key: &str,
    version: Option<u64>,
    value: impl AsRef<[u8]>,
    expires: Option<Duration>,
) -> Result<u64, SharedError> {
    Ok(host::compare_and_set(key, version, value.as_ref(), milliseconds(expires))?)
}

/// Removes a value; true when it was there.
pub fn remove(key: &str) -> bool {
    host::remove(key)
}

/// Replaces a value by what `change` makes of it, and asks again when another caller was faster. Answers the version.
/// The new value does not expire.
pub fn update(key: &str, mut change: impl FnMut(Option<&[u8]>) -> Vec<u8>) -> Result<u64, SharedError> {
    loop {
        let old = get(key);
        let new = change(old.as_ref().map(|entry| entry.value.as_slice()));
        match compare_and_set(key, old.map(|entry| entry.version), new, None) {
            Err(SharedError::Conflict(_)) => {}
            answer => return answer,
        }
    }
}

fn milliseconds(time: Option<Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
