//! What once went wrong in the hooks of bodies, trailers and calls, each as its user would have met it.

use std::time::Duration;

use http::{Request, Response};
use odin_tests::{BOTH, BodyEnd, HttpBackend, Odin, Protocol, RawBackend, Script, body, echoed};

#[tokio::test]
async fn a_request_without_a_body_gets_no_trailers_because_a_plugin_holds_it() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let hold = Script::new().on("request-headers", &["read hold"]).plugin_of_bodies("hold");
        let trailing = Script::new().on("request-trailers", &["trailers.set x-late 1"]).plugin("trailing");
        let odin = Odin::builder().plugin(hold).plugin(trailing).upstream(upstream).target(&backend).start().await;
        let answer = odin.get("/").await.has_status(200).json();
        assert_eq!(answer["body"], "");
        assert!(echoed(&answer, "transfer-encoding").is_empty(), "{answer}");
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn a_client_that_sends_all_the_time_does_not_stall_because_a_plugin_gathers_it() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let buffer = Script::new().on("request-headers", &["read buffer"]).on("response-headers", &["read buffer"]);
    let plugin = buffer.plugin("buffer").with("body-wait = \"30s\"");
    let odin = Odin::builder().plugin(plugin).target(&backend).section("[timeouts]\nidle = \"600ms\"").start().await;
    let (feed, content) = body::by_hand();
    let mut client = odin.connect().await;
    let asked = tokio::spawn(async move { client.send(Request::post("/").body(content).unwrap()).await });
    // Longer than the idle timeout in all, and never as long between two pieces.
    let mut slowly = tokio::time::interval(Duration::from_millis(150));
    for _ in 0..8 {
        slowly.tick().await;
        assert!(feed.send("x").await);
    }
    drop(feed);
    let answer = asked.await.unwrap().has_status(200).json();
    assert_eq!(answer["body"], "xxxxxxxx");
    odin.stop().await;
}

#[tokio::test]
async fn a_call_without_any_time_ends_at_once() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let trickle = RawBackend::start(|mut connection, _| async move {
        if connection.head().await.is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await;
            connection.ends().await;
        }
    })
    .await;
    let script = Script::new().on("request-headers", &["call slow / 0", "show x-trace"]);
    let odin = Odin::builder()
        .plugin(script.plugin_of_calls("caller", "slow"))
        .target(&backend)
        .section(&format!("[clusters.slow]\nendpoints = [\"{}\"]", odin_tests::Target::address(&trickle)))
        .start()
        .await;
    let answer = odin.get("/").await.has_status(200).json();
    assert!(echoed(&answer, "x-trace").concat().contains("timeout"), "{answer}");
    odin.stop().await;
}

#[tokio::test]
async fn a_plugin_that_holds_every_little_piece_costs_no_more_for_it() {
    let backend = HttpBackend::start(Protocol::Http1, |request| async move {
        let content = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        Response::new(body::full(content.len().to_string()))
    })
    .await;
    let script = Script::new().on("request-body", &["more: hold"]).plugin_of_bodies("holder");
    let odin = Odin::builder().plugin(script.with("body-limit = \"4MiB\"")).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send("1\r\nx\r\n".repeat(20_000)).await;
    client.send("0\r\n\r\n").await;
    let response = client.response("POST").await.unwrap();
    assert_eq!((response.head.status(), &response.end), (200, &BodyEnd::Complete));
    assert_eq!(response.body, b"20000");
    odin.stop().await;
}
