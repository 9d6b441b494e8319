//! The order of the phases, from outside: what ran when, for chains of several plugins, over every pair of versions.

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{BOTH, DeadPort, HttpBackend, Odin, Protocol, RawBackend, Script, body, echoed};

/// The words without their details, each where it came first.
fn order(trace: &[String]) -> Vec<&str> {
    let mut order = Vec::new();
    for word in trace {
        let word = word.split('(').next().unwrap_or_default();
        if !order.contains(&word) {
            order.push(word);
        }
    }
    order
}

/// A backend that reads everything, then answers with a body and a trailer.
async fn with_trailers(protocol: Protocol) -> HttpBackend {
    HttpBackend::start(protocol, |request| async move {
        let bodiless = request.method() == http::Method::HEAD;
        let _ = request.into_body().collect().await;
        let content = if bodiless { body::empty() } else { body::with_trailers(&["to", "you"], &[("x-down", "yes")]) };
        Response::builder().header("trailer", "x-down").body(content).unwrap()
    })
    .await
}

#[tokio::test]
async fn requests_run_through_a_chain_forward_and_responses_back() {
    for upstream in BOTH {
        let backend = with_trailers(upstream).await;
        let quiet = Script::new();
        let builder = Odin::builder().plugin(quiet.plugin("a")).plugin(quiet.plugin("b")).plugin(quiet.plugin("c"));
        let builder = builder.balancer(quiet.plugin("lb")).logging(&["trace"]);
        let odin = builder.upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            let path = format!("/whole/{downstream:?}");
            let request = Request::post(&path).header("trailer", "x-up").header("te", "trailers");
            let content = body::with_trailers(&["from", "me"], &[("x-up", "1")]);
            let response = client.send(request.body(content).unwrap()).await.has_status(200).has_body("toyou");
            response.has_trailer("x-down", "yes");
            let trace = odin.trace(&path).await;
            let wanted = [
                "a.request-headers",
                "b.request-headers",
                "c.request-headers",
                "lb.balancer",
                "a.request-body",
                "b.request-body",
                "c.request-body",
                "a.request-trailers",
                "b.request-trailers",
                "c.request-trailers",
                "c.response-headers",
                "b.response-headers",
                "a.response-headers",
                "c.response-body",
                "b.response-body",
                "a.response-body",
                "c.response-trailers",
                "b.response-trailers",
                "a.response-trailers",
                "a.exchange-end",
                "b.exchange-end",
                "c.exchange-end",
            ];
            assert_eq!(order(&trace), wanted, "{downstream:?} to {upstream:?}: {trace:?}");
            for once in ["a.request-trailers", "b.response-headers", "c.response-trailers", "a.exchange-end"] {
                assert_eq!(trace.iter().filter(|word| *word == once).count(), 1, "{once} in {trace:?}");
            }
            pieces_go_through_all_in_turn(&trace, "request-body", &["a", "b", "c"]);
            pieces_go_through_all_in_turn(&trace, "response-body", &["c", "b", "a"]);
        }
    }
}

/// Each piece meets every plugin before the next one comes; only the last says that it is the last.
fn pieces_go_through_all_in_turn(trace: &[String], hook: &str, turn: &[&str]) {
    let calls: Vec<_> = trace.iter().filter(|word| word.contains(&format!(".{hook}("))).collect();
    assert!(!calls.is_empty() && calls.len().is_multiple_of(turn.len()), "{calls:?}");
    for (at, call) in calls.iter().enumerate() {
        assert!(call.starts_with(&format!("{}.", turn[at % turn.len()])), "{calls:?}");
        assert_eq!(call.ends_with(",end)"), at >= calls.len() - turn.len(), "{calls:?}");
    }
}

#[tokio::test]
async fn a_message_without_a_body_has_no_body_and_no_trailer_phases() {
    let backend = with_trailers(Protocol::Http1).await;
    let odin = Odin::builder().plugin(Script::new().plugin("a")).logging(&["trace"]).target(&backend).start().await;
    for downstream in BOTH {
        let path = format!("/head/{downstream:?}");
        let request = Request::head(&path).body(body::empty()).unwrap();
        odin.connect_over(downstream).await.send(request).await.has_status(200).has_body("");
        let wanted = ["a.request-headers", "a.response-headers", "a.exchange-end"];
        assert_eq!(odin.trace(&path).await, wanted, "{downstream:?}");
    }
}

#[tokio::test]
async fn a_plugin_that_waits_for_the_body_runs_before_the_balancer() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let hold = Script::new().on("request-headers", &["read hold"]);
        let builder = Odin::builder().plugin(hold.plugin("a")).balancer(Script::new().plugin("lb"));
        let odin = builder.logging(&["trace"]).upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let path = format!("/held/{downstream:?}");
            let request = Request::post(&path).body(body::full("five!")).unwrap();
            odin.connect_over(downstream).await.send(request).await.has_status(200);
            let trace = odin.trace(&path).await;
            let at = |word: &str| {
                trace.iter().position(|found| found == word).unwrap_or_else(|| panic!("{word}: {trace:?}"))
            };
            assert!(at("a.request-body(5,end)") < at("a.request-trailers"), "{trace:?}");
            assert!(at("a.request-trailers") < at("lb.balancer"), "{trace:?}");
        }
    }
}

