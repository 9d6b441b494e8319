//! A request hook that allocates without end, and touches what it gets.

use std::hint::black_box;

use odin_sdk::{Plugin, Request, Result};

#[derive(Default)]
struct Bomb;

#[odin_sdk::plugin]
impl Plugin for Bomb {
    fn on_request_headers(&self, _request: &Request) -> Result {
        loop {
            std::mem::forget(black_box(vec![1u8; 1 << 20]));
        }
    }
}
