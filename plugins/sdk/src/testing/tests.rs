//! The simulated host against the words of the contract: one plugin that does as it is told, one that notes.

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::context::{self, ContextError};
use crate::{
    Body, BodyMode, Decision, Ended, FieldError, Piece, Plugin, Reply, Request, Response, Result, RoutingError,
    Trailers,
};

/// Does what its config says.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Told {
    name: String,
    mode: Option<String>,
    action: String,
}

/// The same, with only the body hooks: it gets `stream`.
#[derive(Default)]
struct Upper;

#[odin_sdk::plugin]
impl Plugin for Upper {
    fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
        assert_eq!(request.set("x-late", "1"), Err(FieldError::TooLate));
        Ok(Piece::replace(body.bytes().to_ascii_uppercase()))
    }
}

#[odin_sdk::plugin]
impl Plugin for Told {
    type Config = Told;

    fn new(config: Told) -> Result<Self> {
        Ok(config)
    }

    fn on_request_headers(&self, request: &Request) -> Result {
        request.append("x-saw-request", self.name.as_str())?;
        Ok(match self.mode.as_deref() {
            Some("skip") => Decision::read(BodyMode::Skip),
            Some("buffer") => Decision::read(BodyMode::Buffer),
            Some("hold") => Decision::read(BodyMode::Hold),
            Some("reply") => Reply::new(418).with_field("X-Reply", "yes").with_body("short").into(),
            Some("framed") => Reply::new(200).with_field("content-length", "3").into(),
            Some("reject") => Decision::reject("told to"),
            Some("cut") => Decision::cut("told to"),
            Some("err") => Err("told to")?,
            _ => Decision::Continue,
        })
    }

    fn on_request_body(&self, request: &Request, body: &Body) -> Result<Piece> {
        let number = context::get("calls").map_or(0, |value| i64::read(value).unwrap_or(0)) + 1;
        context::set("calls", number)?;
        Ok(match self.action.as_str() {
            "field" => {
                request.set("x-length", body.len().to_string())?;
                request.set_cluster("elsewhere")?;
                Piece::Pass
            }
            "hold" if !body.is_end() => Piece::Hold,
            "hold" => Piece::replace([b"<", body.bytes().as_slice(), b">"].concat()),
            "forever" => Piece::Hold,
            "append" => Piece::append("!"),
            "skip" => Piece::Skip,
            "reply" => Reply::new(409).with_body(body.bytes()).into(),
            "reject" => Piece::reject("told to"),
            "err" => Err("told to")?,
            _ => Piece::Pass,
        })
    }

    fn on_request_trailers(&self, _request: &Request, trailers: &Trailers) -> Result {
        trailers.append("x-trailer-of", self.name.as_str())?;
        Ok(Decision::Continue)
    }

    fn on_response_headers(&self, response: &Response, request: &Request) -> Result {
        assert_eq!(request.set("x-late", "1"), Err(FieldError::TooLate));
        response.append("x-saw-response", self.name.as_str())?;
        Ok(if self.action == "hold-response" { Decision::read(BodyMode::Hold) } else { Decision::Continue })
    }

    fn on_response_body(&self, response: &Response, _request: &Request, body: &Body) -> Result<Piece> {
        Ok(match self.action.as_str() {
            "hold-response" => {
                response.set("x-length", body.len().to_string())?;
                Piece::Pass
            }
            "cut-response" if body.is_end() => Piece::cut("told to"),
            _ => Piece::Pass,
        })
    }

    fn on_exchange_end(&self, exchange: &Ended) -> Result<()> {
        context::set("ended", format!("{:?} {:?}", exchange.status(), exchange.error()))?;
        Ok(())
    }
}

use crate::context::Stored;

fn told(name: &str, mode: Option<&str>, action: &str) -> Exchange {
    Exchange::new::<Told>(json!({ "name": name, "mode": mode, "action": action })).request("PUT", "/something")
}

