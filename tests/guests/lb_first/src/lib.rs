//! A balancer that always picks the first eligible endpoint. Swapped with `lb_last`, it shows which generation serves.

use odin_sdk::{Endpoints, Plugin, Result, Subject};

#[derive(Default)]
struct First;

#[odin_sdk::plugin]
impl Plugin for First {
    fn pick(&self, endpoints: &Endpoints, _subject: Subject) -> Result<Option<u32>> {
        Ok(endpoints.nth_eligible(0))
    }
}
