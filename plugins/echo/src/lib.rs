//! Answers a request with itself when it asks for it: with `x-echo-only: true` (or `yes`) the client gets its own
//! fields and body back, with 200, and no upstream is asked. All other requests pass untouched.

use odin_sdk::{Body, BodyMode, Decision, Piece, Plugin, Reply, Request, Response, Result};

/// Fields that frame the message or belong to one connection: they are the host's to set (`types.wit`, `forbidden`).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[derive(Default)]
struct Echo;

#[odin_sdk::plugin]
impl Plugin for Echo {
    fn on_request_headers(&self, request: &Request) -> Result {
        let asked = request.get("x-echo-only").is_some_and(|value| value == b"true" || value == b"yes");
        Ok(Decision::read(if asked { BodyMode::Hold } else { BodyMode::Skip }))
    }

    /// Only called for the requests that asked.
    fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
        let mut reply = Reply::new(200).with_body(body.bytes());
        reply.fields = request.fields();
        reply.fields.retain(|(name, _)| !FRAMING.contains(&name.to_ascii_lowercase().as_str()));
        Ok(reply.into())
    }

    fn on_response_headers(&self, response: &Response, _request: &Request) -> Result {
        response.extend("x-ext-procs-applied", "echo")?;
        Ok(Decision::Continue)
    }
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::{Exchange, Upstream};

    use super::*;

    fn exchange(echo: &str) -> Exchange {
        let exchange = Exchange::new::<Echo>(()).request("POST", "/").field("x-echo-only", echo).field("x-a", "1");
        exchange.field("content-length", "5").body(["he", "llo"]).upstream(|_| Upstream::new(200).body(["upstream"]))
    }

    #[test]
    fn the_request_comes_back() {
        for word in ["true", "yes"] {
            let outcome = exchange(word).run();
            assert!(outcome.upstream.is_none());
            assert_eq!((outcome.client.status, outcome.client.text()), (Some(200), "hello"));
            assert_eq!(outcome.client.field("x-a"), Some("1"));
            assert!(!outcome.client.has("content-length"), "the host writes the framing");
            assert_eq!(outcome.client.field("x-ext-procs-applied"), Some("echo"));
        }
    }

    #[test]
    fn a_request_without_a_body_comes_back_too() {
        let outcome = Exchange::new::<Echo>(()).field("x-echo-only", "true").run();
        assert_eq!((outcome.client.status, outcome.client.text()), (Some(200), ""));
    }

    #[test]
    fn others_go_to_the_upstream() {
        let outcome = exchange("no").run();
        assert_eq!((outcome.upstream().text(), outcome.client.text()), ("hello", "upstream"));
    }
}
