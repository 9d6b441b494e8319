//! Checks that all hooks of an exchange share one context. A request with `x-context-id` must have that id as its body,
//! and the JSON of its response must name the request's path in the member `path`; then the client gets the id back.
//!
//! The upstream sees `x-context-id` in any case, empty when there is none. What does not fit is a failure of the
//! plugin, so that `on-failure` decides what it costs.

use odin_sdk::context::Key;
use odin_sdk::{Body, BodyMode, Decision, Piece, Plugin, Request, Response, Result};

static ID: Key<Vec<u8>> = Key::new("private:id");
static PATH: Key<String> = Key::new("private:path");

/// What the upstream answers; the other members do not matter.
#[derive(serde::Deserialize)]
struct Echoed {
    path: String,
}

#[derive(Default)]
struct Context;

#[odin_sdk::plugin]
impl Plugin for Context {
    fn on_request_headers(&self, request: &Request) -> Result {
        match request.get("x-context-id").filter(|id| !id.is_empty()) {
            Some(id) => {
                ID.set(&id)?;
                PATH.set(&request.path())?;
                Ok(Decision::read(BodyMode::Hold))
            }
            None => {
                request.set("x-context-id", "")?;
                Ok(Decision::read(BodyMode::Skip))
            }
        }
    }

    fn on_request_body(&self, _request: &Request, body: &Body) -> Result<Piece> {
        let id = ID.get().ok_or("the context lost the id")?;
        if body.bytes() != id {
            Err("the request's body is not its x-context-id")?;
        }
        Ok(Piece::Pass)
    }

    fn on_response_headers(&self, response: &Response, _request: &Request) -> Result {
        response.extend("x-ext-procs-applied", "ctx")?;
        Ok(Decision::read(if ID.get().is_some() { BodyMode::Hold } else { BodyMode::Skip }))
    }

    fn on_response_body(&self, response: &Response, _request: &Request, body: &Body) -> Result<Piece> {
        let path = PATH.get().ok_or("the context lost the path")?;
        let echoed: Echoed = serde_json::from_slice(&body.bytes())?;
        if echoed.path != path {
            Err(format!("the response is about {}, the request was for {path}", echoed.path))?;
        }
        response.set("x-context-id", ID.get().ok_or("the context lost the id")?)?;
        Ok(Piece::Pass)
    }
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::{Exchange, Outcome, Upstream};

    use super::*;

    fn exchange(body: &'static str, path: &'static str) -> Exchange {
        let exchange = Exchange::new::<Context>(()).request("PUT", "/there?a=b").field("x-context-id", "id-7");
        exchange.body([body]).upstream(move |_| Upstream::new(200).body([format!(r#"{{"path":"{path}","n":1}}"#)]))
    }

    fn words(outcome: &Outcome) -> &str {
        outcome.failures.first().map_or("", String::as_str)
    }

    #[test]
    fn what_fits_goes_through_with_the_id() {
        let outcome = exchange("id-7", "/there?a=b").run();
        assert_eq!((outcome.client.status, outcome.client.field("x-context-id")), (Some(200), Some("id-7")));
        assert_eq!(outcome.upstream().field("x-context-id"), Some("id-7"));
        assert_eq!(outcome.client.text(), r#"{"path":"/there?a=b","n":1}"#);
    }

    #[test]
    fn what_does_not_fit_is_a_failure() {
        let request = exchange("id-8", "/there?a=b").run();
        assert!(request.upstream.is_none() && words(&request).contains("x-context-id"), "{request:?}");
        let response = exchange("id-7", "/elsewhere").run();
        assert_eq!(response.client.status, Some(502));
        assert!(words(&response).contains("/elsewhere"), "{response:?}");
        let open = exchange("id-7", "/elsewhere").fail_open().run();
        assert_eq!((open.client.status, open.client.field("x-context-id")), (Some(200), None));
    }

    #[test]
    fn without_an_id_nothing_is_checked() {
        let outcome = Exchange::new::<Context>(()).request("PUT", "/").body(["anything"]).run();
        assert_eq!(outcome.upstream().field("x-context-id"), Some(""));
        assert_eq!((outcome.client.status, outcome.client.has("x-context-id")), (Some(200), false));
    }
}
