//! Weighted turns without bursts: the weights are laid end to end on a circle, and each turn goes on by the same step
//! near the golden section, which visits a circle most evenly. The step has no common divisor with the circle, so as many
//! turns as the circle is long visit every point once: each endpoint gets exactly its weight.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The step for the last circle that was asked for; a circle changes only with the health of an endpoint.
///
/// Two halves of 32 bits, circle and step: they must be read and written as one.
#[derive(Default)]
pub(crate) struct Stride(AtomicU64);

impl Stride {
    /// The point of `0..total` that belongs to this turn. `total` is not zero.
    pub(crate) fn point(&self, turn: u64, total: u64) -> u64 {
        let Ok(short) = u32::try_from(total) else {
            return (u128::from(turn % total) * u128::from(step(total)) % u128::from(total)) as u64;
        };
        let kept = self.0.load(Relaxed);
        let step = if kept >> 32 == u64::from(short) {
            kept & u64::from(u32::MAX)
        } else {
            let step = step(total);
            self.0.store((total << 32) | step, Relaxed);
            step
        };
        turn % total * step % total
    }
}

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

    #[test]
    fn every_round_visits_every_point_once() {
        let stride = Stride::default();
        for total in [1, 2, 3, 4, 5, 80, 7_501] {
            for start in [0, 1, u64::MAX / 2] {
                let mut points: Vec<_> = (start..start + total).map(|turn| stride.point(turn, total)).collect();
                points.sort_unstable();
                assert!(points.iter().copied().eq(0..total), "{total} from {start}");
            }
        }
        assert!(stride.point(u64::MAX, 1 << 40) < 1 << 40);
    }
}
