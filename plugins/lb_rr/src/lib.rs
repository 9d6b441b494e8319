//! Round robin, strict across all workers: they share one counter, so two endpoints alternate exactly.
//!
//! Endpoints of different weights get their turns in proportion, spread out evenly. The counter belongs to the plugin:
//! clusters that are to take turns each on their own need a plugin entry each.

use odin_sdk::{Balancer, Endpoints, SharedCounter, Subject};

static TURN: SharedCounter = SharedCounter::new("turn");

struct RoundRobin;

#[odin_sdk::plugin]
impl Balancer for RoundRobin {
    fn pick(endpoints: &Endpoints, _subject: Subject) -> Option<u32> {
        let weights = endpoints.weights();
        if weights.eligible == 0 {
            return None;
        }
        let turn = TURN.add(1);
        if weights.uniform {
            return endpoints.nth_eligible((turn % u64::from(weights.eligible)) as u32);
        }
        endpoints.nth_by_weight(weights.spread(turn))
    }
}
