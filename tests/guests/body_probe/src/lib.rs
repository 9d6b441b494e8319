//! Does to both bodies what it is told: how much of them it wants to see, and what becomes of the pieces.
//!
//! The config, or the request field `x-mode` in the same words, is `MODE ACTION`, and the same again behind a comma for
//! the response: `stream upper, hold append`. Modes: `skip`, `stream`, `buffer`, `hold`, `default` (the header hook
//! says `continue`). Actions: `pass`, `upper`, `append` (a `!`), `second` (drops every second piece), `hold` (until the
//! end, then in brackets), `drop` (all), `stop` (answers skip), `field` (sets `x-body-length` on the head, and on the
//! request the cluster of `x-cluster`), `reply`, `reject`, `cut`, `err`, `trap`. Without any it skips both.
//!
//! The trailer `x-probe-trailer` of both messages counts the calls of the body hook; the context has `pieces` (both
//! together) and `status` at the end.

use odin_sdk::context::Key;
use odin_sdk::{Body, BodyMode, Decision, Ended, Piece, Plugin, Reply, Request, Response, Result, Trailers};

static REQUEST_CALLS: Key<u32> = Key::new("private:request-calls");
static RESPONSE_CALLS: Key<u32> = Key::new("private:response-calls");
static PIECES: Key<u32> = Key::new("pieces");
static STATUS: Key<u16> = Key::new("status");

/// What is to be done, in the words of the head of this file.
struct BodyProbe(Option<String>);

#[odin_sdk::plugin]
impl Plugin for BodyProbe {
    type Config = Option<String>;

    fn new(orders: Option<String>) -> Result<Self> {
        Ok(Self(orders))
    }

    fn on_request_headers(&self, request: &Request) -> Result {
        mode(&self.orders(request, 0).0)
    }

    fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
        let action = self.orders(request, 0).1;
        if action == "field" {
            request.set("x-body-length", body.len().to_string())?;
            if let Some(cluster) = request.get_str("x-cluster") {
                request.set_cluster(&cluster)?;
            }
        }
        act(&action, count(&REQUEST_CALLS)?, body)
    }

    fn on_request_trailers(&self, _request: &Request, trailers: &Trailers) -> Result {
        trailers.set("x-probe-trailer", REQUEST_CALLS.get().unwrap_or(0).to_string())?;
        Ok(Decision::Continue)
    }

    fn on_response_headers(&self, _response: &Response, request: &Request) -> Result {
        mode(&self.orders(request, 1).0)
    }

    fn on_response_body(&self, response: &Response, request: &Request, body: &Body) -> Result<Piece> {
        let action = self.orders(request, 1).1;
        if action == "field" {
            response.set("x-body-length", body.len().to_string())?;
        }
        act(&action, count(&RESPONSE_CALLS)?, body)
    }

    fn on_response_trailers(&self, _response: &Response, _request: &Request, trailers: &Trailers) -> Result {
        trailers.set("x-probe-trailer", RESPONSE_CALLS.get().unwrap_or(0).to_string())?;
        Ok(Decision::Continue)
    }

    fn on_exchange_end(&self, exchange: &Ended) -> Result<()> {
        PIECES.set(&(REQUEST_CALLS.get().unwrap_or(0) + RESPONSE_CALLS.get().unwrap_or(0)))?;
        match exchange.status() {
            Some(status) => STATUS.set(&status),
            None => Ok(()),
        }
    }
}

impl BodyProbe {
    /// Mode and action for the request (0) or the response (1).
    fn orders(&self, request: &Request, side: usize) -> (String, String) {
        let orders = request.get_str("x-mode").or_else(|| self.0.clone()).unwrap_or_default();
        let mut words = orders.split(',').nth(side).unwrap_or_default().split_whitespace();
        let mut word = |otherwise: &str| words.next().unwrap_or(otherwise).to_owned();
        (word("skip"), word("pass"))
    }
}

fn mode(word: &str) -> Result {
    Ok(match word {
        "default" => Decision::Continue,
        "skip" => Decision::read(BodyMode::Skip),
        "stream" => Decision::read(BodyMode::Stream),
        "buffer" => Decision::read(BodyMode::Buffer),
        "hold" => Decision::read(BodyMode::Hold),
        other => Err(format!("{other} is no mode"))?,
    })
}

/// Counts a call; its number, from one.
fn count(calls: &Key<u32>) -> Result<u32> {
    let number = calls.get().unwrap_or(0) + 1;
    calls.set(&number)?;
    Ok(number)
}

fn act(action: &str, call: u32, body: &Body) -> Result<Piece> {
    Ok(match action {
        "pass" | "field" => Piece::Pass,
        "upper" => Piece::replace(body.bytes().to_ascii_uppercase()),
        "append" => Piece::append("!"),
        "second" if call.is_multiple_of(2) => Piece::drop(),
        "second" => Piece::Pass,
        "hold" if body.is_end() => Piece::replace([b"[".as_slice(), &body.bytes(), b"]"].concat()),
        "hold" => Piece::Hold,
        "drop" => Piece::drop(),
        "stop" => Piece::Skip,
        "reply" => Reply::new(200).with_field("x-replied", "yes").with_body(body.bytes()).into(),
        "reject" => Piece::reject("body_probe was told to"),
        "cut" => Piece::cut("body_probe was told to"),
        "err" => Err("body_probe was told to")?,
        "trap" => panic!("body_probe was told to"),
        other => Err(format!("{other} is no action"))?,
    })
}

#[cfg(test)]
mod tests {
    use odin_sdk::testing::{Exchange, Outcome, Upstream};

    use super::*;

    fn told(orders: &str) -> Outcome {
        let exchange = Exchange::new::<BodyProbe>(()).request("POST", "/").field("x-mode", orders).body(["ab", "cd"]);
        exchange.field("x-cluster", "other").upstream(|_| Upstream::new(200).body(["ef", "gh"])).run()
    }

    #[test]
    fn it_does_what_it_is_told() {
        for (orders, upstream, client) in [
            ("", "abcd", "efgh"),
            ("stream upper, buffer upper", "ABCD", "EFGH"),
            ("stream append, hold append", "ab!cd!!", "efgh!"),
            ("default second, stream hold", "ab", "[efgh]"),
            ("stream stop, stream drop", "abcd", ""),
        ] {
            let outcome = told(orders);
            assert_eq!((outcome.upstream().text(), outcome.client.text()), (upstream, client), "{orders}");
        }
    }

    #[test]
    fn calls_are_counted_in_trailers_and_context() {
        let outcome = told("stream pass, hold pass");
        assert_eq!(outcome.upstream().trailer("x-probe-trailer"), Some("3"));
        assert_eq!(outcome.client.trailer("x-probe-trailer"), Some("1"));
        assert_eq!(outcome.context("pieces"), Some(&odin_sdk::context::Value::Integer(4)));
    }

    #[test]
    fn a_held_head_goes_where_the_body_hook_says() {
        let outcome = told("hold field, hold field");
        assert_eq!(
            (outcome.upstream().cluster.as_str(), outcome.upstream().field("x-body-length")),
            ("other", Some("4"))
        );
        assert_eq!(outcome.client.field("x-body-length"), Some("4"));
    }

    #[test]
    fn it_ends_exchanges() {
        let status = |orders: &str| told(orders).client.status;
        assert_eq!(told("hold reply").client.text(), "abcd");
        assert_eq!((status("hold reject"), status("hold cut"), status("stream err")), (Some(403), None, Some(502)));
        assert_eq!((status("skip, hold reject"), status("skip, hold cut")), (Some(403), None));
    }
}
