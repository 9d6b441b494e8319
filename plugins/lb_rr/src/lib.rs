//! Round robin, strict across all workers: they share the turn of the cluster, so two endpoints alternate exactly.
//! Endpoints of different weights get their turns in proportion, spread out evenly.

use odin_sdk::{Endpoints, Plugin, Result, Subject};

#[derive(Default)]
struct RoundRobin;

#[odin_sdk::plugin]
impl Plugin for RoundRobin {
    fn pick(&self, endpoints: &Endpoints, _subject: Subject) -> Result<Option<u32>> {
        let weights = endpoints.weights();
        if weights.eligible == 0 {
            return Ok(None);
        }
        let turn = endpoints.turn();
        if weights.uniform {
            return Ok(endpoints.nth_eligible((turn % u64::from(weights.eligible)) as u32));
        }
        Ok(endpoints.nth_by_weight(weights.spread(turn)))
    }
}
