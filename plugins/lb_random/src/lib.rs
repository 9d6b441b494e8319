//! A random pick: every eligible endpoint has the chance that its weight gives it.
//!
//! The numbers are good enough to spread load and for nothing else; no source of real randomness is asked for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use odin_sdk::{Balancer, Endpoints, SharedCounter, Subject, clock};

/// Gives every instance, on whichever worker, a sequence of its own.
static INSTANCES: SharedCounter = SharedCounter::new("instances");

/// The state of this instance's generator; zero until it is seeded.
static STATE: AtomicU64 = AtomicU64::new(0);

struct Random;

#[odin_sdk::plugin]
impl Balancer for Random {
    fn pick(endpoints: &Endpoints, _subject: Subject) -> Option<u32> {
        let weights = endpoints.weights();
        let random = next(match STATE.load(Relaxed) {
            0 => seed(clock::monotonic().as_nanos() as u64, INSTANCES.add(1)),
            state => state,
        });
        if weights.uniform {
            return endpoints.nth_eligible(below(random, u64::from(weights.eligible)) as u32);
        }
        endpoints.nth_by_weight(below(random, weights.total))
    }
}

/// One step of splitmix64 from `state`, which is stored moved on.
fn next(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.store(state, Relaxed);
    mix(state)
}

/// The output function of splitmix64 (Steele, Lea and Flood, 2014): every input bit moves every output bit.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn seed(nanos: u64, instance: u64) -> u64 {
    mix(nanos) ^ mix(!instance)
}

/// A number below `limit`, uniform up to a bias of `limit` in 2^64; zero when `limit` is.
fn below(random: u64, limit: u64) -> u64 {
    ((u128::from(random) * u128::from(limit)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs of the reference implementation for the seed 1234567.
        let mut state = 1_234_567u64;
        let outputs = [(); 3].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        });
        assert_eq!(outputs, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn picks_are_uniform() {
        let mut counts = [0u32; 5];
        let mut state = seed(1, 0);
        for _ in 0..50_000 {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            counts[below(mix(state), 5) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_number_below_nothing_is_nothing() {
        assert_eq!(below(u64::MAX, 0), 0);
        assert_eq!(below(u64::MAX, 3), 2);
    }

    #[test]
    fn two_instances_of_the_same_nanosecond_differ() {
        assert_ne!(seed(42, 0), seed(42, 1));
    }
}
