//! Round robin, strict across all workers: they share the turn of the cluster, so two endpoints alternate exactly.
//! Endpoints of different weights get their turns in proportion, spread out evenly.

use odin_sdk::{Endpoints, Plugin, Result, Subject};

#[derive(Default)]
struct RoundRobin;

#[odin_sdk::plugin]
impl Plugin for RoundRobin {
    fn pick(&self, endpoints: &Endpoints, _subject: Subject) -> Result<Option<u32>> {
        if !endpoints.uniform() {
            return Ok(endpoints.nth_by_weight(endpoints.weights().spread(endpoints.turn())));
        }
        let eligible = u64::from(endpoints.eligible_len());
        Ok(endpoints.turn().checked_rem(eligible).and_then(|n| endpoints.nth_eligible(n as u32)))
    }
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::{self, Endpoint};

    use super::*;

    fn shares(endpoints: &[Endpoint], turns: usize) -> Vec<usize> {
        let picks = testing::pick::<RoundRobin>((), endpoints, turns);
        (0..endpoints.len() as u32).map(|index| picks.iter().filter(|pick| **pick == Some(index)).count()).collect()
    }

    #[test]
    fn each_gets_what_it_weighs_of_the_endpoints_that_are_fine() {
        let at = |port: u16, weight| Endpoint::new(&format!("192.0.2.1:{port}")).weight(weight);
        assert_eq!(shares(&[at(1, 1), at(2, 1)], 10), [5, 5]);
        assert_eq!(shares(&[at(1, 3), at(2, 1), at(3, 2)], 60), [30, 10, 20]);
        assert_eq!(shares(&[at(1, 3).unhealthy(), at(2, 1), at(3, 2)], 60), [0, 20, 40]);
        assert_eq!(shares(&[at(1, 3), at(2, 1).failed(), at(3, 2)], 60), [36, 0, 24]);
        assert_eq!(shares(&[at(1, 3).unhealthy(), at(2, 1).failed()], 4), [4, 0]);
        assert_eq!(shares(&[at(1, 3).failed()], 4), [0]);
    }
}