#[test]
fn hooks_run_in_route_order_and_back() {
    let chain = told("a", None, "").then::<Told>(json!({ "name": "b" })).body(["x"]);
    let outcome = chain.upstream(|_| Upstream::new(200).body(["y"])).run();
    let of = |fields: &[crate::Field], name: &str| -> Vec<String> {
        let of = fields.iter().filter(|field| field.0 == name);
        of.map(|field| String::from_utf8(field.1.clone()).unwrap()).collect()
    };
    assert_eq!(of(&outcome.upstream().fields, "x-saw-request"), ["a", "b"]);
    assert_eq!(of(&outcome.client.fields, "x-saw-response"), ["b", "a"]);
    assert_eq!(of(&outcome.upstream().trailers, "x-trailer-of"), ["a", "b"]);
    assert_eq!(outcome.context_text("ended"), Some("Some(200) None"));
}

#[test]
fn a_body_is_seen_as_the_header_hook_asks() {
    let calls = |mode: Option<&str>, pieces: &[&str]| {
        let mut exchange = told("a", mode, "");
        if !pieces.is_empty() {
            exchange = exchange.body(pieces.iter().copied());
        }
        let outcome = exchange.run();
        assert_eq!(outcome.upstream().text(), pieces.concat());
        outcome.context("calls").cloned().and_then(i64::read).unwrap_or(0)
    };
    assert_eq!(calls(None, &["a", "b"]), 3, "two pieces and the end");
    assert_eq!(calls(Some("buffer"), &["a", "b"]), 1);
    assert_eq!(calls(Some("hold"), &["a", "b"]), 1);
    assert_eq!(calls(Some("skip"), &["a", "b"]), 0);
    assert_eq!(calls(None, &[]), 0, "no body, no call");
    assert_eq!(calls(Some("buffer"), &[]), 1, "asked for the whole of nothing");
    let known = told("a", None, "").body(["a", "b"]).end_with_last_piece().run();
    assert_eq!(known.context("calls").cloned().and_then(i64::read), Some(2));
}

#[test]
fn a_held_head_may_be_changed_by_the_body_hook() {
    let outcome = told("a", Some("hold"), "field").body(["four", "five"]).run();
    assert_eq!(outcome.upstream().field("x-length"), Some("8"));
    assert_eq!(outcome.upstream().cluster, "elsewhere");
    let late = told("a", Some("buffer"), "field").body(["four"]).run();
    assert_eq!(late.client.status, Some(502), "{late:?}");
    assert!(late.failures[0].contains("too-late"), "{late:?}");
    let response = told("a", None, "hold-response").upstream(|_| Upstream::new(200).body(["abc"])).run();
    assert_eq!(response.client.field("x-length"), Some("3"));
}

#[test]
fn pieces_are_held_replaced_and_added_to() {
    let body =
        |action: &str| told("a", None, action).then::<Upper>(()).body(["a", "b"]).run().upstream().text().to_owned();
    assert_eq!(body(""), "AB");
    assert_eq!(body("hold"), "<AB>");
    assert_eq!(body("forever"), "AB", "at the end hold means pass");
    assert_eq!(body("append"), "A!B!!");
    assert_eq!(body("skip"), "AB");
}

#[test]
fn what_is_held_counts_against_the_limit() {
    let outcome = told("a", None, "forever").body(["1234", "5678"]).body_limit(6).run();
    assert_eq!(outcome.client.status, Some(413));
    let whole = told("a", Some("buffer"), "").body(["1234", "5678"]).body_limit(6);
    assert_eq!(whole.run().client.status, Some(413));
    let partial = told("a", Some("buffer"), "append").body(["1234", "5678", "9"]).body_limit(6).body_overflow_partial();
    assert_eq!(partial.run().upstream().text(), "12345678!9");
}

