//! Answers `hold` for every piece of both bodies, so that the host holds them until a limit or the end.

use odin_sdk::{Body, Piece, Plugin, Request, Response, Result};

#[derive(Default)]
struct HoldForever;

#[odin_sdk::plugin]
impl Plugin for HoldForever {
    fn on_request_body(&self, _request: &Request, _body: &Body) -> Result<Piece> {
        Ok(Piece::Hold)
    }

    fn on_response_body(&self, _response: &Response, _request: &Request, _body: &Body) -> Result<Piece> {
        Ok(Piece::Hold)
    }
}
