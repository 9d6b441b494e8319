//! A request hook that allocates without end, and touches what it gets.

use std::hint::black_box;

use odin_sdk::{Decision, RequestHead, RequestHeaders};

struct Bomb;

#[odin_sdk::plugin]
impl RequestHeaders for Bomb {
    fn on_request_headers(_head: &RequestHead) -> Decision {
        loop {
            std::mem::forget(black_box(vec![1u8; 1 << 20]));
        }
    }
}
