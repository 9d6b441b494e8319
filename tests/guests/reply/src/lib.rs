//! Answers every request itself: 418 with a field and a body.
//!
//! `x-reject: WORDS` refuses with these words; `x-status: CODE` replies with that status, be it valid or not;
//! `x-framing` puts a `content-length` into the reply, which is the host's to set; `x-pass` lets the request through.

use odin_sdk::{Decision, RequestHead, RequestHeaders, Response};

struct Reply;

#[odin_sdk::plugin]
impl RequestHeaders for Reply {
    fn on_request_headers(head: &RequestHead) -> Decision {
        if head.has("x-pass") {
            return Decision::Continue;
        }
        if let Some(reason) = head.get_str("x-reject") {
            return Decision::reject(reason);
        }
        let status = head.get_as("x-status").unwrap_or(418);
        let mut response = Response::new(status).with_field("x-reply", "teapot").with_body("short and stout\n");
        if head.has("x-framing") {
            response = response.with_field("content-length", "3");
        }
        response.into()
    }
}
