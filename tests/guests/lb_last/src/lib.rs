//! A balancer that always picks the last eligible endpoint. Swapped with `lb_first`, it shows which generation serves.

use odin_sdk::{Endpoints, Plugin, Result, Subject};

#[derive(Default)]
struct Last;

#[odin_sdk::plugin]
impl Plugin for Last {
    fn pick(&self, endpoints: &Endpoints, _subject: Subject) -> Result<Option<u32>> {
        Ok(endpoints.eligible_len().checked_sub(1).and_then(|last| endpoints.nth_eligible(last)))
    }
}
