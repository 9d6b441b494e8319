//! A space of keys and values: bounded in bytes, the least recently used make room, versions never repeat.
//! Must hold a shard's lock for a look-up only, and never two locks at once.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use lru::LruCache;

use super::counters::Counters;

/// Each is locked on its own; an entry may be as large as one of them.
const SHARDS: usize = 16;
/// A key is at most so long, in bytes.
const MAX_KEY_BYTES: usize = 1 << 10;
/// What an entry takes beside its key and value, so that a million empty values are not free.
const ENTRY_OVERHEAD: usize = 96;

/// Whose a space is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// The plugin of this name.
    Plugin(String),
    /// Every plugin that names it.
    Common(String),
}

/// The spaces that live: as long as a plugin that uses them. So a reload, which loads the new before it drops the old,
/// keeps them.
#[derive(Default)]
pub(crate) struct Spaces(Mutex<HashMap<Owner, Weak<Space>>>);

impl Spaces {
    /// The space of this owner, made when there is none. It is as large as the last to open it says.
    pub(crate) fn open(&self, owner: Owner, bytes: usize) -> Arc<Space> {
        let mut spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.retain(|_, space| space.strong_count() > 0);
        if let Some(space) = spaces.get(&owner).and_then(Weak::upgrade) {
            space.shard_bytes.store(bytes / SHARDS, Relaxed);
            return space;
        }
        let space = Arc::new(Space::new(bytes));
        spaces.insert(owner, Arc::downgrade(&space));
        space
    }
}

/// One space: its counters, and its keys and values.
pub(crate) struct Space {
    pub(crate) counters: Counters,
    shards: [Mutex<Shard>; SHARDS],
    /// Keyed at random: keys may come from clients.
    hasher: RandomState,
    version: AtomicU64,
    shard_bytes: AtomicUsize,
}

struct Shard {
    entries: LruCache<Box<str>, Entry, RandomState>,
    bytes: usize,
}

struct Entry {
    value: Bytes,
    version: u64,
    expires: Option<Instant>,
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// When a value may be set.
#[derive(Clone, Copy)]
pub(crate) enum Condition {
    Always,
    /// When the key is at this version; none: when it is not there.
    At(Option<u64>),
}

/// Why it was not set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    TooLarge,
    /// The version that the key is at.
    Conflict(Option<u64>),
}

impl Space {
    fn new(bytes: usize) -> Self {
        let shard = || Shard { entries: LruCache::unbounded_with_hasher(RandomState::new()), bytes: 0 };
        Space {
            counters: Counters::default(),
            shards: std::array::from_fn(|_| Mutex::new(shard())),
            hasher: RandomState::new(),
            version: AtomicU64::new(0),
            shard_bytes: AtomicUsize::new(bytes / SHARDS),
        }
    }

    /// The value and its version.
    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<(Bytes, u64)> {
        let mut shard = self.shard(key);
        shard.live(key, now).map(|entry| (entry.value.clone(), entry.version))
    }

    /// Sets the value and answers its version.
    pub(crate) fn put(
        &self,
        key: &str,
        value: &[u8],
        expires: Option<Instant>,
        condition: Condition,
        now: Instant,
    ) -> Result<u64, Refused> {
        let most = self.shard_bytes.load(Relaxed);
        if key.len() > MAX_KEY_BYTES || key.len() + value.len() > most {
            return Err(Refused::TooLarge);
        }
        let mut shard = self.shard(key);
        if let Condition::At(version) = condition {
            let found = shard.live(key, now).map(|entry| entry.version);
            if found != version {
                return Err(Refused::Conflict(found));
            }
        }
        // Under the lock: the versions of one key grow in the order in which its values were set.
        let version = self.version.fetch_add(1, Relaxed) + 1;
        shard.insert(key, Entry { value: Bytes::copy_from_slice(value), version, expires });
        while shard.bytes > most && shard.entries.len() > 1 {
            shard.evict();
        }
        Ok(version)
    }

