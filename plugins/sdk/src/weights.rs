//! The arithmetic of weights, apart from the host so that it is tested natively. Never asks the host anything.

/// The weights of the eligible endpoints, summed up.
///
/// ```no_run
/// # use odin_sdk::Endpoints;
/// # fn pick(endpoints: &Endpoints, turn: u64) -> Option<u32> {
/// let weights = endpoints.weights();
/// endpoints.nth_by_weight(weights.spread(turn))
/// # }
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Weights {
    /// How many endpoints are eligible.
    pub eligible: u32,
    /// The sum of their weights.
    pub total: u64,
    /// True when all of them weigh the same, so that weights need not be looked at. So it is for none, and for one.
    pub uniform: bool,
}

impl Weights {
    /// So many endpoints of the same weight.
    pub(crate) fn even(eligible: u32) -> Self {
        Self { eligible, total: u64::from(eligible), uniform: true }
    }

    pub(crate) fn sum(weights: impl Iterator<Item = u32>) -> Self {
        let mut sum = Self { eligible: 0, total: 0, uniform: true };
        let mut first = None;
        for weight in weights {
            sum.eligible += 1;
            sum.total += u64::from(weight);
            sum.uniform &= *first.get_or_insert(weight) == weight;
        }
        sum
    }

    /// The share `0..total` that belongs to this turn.
    ///
    /// Any `total` consecutive turns yield every share once, so each endpoint gets exactly its weight; and
    /// neighbouring turns lie far apart, so a heavy endpoint does not get its turns in one burst.
    pub fn spread(&self, turn: u64) -> u64 {
        if self.total == 0 {
            return 0;
        }
        // Steps of a golden section visit a circle most evenly; a step without common divisor visits all of it.
        let mut step = (self.total as u128 * 618 / 1000) as u64;
        while greatest_common_divisor(step, self.total) != 1 {
            step += 1;
        }
        ((turn % self.total) as u128 * step as u128 % self.total as u128) as u64
    }
}

/// The index whose share holds `share`, when the shares of `(index, weight)` are laid end to end.
pub(crate) fn holder(weights: impl Iterator<Item = (u32, u32)>, mut share: u64) -> Option<u32> {
    for (index, weight) in weights {
        match share.checked_sub(u64::from(weight)) {
            Some(rest) => share = rest,
            None => return Some(index),
        }
    }
    None
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u32], turns: std::ops::Range<u64>) -> Vec<u32> {
        let sum = Weights::sum(weights.iter().copied());
        let pairs = || (0..).zip(weights.iter().copied());
        turns.filter_map(|turn| holder(pairs(), sum.spread(turn))).collect()
    }

    #[test]
    fn a_sum_tells_whether_weights_differ() {
        assert_eq!(Weights::sum([].into_iter()), Weights { eligible: 0, total: 0, uniform: true });
        assert_eq!(Weights::sum([3, 3].into_iter()), Weights { eligible: 2, total: 6, uniform: true });
        assert_eq!(Weights::sum([3, 0].into_iter()), Weights { eligible: 2, total: 3, uniform: false });
        assert_eq!(Weights::sum([u32::MAX; 3].into_iter()).total, 3 * u64::from(u32::MAX));
    }

    #[test]
    fn every_round_gives_each_endpoint_exactly_its_weight() {
        for weights in [&[2, 1][..], &[1, 2, 3], &[7, 0, 5, 1], &[100, 1], &[1], &[1, 1]] {
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for start in [0, 1, 17, u64::MAX / 2] {
                let picked = turns(weights, start..start + total);
                for (index, weight) in weights.iter().enumerate() {
                    let count = picked.iter().filter(|pick| **pick == index as u32).count();
                    assert_eq!(count, *weight as usize, "{weights:?} from {start}: {picked:?}");
                }
            }
        }
    }

    #[test]
    fn a_heavy_endpoint_does_not_come_in_a_burst() {
        let picked = turns(&[4, 4, 1], 0..18);
        assert!(picked.windows(3).all(|run| run[0] != run[1] || run[1] != run[2]), "{picked:?}");
    }

    #[test]
    fn a_share_past_the_end_belongs_to_nobody() {
        assert_eq!(holder([(0, 1), (1, 1)].into_iter(), 2), None);
        assert_eq!(Weights::sum([0, 0].into_iter()).spread(5), 0);
    }
}
