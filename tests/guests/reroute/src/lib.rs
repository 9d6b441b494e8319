//! Changes where a request goes, as its fields say, and reports how that went in fields of the same name with `-was`.
//!
//! `x-set-method`, `x-set-path`, `x-set-authority`, `x-set-scheme`, `x-set-cluster`; then `x-rematch`, with any value.
//! With `x-late` all of it is tried again in the response hook, where the answer is in the fields of the response.

use odin_sdk::{Decision, FieldError, Plugin, Request, Response, Result, RoutingError};

#[derive(Default)]
struct Reroute;

#[odin_sdk::plugin]
impl Plugin for Reroute {
    fn on_request_headers(&self, request: &Request) -> Result {
        for (name, answer) in change(request) {
            request.set(&name, answer)?;
        }
        Ok(Decision::Continue)
    }

    fn on_response_headers(&self, response: &Response, request: &Request) -> Result {
        if request.has("x-late") {
            for (name, answer) in change(request) {
                response.set(&name, answer)?;
            }
        }
        Ok(Decision::Continue)
    }
}

/// Does what the fields say: the field to report in, and the word.
fn change(request: &Request) -> Vec<(String, &'static str)> {
    let mut answers = Vec::new();
    let mut act = |field: &str, action: &dyn Fn(&str) -> &'static str| {
        if let Some(value) = request.get_str(field) {
            answers.push((format!("{field}-was"), action(&value)));
        }
    };
    act("x-set-method", &|value| field(request.set_method(value)));
    act("x-set-path", &|value| field(request.set_path(value)));
    act("x-set-authority", &|value| field(request.set_authority(value)));
    act("x-set-scheme", &|value| field(request.set_scheme(value)));
    act("x-set-cluster", &|value| routed(request.set_cluster(value)));
    act("x-rematch", &|_| routed(request.rematch_route()));
    answers
}

fn field(result: Result<(), FieldError>) -> &'static str {
    result.map_or_else(|error| error.name(), |()| "ok")
}

fn routed(result: Result<(), RoutingError>) -> &'static str {
    result.map_or_else(|error| error.name(), |()| "ok")
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::Exchange;

    use super::*;

    #[test]
    fn fields_say_where_it_goes_and_how_that_went() {
        let exchange = Exchange::new::<Reroute>(()).clusters(["web", "api"]).route("/api", "api");
        let exchange =
            exchange.field("x-set-path", "/api/1").field("x-set-method", "CONNECT").field("x-rematch", "yes");
        let outcome = exchange.field("x-set-cluster", "nowhere").field("x-late", "yes").run();
        let seen = outcome.upstream();
        assert_eq!((seen.cluster.as_str(), seen.path.as_str(), seen.method.as_str()), ("api", "/api/1", "GET"));
        for (field, word) in [
            ("x-set-path-was", "ok"),
            ("x-set-method-was", "invalid-value"),
            ("x-set-cluster-was", "unknown-cluster"),
            ("x-rematch-was", "ok"),
        ] {
            assert_eq!(seen.field(field), Some(word), "{field}");
            assert_eq!(outcome.client.field(field), Some("too-late"), "{field}");
        }
    }
}
