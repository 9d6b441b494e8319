//! Sums over a list of numbers that several threads change and ask about: a Fenwick tree of atomics. A change and a
//! question look at no more than log2(length) numbers, and nothing waits.
//!
//! While a number changes, a question may see half of it. Who asks must cope with an answer that was right a moment ago.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Numbers from zero up, by index. Their sum fits 64 bits.
pub(crate) struct Sums {
    total: AtomicU64,
    /// The node at `i` is the sum of the `lowest_bit(i + 1)` numbers that end with the one at `i`.
    nodes: Box<[AtomicU64]>,
}

impl Sums {
    pub(crate) fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut nodes: Vec<u64> = numbers.into_iter().collect();
        let total = nodes.iter().sum();
        for at in 1..=nodes.len() {
            let parent = at + lowest_bit(at);
            if parent <= nodes.len() {
                nodes[parent - 1] += nodes[at - 1];
            }
        }
        Sums { total: AtomicU64::new(total), nodes: nodes.into_iter().map(AtomicU64::new).collect() }
    }

    /// The sum of all.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Adds to the number at `index`.
    pub(crate) fn add(&self, index: u32, number: u64) {
        self.change(index, number);
    }

    /// Takes from the number at `index`, which is as large at least.
    pub(crate) fn take(&self, index: u32, number: u64) {
        self.change(index, number.wrapping_neg());
    }

    fn change(&self, index: u32, delta: u64) {
        self.total.fetch_add(delta, Relaxed);
        let mut at = index as usize + 1;
        while let Some(node) = self.nodes.get(at - 1) {
            node.fetch_add(delta, Relaxed);
            at += lowest_bit(at);
        }
    }

    /// The sum of all numbers before `index`.
    pub(crate) fn before(&self, index: u32) -> u64 {
        let mut at = index as usize;
        let mut sum = 0u64;
        while at > 0 {
            sum = sum.wrapping_add(self.nodes[at - 1].load(Relaxed));
            at -= lowest_bit(at);
        }
        sum
    }

    /// The index whose number holds `point` when all numbers are laid end to end; none when they do not reach so far.
    pub(crate) fn holder(&self, mut point: u64) -> Option<u32> {
        if point >= self.total() {
            return None;
        }
        let mut at = 0;
        let mut step = self.nodes.len().checked_ilog2().map_or(0, |bits| 1usize << bits);
        while step > 0 {
            if let Some(node) = self.nodes.get(at + step - 1) {
                let sum = node.load(Relaxed);
                if sum <= point {
                    point -= sum;
                    at += step;
                }
            }
            step /= 2;
        }
        // Past the end only when a number became smaller meanwhile.
        u32::try_from(at.min(self.nodes.len() - 1)).ok()
    }
}

fn lowest_bit(n: usize) -> usize {
    n & n.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next of a sequence that looks random and is the same each time.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    #[test]
    fn it_answers_as_a_list_would() {
        let mut state = 1;
        for length in [1, 2, 3, 7, 8, 9, 100] {
            let mut list: Vec<u64> = (0..length).map(|_| next(&mut state) % 4).collect();
            let sums = Sums::of(list.iter().copied());
            for _ in 0..50 {
                let index = next(&mut state) % length;
                let delta = next(&mut state) % 4;
                let number = &mut list[index as usize];
                if delta <= *number && next(&mut state).is_multiple_of(2) {
                    *number -= delta;
                    sums.take(index as u32, delta);
                } else {
                    *number += delta;
                    sums.add(index as u32, delta);
                }
                assert_eq!(sums.total(), list.iter().sum::<u64>());
                let mut laid = list.iter().enumerate().flat_map(|(i, n)| (0..*n).map(move |_| i as u32));
                for point in 0..sums.total() + 2 {
                    assert_eq!(sums.holder(point), laid.next(), "{point} of {list:?}");
                }
                for index in 0..length as usize {
                    assert_eq!(sums.before(index as u32), list[..index].iter().sum::<u64>());
                }
            }
        }
    }
}
