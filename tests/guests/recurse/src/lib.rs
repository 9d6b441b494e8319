//! A request hook that recurses without end. What is done after the call keeps it from becoming a loop.

use std::hint::black_box;

use odin_sdk::{Decision, Plugin, Request, Result};

#[derive(Default)]
struct Recurse;

#[odin_sdk::plugin]
impl Plugin for Recurse {
    fn on_request_headers(&self, _request: &Request) -> Result {
        Ok(if down(0) == 0 { Decision::Continue } else { Decision::reject("reached the bottom") })
    }
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the test")]
fn down(depth: u64) -> u64 {
    black_box(down(black_box(depth) + 1)) ^ depth
}
