//! A balancer that always picks the first eligible endpoint. Swapped with `lb_last`, it shows which generation serves.

use odin_sdk::{Balancer, Endpoints, Subject};

struct First;

#[odin_sdk::plugin]
impl Balancer for First {
    fn pick(endpoints: &Endpoints, _subject: Subject) -> Option<u32> {
        endpoints.nth_eligible(0)
    }
}
