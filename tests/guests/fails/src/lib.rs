//! Answers `err` for requests with the field `x-fail`, whose value are the words; lets all others go on.
//!
//! `x-fail-response`, `x-fail-end` do the same in the response hook and at the end of the exchange.

use odin_sdk::{Decision, Ended, Error, Plugin, Request, Response, Result};

#[derive(Default)]
struct Fails;

#[odin_sdk::plugin]
impl Plugin for Fails {
    fn on_request_headers(&self, request: &Request) -> Result {
        // A change made before the failure stays.
        request.set("x-failed-before", "no")?;
        fail_when(request, "x-fail")?;
        Ok(Decision::Continue)
    }

    fn on_response_headers(&self, _response: &Response, request: &Request) -> Result {
        fail_when(request, "x-fail-response")?;
        Ok(Decision::Continue)
    }

    fn on_exchange_end(&self, exchange: &Ended) -> Result<()> {
        fail_when(exchange.request(), "x-fail-end")
    }
}

fn fail_when(request: &Request, field: &str) -> Result<()> {
    match request.get_str(field) {
        Some(words) => Err(Error::new(words)),
        None => Ok(()),
    }
}