#[test]
fn replies_and_refusals_end_the_request() {
    let reply = told("a", Some("reply"), "").then::<Told>(json!({ "name": "b" })).run();
    assert!(reply.upstream.is_none());
    assert_eq!((reply.client.status, reply.client.text()), (Some(418), "short"));
    assert_eq!(reply.client.field("x-saw-response"), Some("b"), "the response hooks of all plugins see it");
    let held = told("a", Some("hold"), "reply").body(["mine"]).run();
    assert_eq!((held.client.status, held.client.text(), held.upstream), (Some(409), "mine", None));
    let refused = told("a", Some("reject"), "").run();
    assert_eq!((refused.client.status, refused.error.as_deref()), (Some(403), Some("told to")));
    assert_eq!(refused.context_text("ended"), Some("Some(403) Some(\"told to\")"));
    let cut = told("a", Some("cut"), "").run();
    assert_eq!((cut.client.status, cut.client.cut.as_deref()), (None, Some("told to")));
    let framed = told("a", Some("framed"), "").run();
    assert_eq!(framed.client.status, Some(502));
    let gone = told("a", None, "cut-response").upstream(|_| Upstream::new(200).body(["begun"])).run();
    assert_eq!((gone.client.text(), gone.client.cut.as_deref()), ("begun", Some("told to")));
}

#[test]
fn a_failure_costs_the_exchange_or_is_passed_over() {
    assert_eq!(told("a", Some("err"), "").run().client.status, Some(502));
    let open = told("a", Some("err"), "").fail_open().run();
    assert_eq!((open.client.status, open.failures.len()), (Some(200), 1));
    let body = told("a", None, "err").fail_open().body(["a", "b"]).run();
    assert_eq!((body.upstream().text(), body.failures.len()), ("ab", 1), "it is not asked about the rest");
}

#[derive(Default)]
struct Rules;

#[odin_sdk::plugin]
impl Plugin for Rules {
    fn on_request_headers(&self, request: &Request) -> Result {
        assert_eq!(request.set("Content-Length", "3"), Err(FieldError::Forbidden));
        assert_eq!(request.set("host", "x"), Err(FieldError::Forbidden));
        assert_eq!(request.set("no token", ""), Err(FieldError::InvalidName));
        assert_eq!(request.set("x", "a\r\nb"), Err(FieldError::InvalidValue));
        assert_eq!(request.set("x", "y".repeat(70_000)), Err(FieldError::TooLarge));
        assert_eq!(request.set_path("no slash"), Err(FieldError::InvalidValue));
        assert_eq!(request.set_scheme("ftp"), Err(FieldError::InvalidValue));
        assert_eq!(request.set_method("CONNECT"), Err(FieldError::InvalidValue));
        request.set_path("/api/1?q=2")?;
        assert_eq!((request.path_only().as_str(), request.query().as_deref()), ("/api/1", Some("q=2")));
        assert_eq!(request.set_cluster("nowhere"), Err(RoutingError::UnknownCluster));
        request.rematch_route()?;
        assert_eq!(context::set("odin.status", 1), Err(ContextError::ReadOnly));
        assert_eq!(context::set("huge", "x".repeat(64 << 10)), Err(ContextError::TooLarge));
        assert_eq!(crate::facts::client_address().map(|address| address.port()), Some(50000));
        assert_eq!(crate::facts::status(), None);
        context::set_on_connection("visits", 1)?;
        let [host, none] = request.get_many(["X-Host", "none"]);
        assert_eq!((host.as_deref(), none), (Some(b"h".as_slice()), None));
        Ok(Decision::Continue)
    }
}

#[test]
fn the_rules_of_the_setters_hold() {
    let exchange = Exchange::new::<Rules>(()).field("x-host", "h");
    let outcome = exchange.clusters(["web", "api"]).route("/", "web").route("/api", "api").run();
    assert_eq!(outcome.upstream().cluster, "api", "{outcome:?}");
    assert_eq!(outcome.upstream().path, "/api/1?q=2");
    assert_eq!(outcome.context("visits").cloned().and_then(i64::read), Some(1));
}

