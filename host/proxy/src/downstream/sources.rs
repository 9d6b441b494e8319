//! Who may connect to a listener: networks, and how much one source may have. A source is an IPv4 address or the /64 of an
//! IPv6 address, for that is what one subscriber has.
//!
//! Sources are counted in a table of fixed size, so no number of them makes it grow. Each is counted in two slots, and the
//! smaller count holds: it can only be too high, and is that only when both slots belong to others as well. Which slots
//! those are follows from a random key, so nobody can choose to share them. Accepting is not the path of requests, so the
//! workers count in the same table.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use ipnet::IpNet;

use crate::transport::clock;

/// Slots of a table; 16 bytes each. A power of two.
const SLOTS: usize = 16_384;
const MILLIS: u64 = 1_000;

/// What a listener allows its sources.
#[derive(Clone)]
pub struct Sources {
    /// A source must be in one of these.
    pub allow: Vec<IpNet>,
    /// And in none of these.
    pub deny: Vec<IpNet>,
    /// Open connections of one source; zero for any number.
    pub connections: u32,
    /// Connections of one source in one second; zero for any number.
    pub new_per_second: u32,
    /// Kept over a reload. None where nothing is counted.
    pub table: Option<Arc<SourceTable>>,
}

/// Why a source may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMuch {
    /// Its network is not allowed, or denied.
    Denied,
    Connections,
    Rate,
}

/// See the module.
pub struct SourceTable {
    key: RandomState,
    slots: Box<[Slot]>,
}

#[derive(Default)]
struct Slot {
    open: AtomicU32,
    /// A second in the upper half, the connections that came in it in the lower one.
    recent: AtomicU64,
}

/// One connection of a source. It counts until it is dropped.
pub(crate) struct Guest {
    table: Arc<SourceTable>,
    slots: [u32; 2],
}

impl Drop for Guest {
    fn drop(&mut self) {
        for slot in self.table.pair(self.slots) {
            slot.open.fetch_sub(1, Relaxed);
        }
    }
}

impl Sources {
    /// Counts a connection of this address. None when nothing is counted.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Option<Guest>, TooMuch> {
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        if !within(&self.allow) || within(&self.deny) {
            return Err(TooMuch::Denied);
        }
        let Some(table) = &self.table else { return Ok(None) };
        let slots = table.slots_of(address);
        let second = u32::try_from(clock::millis() / MILLIS).unwrap_or(u32::MAX);
        if self.new_per_second > 0 && table.came(slots, second) > self.new_per_second {
            return Err(TooMuch::Rate);
        }
        // Counted first: of two that come at once both are seen.
        let guest = Guest { table: table.clone(), slots };
        let open = table.pair(slots).map(|slot| slot.open.fetch_add(1, Relaxed) + 1);
        match self.connections > 0 && open[0].min(open[1]) > self.connections {
            true => Err(TooMuch::Connections),
            false => Ok(Some(guest)),
        }
    }
}

impl SourceTable {
    /// One without connections.
    pub fn new() -> Arc<Self> {
        Arc::new(SourceTable {
            key: RandomState::new(),
            slots: std::iter::repeat_with(Slot::default).take(SLOTS).collect(),
        })
    }

    fn slots_of(&self, address: IpAddr) -> [u32; 2] {
        let hash = match address {
            IpAddr::V4(address) => self.key.hash_one(address.to_bits()),
            IpAddr::V6(address) => self.key.hash_one(address.segments()[..4].to_owned()),
        };
        let mask = SLOTS as u32 / 2 - 1;
        let [first, second] = [hash as u32, (hash >> 32) as u32].map(|half| half & mask);
        // Each has a half of the table of its own: they are never the same slot.
        [first, second + mask + 1]
    }

    fn pair(&self, slots: [u32; 2]) -> [&Slot; 2] {
        slots.map(|slot| &self.slots[slot as usize])
    }

    /// One more connection has come; answers how many that are in this second.
    fn came(&self, slots: [u32; 2], second: u32) -> u32 {
        let [a, b] = self.pair(slots).map(|slot| {
            let next = |recent: u64| {
                let (when, count) = ((recent >> 32) as u32, recent as u32);
                let count = if when == second { count.saturating_add(1) } else { 1 };
                Some(u64::from(second) << 32 | u64::from(count))
            };
            let before = slot.recent.fetch_update(Relaxed, Relaxed, next).unwrap_or_default();
            next(before).unwrap_or_default() as u32
        });
        a.min(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(connections: u32, new_per_second: u32) -> Sources {
        let everybody = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap());
        let table = Some(SourceTable::new());
        Sources { allow: everybody.to_vec(), deny: Vec::new(), connections, new_per_second, table }
    }

    fn admit(sources: &Sources, address: &str) -> Result<Option<Guest>, TooMuch> {
        sources.admit(address.parse().unwrap())
    }

    fn refused(sources: &Sources, address: &str) -> Option<TooMuch> {
        admit(sources, address).err()
    }

    #[test]
    fn networks() {
        let mut sources = sources(0, 0);
        sources.table = None;
        assert!(admit(&sources, "192.0.2.1").unwrap().is_none(), "nothing is counted");
        sources.deny = vec!["192.0.2.0/25".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        sources.allow.remove(1);
        assert_eq!(refused(&sources, "192.0.2.1"), Some(TooMuch::Denied));
        assert_eq!(refused(&sources, "192.0.2.128"), None);
        assert_eq!(refused(&sources, "2001:db9::1"), Some(TooMuch::Denied), "no network of its family is allowed");
    }

    #[test]
    fn open_connections_of_one_source() {
        let sources = sources(2, 0);
        let first = admit(&sources, "192.0.2.1").unwrap();
        let _second = admit(&sources, "192.0.2.1").unwrap();
        assert_eq!(refused(&sources, "192.0.2.1"), Some(TooMuch::Connections));
        assert_eq!(refused(&sources, "192.0.2.2"), None);
        drop(first);
        let _third = admit(&sources, "192.0.2.1").unwrap();
        assert_eq!(refused(&sources, "192.0.2.1"), Some(TooMuch::Connections));
        // The /64 is one source.
        let _sixes = ["2001:db8::1", "2001:db8::ffff:1"].map(|address| admit(&sources, address).unwrap());
        assert_eq!(refused(&sources, "2001:db8::2"), Some(TooMuch::Connections));
        assert_eq!(refused(&sources, "2001:db8:0:1::2"), None);
    }

    #[test]
    fn new_connections_in_one_second() {
        let table = SourceTable::new();
        let slots = table.slots_of("192.0.2.1".parse().unwrap());
        assert_eq!([7, 7, 7, 8, 8, 9].map(|second| table.came(slots, second)), [1, 2, 3, 1, 2, 1]);
        let sources = sources(0, 1_000);
        let came = (0..5_000).filter(|_| refused(&sources, "192.0.2.1").is_none()).count();
        // The second may have changed meanwhile.
        assert!([1_000, 2_000].contains(&came), "{came}");
    }

    #[test]
    fn many_sources_do_not_make_each_other_late() {
        let sources = sources(1, 0);
        let all: Vec<_> = (0..500u32).map(|n| sources.admit(std::net::Ipv4Addr::from_bits(n).into())).collect();
        let refused = all.iter().filter(|admitted| admitted.is_err()).count();
        // Each of the last shares both slots with others by a chance of one in 260.
        assert!(refused <= 10, "{refused}");
    }
}
