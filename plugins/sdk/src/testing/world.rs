//! What outlives an exchange: clock, random numbers, shared state, metrics, log lines. One for each test thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::bindings::imports::shared::{Entry, SharedError};
use crate::outbound::{self, OutboundError};
use crate::{Level, Reply};

/// A line that a plugin logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// How grave it is.
    pub level: Level,
    /// The words.
    pub message: String,
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// The sum of all additions.
    Counter(u64),
    /// The last value.
    Gauge(f64),
    /// The values that were observed, in order.
    Histogram(Vec<f64>),
}

type Answer = Box<dyn FnMut(&outbound::Request) -> Result<Reply, OutboundError>>;

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) monotonic: Duration,
    pub(crate) random: u64,
    pub(crate) log: Vec<Line>,
    pub(crate) metrics: BTreeMap<(&'static str, String), Metric>,
    pub(crate) counters: HashMap<(&'static str, String), u64>,
    pub(crate) outbound: Option<Answer>,
    entries: HashMap<(&'static str, String), Kept>,
    version: u64,
}

/// A shared value and when, on the monotonic clock, it expires.
struct Kept {
    entry: Entry,
    expires: Option<Duration>,
}

thread_local! {
    pub(crate) static WORLD: RefCell<World> = RefCell::new(World::default());
}

impl Default for World {
    fn default() -> Self {
        Self {
            // 2026-01-01T00:00:00Z: any moment would do.
            now: Duration::from_secs(1_767_225_600),
            monotonic: Duration::from_secs(1000),
            random: 0,
            log: Vec::new(),
            metrics: BTreeMap::new(),
            counters: HashMap::new(),
            outbound: None,
            entries: HashMap::new(),
            version: 0,
        }
    }
}

impl World {
    /// Not random at all, so that a test sees the same each time: splitmix64.
    pub(crate) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The value under a key, unless it has expired.
    pub(crate) fn entry(&mut self, plugin: &'static str, key: &str) -> Option<&Entry> {
        let key = (plugin, key.to_owned());
        if self.entries.get(&key)?.expires.is_some_and(|expires| expires <= self.monotonic) {
            self.entries.remove(&key);
        }
        self.entries.get(&key).map(|kept| &kept.entry)
    }

    pub(crate) fn set_entry(
        &mut self,
        plugin: &'static str,
        key: &str,
        value: &[u8],
        expires_ms: Option<u64>,
    ) -> Result<u64, SharedError> {
        // A sixteenth of the 8 MiB that a space has unless the config says otherwise.
        if key.len() > 1024 || key.len() + value.len() > 512 << 10 {
            return Err(SharedError::TooLarge);
        }
        self.version += 1;
        let entry = Entry { value: value.to_owned(), version: self.version };
        let expires = expires_ms.map(|milliseconds| self.monotonic + Duration::from_millis(milliseconds));
        self.entries.insert((plugin, key.to_owned()), Kept { entry, expires });
        Ok(self.version)
    }

    pub(crate) fn remove_entry(&mut self, plugin: &'static str, key: &str) -> bool {
        let there = self.entry(plugin, key).is_some();
        self.entries.remove(&(plugin, key.to_owned()));
        there
    }
}