#[test]
fn a_config_is_read_and_refused() {
    let error = configure::<Told>(json!({ "nam": "a" })).unwrap_err();
    assert!(error.contains("config") && error.contains("`nam`") && error.contains("`name`"), "{error}");
    assert_eq!(configure::<Told>(()), Ok(()));
}

mod closures {
    odin_sdk::hooks! {
        request_headers => |request| {
            request.set("x-closure", "yes")?;
            Ok(crate::Decision::Continue)
        },
        connect => || Ok(crate::Connect::Continue),
        close => || Ok(()),
    }
}

#[test]
fn closures_make_the_same_exports() {
    use crate::__private::Hook;
    assert_eq!(<closures::Hooks as Exports>::HOOKS, [Hook::RequestHeaders, Hook::Connection]);
    let outcome = Exchange::new::<closures::Hooks>(()).run();
    assert_eq!(outcome.upstream().field("x-closure"), Some("yes"));
}

#[test]
fn shared_values_expire_and_conflict() {
    use crate::shared::{self, SharedError};
    reset();
    let first = shared::set("k", "1", Some(Duration::from_secs(5))).unwrap();
    assert_eq!(shared::compare_and_set("k", None, "2", None), Err(SharedError::Conflict(Some(first))));
    assert!(shared::compare_and_set("k", Some(first), "2", Some(Duration::from_secs(5))).unwrap() > first);
    advance(Duration::from_secs(5));
    assert_eq!(shared::get("k"), None);
    shared::update("k", |old| if old.is_none() { b"new".to_vec() } else { b"old".to_vec() }).unwrap();
    assert_eq!(shared::get("k").unwrap().value, b"new");
    assert!(shared::remove("k") && !shared::remove("k"));
}

/// Answers by the address that it is asked about.
mod sharing {
    use super::*;
    use crate::outbound::{OutboundError, Request};
    use crate::steer::Weight;

    crate::hooks! {
        steer => |binding| {
            assert_eq!(context::get("odin.listener"), None);
            assert_eq!(context::set("a", 1i64), Err(ContextError::NoExchange));
            assert_eq!(Request::get("auth", "/").send(), Err(OutboundError::Unavailable));
            Ok(match binding.address.as_str() {
                "unknown" => vec![Weight::listener("wep", 1)],
                "past" => vec![Weight::worker(&binding.listener, binding.workers, 1)],
                "zero" => vec![Weight::listener(&binding.listener, 0)],
                "many" => vec![Weight::listener(&binding.listener, 1); 4_097],
                "long" => vec![Weight::listener("x".repeat(257), 1)],
                "fails" => Err("told to")?,
                _ => vec![Weight::worker(&binding.listener, 1, 3), Weight::listener("canary", 1)],
            })
        },
    }

    #[test]
    fn a_binding_is_shared_out_by_the_rules_of_the_host() {
        let shares = |address| steer::<Hooks>((), &binding(address, &["web", "canary"]));
        assert_eq!(shares("0.0.0.0:80"), Ok(vec![Weight::worker("web", 1, 3), Weight::listener("canary", 1)]));
        let refused = [
            ("unknown", "the listener \"wep\", which is none that is steered"),
            ("past", "worker 2 of the listener \"web\" is past the end: there are 2"),
            ("zero", "weights that add up to 0"),
            ("many", "4097 weights, which is more than 4096"),
            ("long", "the name of a listener of 257 bytes, which is more than 256"),
            ("fails", "told to"),
        ];
        for (address, words) in refused {
            assert!(shares(address).unwrap_err().ends_with(words), "{address}");
        }
        assert_eq!(steer::<Upper>((), &binding("0.0.0.0:80", &["web"])), Ok(Vec::new()));
    }
}
