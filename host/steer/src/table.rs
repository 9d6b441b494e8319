//! From weights to a table: which share of a binding's slots names which socket.

use std::collections::{BTreeMap, HashMap};

use crate::plan::Weight;

/// The largest table of one binding: a share comes as near as 1/4096.
const MAX_TABLE: u128 = 4096;

/// The table of weights over sockets, by their indices. It is exact when it can be, else by the largest remainder. A
/// listener without sockets gets nothing; when none has any, the table is empty and refuses.
pub(crate) fn of_weights(weights: &[Weight], sockets: &HashMap<&str, &[u32]>) -> Vec<u32> {
    let of = |weight: &Weight| sockets.get(&*weight.listener).copied().unwrap_or_default();
    // A share of a whole listener is cut into as many parts as it has sockets, so all are counted in a common part.
    let parts = weights.iter().map(|weight| of(weight).len().max(1) as u128).fold(1, lcm);
    let mut shares: BTreeMap<u32, u128> = BTreeMap::new();
    for weight in weights {
        let sockets = of(weight);
        let chosen = match weight.worker {
            Some(worker) => sockets.get(worker as usize).map(std::slice::from_ref).unwrap_or_default(),
            None => sockets,
        };
        for &socket in chosen {
            let share = u128::from(weight.weight).saturating_mul(parts / chosen.len() as u128);
            let sum = shares.entry(socket).or_default();
            *sum = sum.saturating_add(share);
        }
    }
    shares.retain(|_, share| *share > 0);
    let divisor = shares.values().copied().fold(0, gcd).max(1);
    shares.values_mut().for_each(|share| *share /= divisor);
    let total = shares.values().fold(0_u128, |sum, share| sum.saturating_add(*share));
    let slots = if total <= MAX_TABLE { shares } else { largest_remainder(&shares, total) };
    slots.iter().flat_map(|(&socket, &slots)| std::iter::repeat_n(socket, slots as usize)).collect()
}

/// Shares of the largest table: everyone's whole slots, and one more for those who lost the most by rounding.
fn largest_remainder(shares: &BTreeMap<u32, u128>, total: u128) -> BTreeMap<u32, u128> {
    // So large are only the parts of absurd weights; their low bits do not show in the table.
    let shift = (128 - total.leading_zeros()).saturating_sub(96);
    let total = shares.values().map(|share| share >> shift).sum::<u128>().max(1);
    let scaled = |share: &u128| (share >> shift) * MAX_TABLE;
    let mut slots: BTreeMap<u32, u128> =
        shares.iter().map(|(&socket, share)| (socket, scaled(share) / total)).collect();
    let mut lost: Vec<_> = shares.iter().map(|(&socket, share)| (scaled(share) % total, socket)).collect();
    lost.sort_unstable_by(|a, b| b.cmp(a));
    let missing = MAX_TABLE - slots.values().sum::<u128>();
    for (_, socket) in lost.into_iter().take(missing as usize) {
        *slots.entry(socket).or_default() += 1;
    }
    slots
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Where the common multiple grows beyond all use, the parts are no longer exact; the table rounds anyway.
fn lcm(a: u128, b: u128) -> u128 {
    let lcm = a / gcd(a, b) * b;
    if lcm > 1 << 64 { a } else { lcm }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn weight(listener: &str, worker: Option<u32>, weight: u32) -> Weight {
        Weight { listener: listener.into(), worker, weight }
    }

    fn counts(weights: &[Weight]) -> BTreeMap<u32, usize> {
        let sockets: HashMap<&str, &[u32]> =
            [("a", &[0, 1, 2][..]), ("b", &[10, 11][..]), ("none", &[][..])].into_iter().collect();
        let mut counts = BTreeMap::new();
        for socket in of_weights(weights, &sockets) {
            *counts.entry(socket).or_default() += 1;
        }
        counts
    }

    #[test]
    fn a_canary_is_exact() {
        let counts = counts(&[weight("a", None, 95), weight("b", None, 5)]);
        assert_eq!(counts, BTreeMap::from([(0, 38), (1, 38), (2, 38), (10, 3), (11, 3)]));
    }

    #[test]
    fn workers_and_sums() {
        let counts = counts(&[weight("a", Some(1), 2), weight("a", Some(1), 2), weight("b", Some(0), 6)]);
        assert_eq!(counts, BTreeMap::from([(1, 2), (10, 3)]));
    }

    #[test]
    fn what_does_not_fit_is_rounded_fairly() {
        let counts =
            counts(&[weight("a", Some(0), u32::MAX), weight("b", Some(0), 1), weight("b", Some(1), u32::MAX / 2)]);
        assert_eq!(counts.values().sum::<usize>(), 4096);
        assert_eq!(counts.get(&10), None);
        assert!((2730..=2732).contains(&counts[&0]), "{counts:?}");
        assert!((1364..=1366).contains(&counts[&11]), "{counts:?}");
    }

    #[test]
    fn no_socket_is_an_empty_table() {
        assert!(counts(&[weight("none", None, 1)]).is_empty());
        assert_eq!(counts(&[weight("none", None, 1), weight("b", None, 0), weight("a", Some(2), 9)]).len(), 1);
    }
}
