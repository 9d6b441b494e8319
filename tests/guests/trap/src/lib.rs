//! Panics where a request field says so: `x-trap` in the request hook, `x-trap-body` in the body hook,
//! `x-trap-response` in the response hook, `x-trap-end` at the end of the exchange.

use odin_sdk::{Body, Decision, Ended, Piece, Plugin, Request, Response, Result};

#[derive(Default)]
struct Trap;

#[odin_sdk::plugin]
impl Plugin for Trap {
    fn on_request_headers(&self, request: &Request) -> Result {
        trap_when(request, "x-trap");
        Ok(Decision::Continue)
    }

    fn on_request_body(&self, request: &Request, _body: &Body) -> Result<Piece> {
        trap_when(request, "x-trap-body");
        Ok(Piece::Skip)
    }

    fn on_response_headers(&self, _response: &Response, request: &Request) -> Result {
        trap_when(request, "x-trap-response");
        Ok(Decision::Continue)
    }

    fn on_exchange_end(&self, exchange: &Ended) -> Result<()> {
        trap_when(exchange.request(), "x-trap-end");
        Ok(())
    }
}

fn trap_when(request: &Request, field: &str) {
    if request.has(field) {
        fall_into_the_trap();
    }
}

/// A name to look for in the backtrace.
#[inline(never)]
fn fall_into_the_trap() {
    panic!("as asked");
}
