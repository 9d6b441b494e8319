//! As `script`, with the hooks of heads and bodies alone: a message whose trailers nobody looks at keeps its length where
//! it can.

#[path = "../../script/src/interpreter.rs"]
#[allow(dead_code, reason = "what the other hooks need")]
mod interpreter;

use interpreter::{Heads, Script};
use odin_sdk::{Body, Piece, Plugin, Request, Response, Result};

struct Scripted(Script);

#[odin_sdk::plugin]
impl Plugin for Scripted {
    type Config = Script;

    fn new(script: Script) -> Result<Self> {
        Ok(Self(script))
    }

    fn on_request_headers(&self, request: &Request) -> Result {
        self.0.run("request-headers", &Heads::of(request), None)?.decision()
    }

    fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
        self.0.run("request-body", &Heads::of(request), Some(body))?.piece(body)
    }

    fn on_response_headers(&self, response: &Response, request: &Request) -> Result {
        self.0.run("response-headers", &Heads::of(request).and_response(response), None)?.decision()
    }

    fn on_response_body(&self, response: &Response, request: &Request, body: &Body) -> Result<Piece> {
        self.0.run("response-body", &Heads::of(request).and_response(response), Some(body))?.piece(body)
    }
}
