//! The plugin of `script` and `script_calls`: every hook runs its lines of the script. What differs between the two is
//! `MORE`, what their lines can do beyond the common ones.

use odin_sdk::{Body, Connect, Data, Ended, Endpoints, Piece, Plugin, Request, Response, Result, Subject, Trailers};

use crate::MORE;
use crate::interpreter::{Heads, Script, integer};

struct Scripted(Script);

#[odin_sdk::plugin]
impl Plugin for Scripted {
    type Config = Script;

    fn new(mut script: Script) -> Result<Self> {
        script.more = MORE;
        Ok(Self(script))
    }

    fn on_request_headers(&self, request: &Request) -> Result {
        self.0.run("request-headers", &Heads::of(request), None)?.decision()
    }

    fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
        self.0.run("request-body", &Heads::of(request), Some(body))?.piece(body)
    }

    fn on_request_trailers(&self, request: &Request, trailers: &Trailers) -> Result {
        self.0.run("request-trailers", &Heads::of(request).and_trailers(trailers), None)?.decision()
    }

    fn on_response_headers(&self, response: &Response, request: &Request) -> Result {
        self.0.run("response-headers", &Heads::of(request).and_response(response), None)?.decision()
    }

    fn on_response_body(&self, response: &Response, request: &Request, body: &Body) -> Result<Piece> {
        self.0.run("response-body", &Heads::of(request).and_response(response), Some(body))?.piece(body)
    }

    fn on_response_trailers(&self, response: &Response, request: &Request, trailers: &Trailers) -> Result {
        let heads = Heads::of(request).and_response(response).and_trailers(trailers);
        self.0.run("response-trailers", &heads, None)?.decision()
    }

    fn on_exchange_end(&self, exchange: &Ended) -> Result<()> {
        self.0.run("exchange-end", &Heads::of(exchange.request()).and_response(exchange.response()), None).map(drop)
    }

    fn pick(&self, endpoints: &Endpoints, subject: Subject) -> Result<Option<u32>> {
        self.0.run("balancer", &Heads::when(subject.request()), None)?;
        let nth = integer("pick").unwrap_or(0);
        Ok(endpoints.nth_eligible(u32::try_from(nth)?))
    }

    fn on_connect(&self) -> Result<Connect> {
        self.0.run("connect", &Heads::default(), None)?.connect()
    }

    fn on_downstream_data(&self, data: &Body) -> Result<Data> {
        self.0.run("downstream-data", &Heads::default(), Some(data))?.data(data)
    }

    fn on_upstream_data(&self, data: &Body) -> Result<Data> {
        self.0.run("upstream-data", &Heads::default(), Some(data))?.data(data)
    }

    fn on_close(&self) -> Result<()> {
        self.0.run("close", &Heads::default(), None).map(drop)
    }
}
