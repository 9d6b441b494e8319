//! Copies the request's `x-request-id` to `x-extra-request-id`, upstream and to the client.

use odin_sdk::{Decision, Plugin, Request, Response, Result};

#[derive(Default)]
struct Trivial;

#[odin_sdk::plugin]
impl Plugin for Trivial {
    fn on_request_headers(&self, request: &Request) -> Result {
        if let Some(id) = request.get("x-request-id") {
            request.set("x-extra-request-id", id)?;
        }
        Ok(Decision::Continue)
    }

    fn on_response_headers(&self, response: &Response, request: &Request) -> Result {
        if let Some(id) = request.get("x-request-id") {
            response.set("x-extra-request-id", id)?;
        }
        response.extend("x-ext-procs-applied", "trivial")?;
        Ok(Decision::Continue)
    }
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::{Exchange, Upstream};

    use super::*;

    #[test]
    fn the_request_id_goes_both_ways() {
        let outcome = Exchange::new::<Trivial>(()).field("x-request-id", "7").run();
        assert_eq!(outcome.upstream().field("x-extra-request-id"), Some("7"));
        assert_eq!(outcome.client.field("x-extra-request-id"), Some("7"));
    }

    #[test]
    fn a_request_without_an_id_gets_none() {
        let outcome = Exchange::new::<Trivial>(()).run();
        assert!(!outcome.upstream().has("x-extra-request-id") && !outcome.client.has("x-extra-request-id"));
    }

    #[test]
    fn the_name_goes_behind_those_that_are_there() {
        let upstream = |_: &_| Upstream::new(200).field("x-ext-procs-applied", "earlier");
        let outcome = Exchange::new::<Trivial>(()).upstream(upstream).run();
        assert_eq!(outcome.client.field("x-ext-procs-applied"), Some("earlier,trivial"));
    }
}