#[tokio::test]
async fn the_same_file_runs_twice_in_a_chain_with_two_configs() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let mark = |name: &str| {
            let line = |side: &str| format!("{side}.append x-order {name}");
            let script = Script::new().on("request-headers", &[&line("request")]);
            script.on("response-headers", &[&line("response")]).plugin(name)
        };
        let builder = Odin::builder().plugin(mark("one")).plugin("headers").plugin(mark("two"));
        let odin = builder.upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let response = odin.connect_over(downstream).await.get("/").await.has_status(200);
            assert_eq!(echoed(&response.json(), "x-order"), ["one", "two"]);
            let back: Vec<_> = response.headers.get_all("x-order").iter().collect();
            assert_eq!(back, ["two", "one"]);
        }
    }
}

#[tokio::test]
async fn a_reply_ends_the_request_phases_and_goes_back_through_the_response_phases() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let reply = r#"reply {"status": 203, "body": "mine"}"#;
    let answers = Script::new().on("request-headers", &[reply]);
    let quiet = Script::new();
    let builder = Odin::builder().plugin(quiet.plugin("a")).plugin(answers.plugin("b")).plugin(quiet.plugin("c"));
    let odin = builder.logging(&["trace"]).target(&backend).start().await;
    for downstream in BOTH {
        let path = format!("/replied/{downstream:?}");
        odin.connect_over(downstream).await.get(&path).await.has_status(203).has_body("mine");
        let trace = odin.trace(&path).await;
        let order = order(&trace);
        assert_eq!(order[..2], ["a.request-headers", "b.request-headers"], "{trace:?}");
        assert!(!order.contains(&"c.request-headers"), "{trace:?}");
        let at = |word| order.iter().position(|found| *found == word).unwrap_or_else(|| panic!("{word}: {trace:?}"));
        assert!(at("b.response-headers") < at("a.response-headers"), "{trace:?}");
        assert!(at("a.response-headers") < at("a.response-body"), "{trace:?}");
        assert!(at("a.response-trailers") < at("a.exchange-end"), "{trace:?}");
        assert!(at("a.exchange-end") < at("b.exchange-end"), "{trace:?}");
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn an_exchange_that_fails_has_its_end_too() {
    let dead = DeadPort::reserve();
    let facts = ["recall odin.status", "recall odin.error"];
    let plugin = Script::new().on("exchange-end", &facts).plugin("a");
    let odin = Odin::builder().plugin(plugin).logging(&["trace"]).target(&dead).start().await;
    for downstream in BOTH {
        let path = format!("/dead/{downstream:?}");
        odin.connect_over(downstream).await.get(&path).await.has_status(502);
        let trace = odin.trace(&path).await.join(" ");
        assert!(trace.starts_with("a.request-headers a.exchange-end"), "{trace}");
        assert!(trace.contains("odin.status=integer:502"), "{trace}");
        assert!(trace.contains("odin.error=text:upstream connect failed"), "{trace}");
    }
}

#[tokio::test]
async fn an_exchange_whose_client_goes_away_has_its_end_too() {
    let backend = HttpBackend::start(Protocol::Http1, |_| async { std::future::pending().await }).await;
    let odin = Odin::builder().plugin(Script::new().plugin("a")).logging(&["trace"]).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n").await;
    backend.has_seen(1).await;
    client.reset();
    let mut stream = odin.connect_http2().await;
    let begun = stream.begin(Request::get("/reset").body(body::empty()).unwrap()).await;
    backend.has_seen(2).await;
    drop(begun);
    drop(stream);
    for path in ["/gone", "/reset"] {
        assert_eq!(odin.trace(path).await, ["a.request-headers", "a.exchange-end"], "{path}");
    }
    odin.no_exchange_is_left().await;
}

#[tokio::test]
async fn an_exchange_that_switched_protocols_ends_with_its_tunnel() {
    let backend = RawBackend::start(|mut connection, _| async move {
        connection.head().await;
        connection
            .send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
            )
            .await;
        connection.rest().await;
    })
    .await;
    let facts = ["recall odin.status", "recall odin.bytes-received", "recall odin.bytes-sent"];
    let script = Script::new().on("response-headers", &["recall odin.status"]).on("exchange-end", &facts);
    let odin = Odin::builder().plugin(script.plugin("a")).logging(&["trace"]).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .await;
    assert_eq!(client.response("GET").await.expect("a response").head.status(), 101);
    assert_eq!(client.read(5).await, b"hello");
    client.send("goodbye").await;
    assert!(odin.access_log().is_empty(), "it is not over yet: {:?}", odin.access_log().all());
    client.finish().await;
    client.rest().await;
    let logged = odin.logged("/chat").await;
    let trace = logged["context"]["trace"].as_str().unwrap();
    let wanted = "a.request-headers a.response-headers recall=odin.status=integer:101 \
                  a.exchange-end recall=odin.status=integer:101 recall=odin.bytes-received=integer:7 \
                  recall=odin.bytes-sent=integer:5";
    assert_eq!(trace, wanted, "{logged}");
}