    /// Removes a value; true when it was there.
    pub(crate) fn remove(&self, key: &str, now: Instant) -> bool {
        self.shard(key).take(key).is_some_and(|entry| !entry.is_over(now))
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// The entry, which is now the one used last; one that has expired goes.
    fn live(&mut self, key: &str, now: Instant) -> Option<&Entry> {
        if self.entries.peek(key)?.is_over(now) {
            self.take(key);
            return None;
        }
        self.entries.get(key)
    }

    fn insert(&mut self, key: &str, entry: Entry) {
        self.take(key);
        self.bytes += size(key, &entry);
        self.entries.put(key.into(), entry);
    }

    fn take(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.pop(key)?;
        self.bytes -= size(key, &entry);
        Some(entry)
    }

    fn evict(&mut self) {
        if let Some((key, entry)) = self.entries.pop_lru() {
            self.bytes -= size(&key, &entry);
        }
    }
}

fn size(key: &str, entry: &Entry) -> usize {
    key.len() + entry.value.len() + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn set(space: &Space, key: &str, value: &str, now: Instant) -> u64 {
        space.put(key, value.as_bytes(), None, Condition::Always, now).unwrap()
    }

    #[test]
    fn values_are_set_read_and_removed_and_versions_grow() {
        let (space, now) = (Space::new(1 << 20), Instant::now());
        assert_eq!(space.get("a", now), None);
        let first = set(&space, "a", "1", now);
        let other = set(&space, "b", "1", now);
        let second = set(&space, "a", "2", now);
        assert!(first < other && other < second);
        assert_eq!(space.get("a", now), Some((Bytes::from_static(b"2"), second)));
        assert!(space.remove("a", now));
        assert!(!space.remove("a", now));
        assert_eq!(space.get("a", now), None);
        assert!(set(&space, "a", "3", now) > second);
    }

    #[test]
    fn of_two_that_know_the_same_version_one_conflicts() {
        let (space, now) = (Space::new(1 << 20), Instant::now());
        let put = |version| space.put("a", b"x", None, Condition::At(version), now);
        let first = put(None).unwrap();
        assert_eq!(put(None), Err(Refused::Conflict(Some(first))));
        let second = put(Some(first)).unwrap();
        assert_eq!(put(Some(first)), Err(Refused::Conflict(Some(second))));
        space.remove("a", now);
        assert_eq!(put(Some(second)), Err(Refused::Conflict(None)));
    }

    #[test]
    fn a_value_expires() {
        let (space, now) = (Space::new(1 << 20), Instant::now());
        space.put("a", b"x", Some(now + SECOND), Condition::Always, now).unwrap();
        assert!(space.get("a", now).is_some());
        assert_eq!(space.get("a", now + SECOND), None);
        space.put("a", b"x", Some(now + SECOND), Condition::Always, now).unwrap();
        assert!(!space.remove("a", now + SECOND));
        // To a comparison it is not there either.
        space.put("a", b"x", Some(now + SECOND), Condition::Always, now).unwrap();
        assert!(space.put("a", b"y", None, Condition::At(None), now + SECOND).is_ok());
    }

    #[test]
    fn the_least_recently_used_make_room() {
        let (space, now) = (Space::new(SHARDS * 1000), Instant::now());
        // Keys of one shard.
        let at = |key: &str| space.hasher.hash_one(key) as usize % SHARDS;
        let keys: Vec<String> = (0..).map(|n| format!("k{n}")).filter(|key| at(key) == 0).take(4).collect();
        let value = "x".repeat(200);
        for key in &keys[..3] {
            set(&space, key, &value, now);
        }
        assert!(space.get(&keys[0], now).is_some());
        set(&space, &keys[3], &value, now);
        let there: Vec<bool> = keys.iter().map(|key| space.get(key, now).is_some()).collect();
        assert_eq!(there, [true, false, true, true]);
        let bytes = space.shards[0].lock().unwrap().bytes;
        let left = [&keys[0], &keys[2], &keys[3]];
        assert_eq!(bytes, left.iter().map(|key| key.len() + 200 + ENTRY_OVERHEAD).sum::<usize>());
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let (space, now) = (Space::new(SHARDS * 2000), Instant::now());
        let put = |key: &str, value: &[u8]| space.put(key, value, None, Condition::Always, now);
        assert_eq!(put("a", &[0; 2000]), Err(Refused::TooLarge));
        assert!(put("a", &[0; 1999]).is_ok());
        assert_eq!(put(&"k".repeat(MAX_KEY_BYTES + 1), b""), Err(Refused::TooLarge));
        assert!(put(&"k".repeat(MAX_KEY_BYTES), b"").is_ok());
    }

    #[test]
    fn those_that_name_the_same_space_share_it_while_one_lives() {
        let (spaces, now) = (Spaces::default(), Instant::now());
        let common = || spaces.open(Owner::Common("sessions".into()), 1 << 20);
        let one = common();
        set(&one, "a", "1", now);
        assert!(spaces.open(Owner::Plugin("sessions".into()), 1 << 20).get("a", now).is_none());
        let two = common();
        drop(one);
        assert!(two.get("a", now).is_some());
        drop(two);
        assert!(common().get("a", now).is_none());
    }
}
