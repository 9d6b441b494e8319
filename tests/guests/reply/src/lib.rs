//! Answers every request itself: 418 with a field and a body.
//!
//! `x-reject: WORDS` refuses with these words, `x-cut: WORDS` ends the exchange; `x-status: CODE` replies with that
//! status, be it valid or not; `x-framing` puts a `content-length` into the reply, which is the host's to set;
//! `x-trailer` adds a trailer; `x-pass` lets the request through; `x-late` replies in the response hook.

use odin_sdk::{Decision, Plugin, Reply, Request, Response, Result};

#[derive(Default)]
struct Replier;

#[odin_sdk::plugin]
impl Plugin for Replier {
    fn on_request_headers(&self, request: &Request) -> Result {
        if request.has("x-pass") || request.has("x-late") {
            return Ok(Decision::Continue);
        }
        if let Some(reason) = request.get_str("x-reject") {
            return Ok(Decision::reject(reason));
        }
        if let Some(reason) = request.get_str("x-cut") {
            return Ok(Decision::cut(reason));
        }
        Ok(teapot(request).into())
    }

    fn on_response_headers(&self, _response: &Response, request: &Request) -> Result {
        Ok(if request.has("x-late") { teapot(request).into() } else { Decision::Continue })
    }
}

fn teapot(request: &Request) -> Reply {
    let status = request.get_as("x-status").unwrap_or(418);
    let mut reply = Reply::new(status).with_field("x-reply", "teapot").with_body("short and stout\n");
    if request.has("x-framing") {
        reply = reply.with_field("content-length", "3");
    }
    if request.has("x-trailer") {
        reply = reply.with_trailer("x-after", "steam");
    }
    reply
}
