//! Round robin, strict across all workers: they share the turn of the cluster, so two endpoints alternate exactly.
//! Endpoints of different weights get their turns in proportion, spread out evenly.

use odin_sdk::{Balancer, Endpoints, Subject};

struct RoundRobin;

#[odin_sdk::plugin]
impl Balancer for RoundRobin {
    fn pick(endpoints: &Endpoints, _subject: Subject) -> Option<u32> {
        let weights = endpoints.weights();
        if weights.eligible == 0 {
            return None;
        }
        let turn = endpoints.turn();
        if weights.uniform {
            return endpoints.nth_eligible((turn % u64::from(weights.eligible)) as u32);
        }
        endpoints.nth_by_weight(weights.spread(turn))
    }
}
