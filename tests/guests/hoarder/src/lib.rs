//! Opens handles without end: shared counters or metrics, as the request field `x-what` says; `same` is one counter over
//! and over. Without the field it does nothing.

use odin_sdk::metrics::Counter;
use odin_sdk::{Decision, Plugin, Request, Result, SharedCounter};

#[derive(Default)]
struct Hoarder;

#[odin_sdk::plugin]
impl Plugin for Hoarder {
    fn on_request_headers(&self, request: &Request) -> Result {
        let what = request.get_str("x-what").unwrap_or_default();
        let mut number = 0u64;
        loop {
            let name: &'static str = Box::leak(format!("hoarded_{number}").into_boxed_str());
            match what.as_str() {
                "counters" => _ = open(SharedCounter::new(name)).add(1),
                "same" => _ = open(SharedCounter::new("hoarded")).add(1),
                "metrics" => Box::leak(Box::new(Counter::new(name))).add(1),
                _ => return Ok(Decision::Continue),
            }
            number += 1;
        }
    }
}

/// Never closed again.
fn open(counter: SharedCounter) -> &'static SharedCounter {
    Box::leak(Box::new(counter))
}
