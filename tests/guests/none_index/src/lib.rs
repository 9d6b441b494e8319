//! A balancer that picks no endpoint, ever.

use odin_sdk::{Balancer, Endpoints, Subject};

struct NoneIndex;

#[odin_sdk::plugin]
impl Balancer for NoneIndex {
    fn pick(_endpoints: &Endpoints, _subject: Subject) -> Option<u32> {
        None
    }
}
