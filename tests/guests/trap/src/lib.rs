//! Panics in the request hook when the field `x-trap` is there, and in the response hook when `x-trap-response` is.

use odin_sdk::{Decision, RequestHead, RequestHeaders, ResponseHead, ResponseHeaders};

struct Trap;

#[odin_sdk::plugin]
impl RequestHeaders for Trap {
    fn on_request_headers(head: &RequestHead) -> Decision {
        if head.has("x-trap") {
            fall_into_the_trap();
        }
        Decision::Continue
    }
}

#[odin_sdk::plugin]
impl ResponseHeaders for Trap {
    fn on_response_headers(_head: &ResponseHead, request: &RequestHead) -> Decision {
        if request.has("x-trap-response") {
            fall_into_the_trap();
        }
        Decision::Continue
    }
}

/// A name to look for in the backtrace.
#[inline(never)]
fn fall_into_the_trap() {
    panic!("as asked");
}
