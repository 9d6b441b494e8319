//! Reads one field of the request and sets one on the request and one on the response.
//!
//! It is the smallest plugin that does what most do, and the one that the benchmarks measure: keep it so.

use odin_sdk::{Decision, Plugin, Request, Response, Result};

#[derive(Default)]
struct Headers;

#[odin_sdk::plugin]
impl Plugin for Headers {
    fn on_request_headers(&self, request: &Request) -> Result {
        request.set("x-odin", if request.has("user-agent") { "seen" } else { "none" })?;
        Ok(Decision::Continue)
    }

    fn on_response_headers(&self, response: &Response, _request: &Request) -> Result {
        response.set("x-odin-response", "yes")?;
        Ok(Decision::Continue)
    }
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::Exchange;

    use super::*;

    #[test]
    fn one_field_is_read_and_one_set_each_way() {
        let outcome = Exchange::new::<Headers>(()).field("user-agent", "x").run();
        assert_eq!(outcome.upstream().field("x-odin"), Some("seen"));
        assert_eq!(outcome.client.field("x-odin-response"), Some("yes"));
        assert_eq!(Exchange::new::<Headers>(()).run().upstream().field("x-odin"), Some("none"));
    }
}
