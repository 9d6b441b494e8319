//! Which bindings overlap which others, without comparing each with each.

use std::collections::{BTreeSet, HashMap};

use ipnet::Ipv6Net;

use crate::{Binding, Ports};

/// Bindings, found by the networks that contain another one's.
struct Index {
    /// Lengths of prefixes that occur.
    lengths: BTreeSet<u8>,
    networks: HashMap<Ipv6Net, PortsOfNetwork>,
}

#[derive(Default)]
struct PortsOfNetwork {
    any: Option<usize>,
    /// First and last port, and whose; ascending.
    ranges: Vec<(u16, u16, usize)>,
    /// For each range, the one among it and those before that reaches furthest.
    furthest: Vec<usize>,
}

impl Index {
    fn new<'a>(bindings: impl IntoIterator<Item = &'a Binding>) -> Index {
        let mut index = Index { lengths: BTreeSet::new(), networks: HashMap::new() };
        for (at, binding) in bindings.into_iter().enumerate() {
            let network = binding.mapped();
            index.lengths.insert(network.prefix_len());
            let ports = index.networks.entry(network).or_default();
            match binding.ports() {
                Ports::Any => ports.any = ports.any.or(Some(at)),
                Ports::Range(first, last) => ports.ranges.push((first, last, at)),
            }
        }
        for ports in index.networks.values_mut() {
            ports.ranges.sort_unstable();
            let mut furthest = 0;
            for at in 0..ports.ranges.len() {
                if ports.ranges[at].1 > ports.ranges[furthest].1 {
                    furthest = at;
                }
                ports.furthest.push(furthest);
            }
        }
        index
    }

    /// One whose network contains that of `binding`, and which shares a port with it.
    fn containing(&self, binding: &Binding) -> Option<usize> {
        if binding.system_chooses_port() {
            return None;
        }
        let network = binding.mapped();
        self.lengths.range(..=network.prefix_len()).find_map(|&length| {
            let wider = Ipv6Net::new(network.addr(), length).ok()?.trunc();
            self.networks.get(&wider)?.sharing(binding.ports())
        })
    }
}

impl PortsOfNetwork {
    fn sharing(&self, ports: Ports) -> Option<usize> {
        let (first, last) = match ports {
            Ports::Any => (1, u16::MAX),
            Ports::Range(first, last) => (first, last),
        };
        let before = self.ranges.partition_point(|range| range.0 <= last);
        let found = before.checked_sub(1).map(|at| self.ranges[self.furthest[at]]);
        found.filter(|range| range.1 >= first.max(1)).map(|range| range.2).or(self.any)
    }
}

/// Finds overlaps of many bindings with many others.
pub(crate) struct Overlaps<'a> {
    ours: &'a [Binding],
    index: Index,
}

impl<'a> Overlaps<'a> {
    pub(crate) fn new(ours: &'a [Binding]) -> Overlaps<'a> {
        Overlaps { ours, index: Index::new(ours) }
    }

    /// Whether one of them contains this one, ports and all: enough for an address.
    pub(crate) fn contain(&self, binding: &Binding) -> bool {
        self.index.containing(binding).is_some()
    }

    /// Pairs of one of ours and one of theirs, by their places. Whoever overlaps is in one pair, if not in all.
    pub(crate) fn with(&self, theirs: &[Binding]) -> Vec<(usize, usize)> {
        let other = Index::new(theirs);
        let inside = self.ours.iter().enumerate().filter_map(|(at, ours)| Some((at, other.containing(ours)?)));
        let around = theirs.iter().enumerate().filter_map(|(at, theirs)| Some((self.index.containing(theirs)?, at)));
        inside.chain(around).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Not random, but mixed.
    fn bindings(seed: u32, many: u32) -> Vec<Binding> {
        let mut state = seed;
        let mut next = |limit: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % limit
        };
        (0..many)
            .map(|_| {
                let network = match next(4) {
                    0 => format!("10.0.{}.0/24", next(20)),
                    1 => format!("10.0.{}.{}", next(20), next(250)),
                    2 => format!("[2001:db8:{:x}::/48]", next(20)),
                    _ => ["0.0.0.0", "[::]", "[2001:db8::/32]", "[::ffff:10.0.3.4]"][next(4) as usize].to_owned(),
                };
                let first = 1 + next(60);
                let ports = match next(12) {
                    0 => "*".to_owned(),
                    1..4 => format!("{first}-{}", first + next(4)),
                    _ => first.to_string(),
                };
                format!("{network}:{ports}").parse().unwrap()
            })
            .collect()
    }

    #[test]
    fn finds_what_comparing_each_with_each_finds() {
        let mut found = 0;
        for seed in 0..400 {
            let (ours, theirs) = (bindings(seed, 5), bindings(seed + 1000, 5));
            let pairs = Overlaps::new(&ours).with(&theirs);
            for &(ours_at, theirs_at) in &pairs {
                assert!(ours[ours_at].overlaps(&theirs[theirs_at]));
            }
            let any = ours.iter().any(|ours| theirs.iter().any(|theirs| ours.overlaps(theirs)));
            assert_eq!(!pairs.is_empty(), any, "{ours:?} {theirs:?}");
            found += usize::from(any);
        }
        assert!((50..400).contains(&found), "a useful mix: {found}");
    }

    #[test]
    fn a_port_of_the_system_overlaps_nothing() {
        let ours: [Binding; 1] = ["0.0.0.0:0".parse().unwrap()];
        let theirs: [Binding; 2] = ["[::]:*".parse().unwrap(), "127.0.0.1:1-2".parse().unwrap()];
        assert!(Overlaps::new(&ours).with(&theirs).is_empty());
    }
}
