//! A balancer that picks no endpoint, ever.

use odin_sdk::{Endpoints, Plugin, Result, Subject};

#[derive(Default)]
struct NoneIndex;

#[odin_sdk::plugin]
impl Plugin for NoneIndex {
    fn pick(&self, _endpoints: &Endpoints, _subject: Subject) -> Result<Option<u32>> {
        Ok(None)
    }
}
