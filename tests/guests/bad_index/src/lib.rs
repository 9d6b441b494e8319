//! A balancer that answers an index past the end.

use odin_sdk::{Endpoints, Plugin, Result, Subject};

#[derive(Default)]
struct BadIndex;

#[odin_sdk::plugin]
impl Plugin for BadIndex {
    fn pick(&self, endpoints: &Endpoints, _subject: Subject) -> Result<Option<u32>> {
        Ok(Some(endpoints.len()))
    }
}
