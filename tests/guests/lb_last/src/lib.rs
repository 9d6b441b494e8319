//! A balancer that always picks the last eligible endpoint. Swapped with `lb_first`, it shows which generation serves.

use odin_sdk::{Balancer, Endpoints, Subject};

struct Last;

#[odin_sdk::plugin]
impl Balancer for Last {
    fn pick(endpoints: &Endpoints, _subject: Subject) -> Option<u32> {
        endpoints.nth_eligible(endpoints.eligible_len().checked_sub(1)?)
    }
}
