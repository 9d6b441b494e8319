//! Reads one field of the request and sets one on the request and one on the response.
//!
//! It is the smallest plugin that does what most do, and the one that the benchmarks measure: keep it so.

use odin_sdk::{Decision, RequestHead, RequestHeaders, ResponseHead, ResponseHeaders};

struct Headers;

#[odin_sdk::plugin]
impl RequestHeaders for Headers {
    fn on_request_headers(head: &RequestHead) -> Decision {
        let value: &[u8] = if head.has("user-agent") { b"seen" } else { b"none" };
        match head.set("x-odin", value) {
            Ok(()) => Decision::Continue,
            Err(error) => Decision::reject(error.message()),
        }
    }
}

#[odin_sdk::plugin]
impl ResponseHeaders for Headers {
    fn on_response_headers(head: &ResponseHead, _request: &RequestHead) -> Decision {
        match head.set("x-odin-response", b"yes") {
            Ok(()) => Decision::Continue,
            Err(error) => Decision::reject(error.message()),
        }
    }
}
