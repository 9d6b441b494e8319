//! A random pick: every eligible endpoint has the chance that its weight gives it.
//!
//! Each instance draws from a generator of its own, which the system's generator seeds once (`grant = ["random"]`): the
//! numbers are good enough to spread load, and for nothing else.

use std::cell::Cell;

use odin_sdk::{Endpoints, Plugin, Result, Subject, random};

#[derive(Default)]
struct Random {
    /// Where the generator stands; none until it is seeded.
    state: Cell<Option<u64>>,
}

#[odin_sdk::plugin]
impl Plugin for Random {
    fn pick(&self, endpoints: &Endpoints, _subject: Subject) -> Result<Option<u32>> {
        let number = self.next();
        if endpoints.uniform() {
            return Ok(endpoints.nth_eligible(below(number, u64::from(endpoints.eligible_len())) as u32));
        }
        Ok(endpoints.nth_by_weight(below(number, endpoints.eligible_weight())))
    }
}

impl Random {
    /// One step of splitmix64.
    fn next(&self) -> u64 {
        let state = self.state.get().unwrap_or_else(random::next).wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(Some(state));
        mix(state)
    }
}

/// The output function of splitmix64 (Steele, Lea and Flood, 2014): every input bit moves every output bit.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `limit`, uniform up to a bias of `limit` in 2^64; zero when `limit` is.
fn below(random: u64, limit: u64) -> u64 {
    ((u128::from(random) * u128::from(limit)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::{self, Endpoint};

    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs of the reference implementation for the seed 1234567.
        let random = Random { state: Cell::new(Some(1_234_567)) };
        let outputs = [(); 3].map(|()| random.next());
        assert_eq!(outputs, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn picks_are_uniform() {
        let random = Random { state: Cell::new(Some(1)) };
        let mut counts = [0u32; 5];
        for _ in 0..50_000 {
            counts[below(random.next(), 5) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn weights_and_health_count() {
        let endpoints = [
            Endpoint::new("192.0.2.1:80").weight(3),
            Endpoint::new("192.0.2.2:80"),
            Endpoint::new("192.0.2.3:80").weight(100).unhealthy(),
        ];
        let picks = testing::pick::<Random>((), &endpoints, 4000);
        let count = |index| picks.iter().filter(|pick| **pick == Some(index)).count();
        assert_eq!(count(0) + count(1), 4000);
        assert!((2800..3200).contains(&count(0)), "{}", count(0));
        assert_eq!(testing::pick::<Random>((), &[Endpoint::new("192.0.2.1:80").failed()], 1), [None]);
    }

    #[test]
    fn a_number_below_nothing_is_nothing() {
        assert_eq!(below(u64::MAX, 0), 0);
        assert_eq!(below(u64::MAX, 3), 2);
    }
}
