//! Sees every piece of both bodies and lets it pass without reading it: what a body hook costs, for the benchmark.

use odin_sdk::{Body, Piece, Plugin, Request, Response, Result};

#[derive(Default)]
struct Pass;

#[odin_sdk::plugin]
impl Plugin for Pass {
    fn on_request_body(&self, _request: &Request, _body: &Body) -> Result<Piece> {
        Ok(Piece::Pass)
    }

    fn on_response_body(&self, _response: &Response, _request: &Request, _body: &Body) -> Result<Piece> {
        Ok(Piece::Pass)
    }
}
