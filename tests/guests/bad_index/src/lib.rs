//! A balancer that answers an index past the end.

use odin_sdk::{Balancer, Endpoints, Subject};

struct BadIndex;

#[odin_sdk::plugin]
impl Balancer for BadIndex {
    fn pick(endpoints: &Endpoints, _subject: Subject) -> Option<u32> {
        Some(endpoints.len())
    }
}
