//! The arithmetic of weights, apart from the host so that it is tested natively. Never asks the host anything.

use std::cell::Cell;

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
    /// The sum.
    pub total: u64,
}

thread_local! {
    /// The last total that a step was looked for, and the step: a total changes only with the health of an endpoint.
    static STEP: Cell<(u64, u64)> = const { Cell::new((1, 1)) };
}

impl Weights {
    /// The share `0..total` that belongs to this turn.
    ///
    /// Any `total` consecutive turns yield every share once, so each endpoint gets exactly its weight; and
    /// neighbouring turns lie far apart, so a heavy endpoint does not get its turns in one burst.
    pub fn spread(&self, turn: u64) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let (total, kept) = STEP.get();
        let step = if total == self.total { kept } else { step(self.total) };
        STEP.set((self.total, step));
        let turn = turn % self.total;
        match turn.checked_mul(step) {
            Some(product) => product % self.total,
            None => (u128::from(turn) * u128::from(step) % u128::from(self.total)) as u64,
        }
    }
}

/// Steps of a golden section visit a circle most evenly; a step without common divisor visits all of it.
fn step(total: u64) -> u64 {
    let mut step = (u128::from(total) * 618 / 1000) as u64;
    while greatest_common_divisor(step, total) != 1 {
        step += 1;
    }
    step
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
        let total = weights.iter().map(|weight| u64::from(*weight)).sum();
        let sum = Weights { total };
        let laid: Vec<u32> = (0..).zip(weights).flat_map(|(index, weight)| (0..*weight).map(move |_| index)).collect();
        turns.map(|turn| laid[sum.spread(turn) as usize]).collect()
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
    fn a_total_of_any_size_has_shares() {
        let of = |total| Weights { total };
        assert_eq!(of(0).spread(5), 0);
        for total in [u64::MAX, 1 << 40, 2, 1] {
            assert!(of(total).spread(u64::MAX) < total && of(total).spread(u64::MAX - 1) < total);
        }
    }
}
