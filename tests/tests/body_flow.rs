//! Bodies through plugins on difficult ways: 100-continue, upgrades, stalled receivers, long bodies, broken senders.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{BOTH, HttpBackend, Odin, PluginEntry, Protocol, RawBackend, Script, body, until, within};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};

fn hold_both() -> Script {
    Script::new().on("request-headers", &["read hold"]).on("response-headers", &["read hold"])
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_although_the_head_is_held() {
    for upstream in BOTH {
        for mode in ["hold", "buffer", "stream"] {
            let backend = HttpBackend::echo(upstream).await;
            let plugin = Script::new().on("request-headers", &[&format!("read {mode}")]).plugin("waits");
            let odin = Odin::builder().plugin(plugin).upstream(upstream).target(&backend).start().await;
            let mut client = odin.connect_raw().await;
            for _ in 0..2 {
                client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
                assert_eq!(client.head().await.expect("an interim response").status(), 100, "{mode} to {upstream:?}");
                client.send("body").await;
                let response = client.response("POST").await.expect("a response");
                assert!(response.interim.is_empty(), "{mode} to {upstream:?}: a second 100: {response:?}");
                assert_eq!(response.head.status(), 200, "{response:?}");
                let seen: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
                assert_eq!(seen["body"], "body", "{mode} to {upstream:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_and_is_refused_never_sends_its_body() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = Script::new().on("request-headers", &["reject not today"]).plugin("refuses");
    let odin = Odin::builder().plugin(plugin).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let response = client.response("POST").await.expect("a response");
    assert!(response.interim.is_empty(), "{response:?}");
    assert_eq!(response.head.status(), 403);
}

#[tokio::test]
async fn an_upgrade_goes_through_plugins_that_hold_bodies() {
    let backend = RawBackend::start(|mut connection, _| async move {
        connection.head().await;
        connection
            .send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
            )
            .await;
        let said = connection.read(4).await;
        connection.send(said.to_ascii_uppercase()).await;
    })
    .await;
    let odin = Odin::builder().plugin(hold_both().plugin("holds")).plugin("pass").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .await;
    assert_eq!(client.response("GET").await.expect("a response").head.status(), 101);
    assert_eq!(client.read(5).await, b"hello");
    client.send("ping").await;
    assert_eq!(client.read(4).await, b"PING");
}

#[tokio::test]
async fn a_body_that_breaks_off_never_ends_well_upstream() {
    for upstream in BOTH {
        for mode in ["stream", "buffer", "hold"] {
            let (sender, mut ends) = mpsc::unbounded_channel();
            let backend = HttpBackend::start(upstream, move |request| {
                let sender = sender.clone();
                async move {
                    let collected = request.into_body().collect().await;
                    let _ = sender.send(collected.is_ok());
                    Response::new(body::empty())
                }
            })
            .await;
            let plugin = Script::new().on("request-headers", &[&format!("read {mode}")]).plugin("reads");
            let odin =
                Odin::builder().plugin(plugin).logging(&["trace"]).upstream(upstream).target(&backend).start().await;
            let mut client = odin.connect_raw().await;
            client.send("POST /broken HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this").await;
            if mode == "stream" {
                backend.has_seen(1).await;
            }
            client.reset();
            let trace = odin.trace("/broken").await;
            assert!(!trace.iter().any(|word| word.contains("request-body") && word.contains("end")), "{trace:?}");
            assert!(trace.iter().any(|word| word == "reads.exchange-end"), "{trace:?}");
            match mode {
                "hold" => assert_eq!(backend.requests(), 0, "an incomplete body went upstream"),
                "stream" => assert!(!within("the end", ends.recv()).await.unwrap(), "complete to {upstream:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_in_the_middle_of_its_body_never_ends_well_upstream() {
    for mode in ["stream", "buffer", "hold"] {
        let (sender, mut ends) = mpsc::unbounded_channel();
        let backend = HttpBackend::start(Protocol::Http1, move |request| {
            let sender = sender.clone();
            async move {
                let _ = sender.send(request.into_body().collect().await.is_ok());
                Response::new(body::empty())
            }
        })
        .await;
        let plugin = Script::new().on("request-headers", &[&format!("read {mode}")]).plugin("reads");
        let odin = Odin::builder().plugin(plugin).logging(&["trace"]).target(&backend).start().await;
        let mut client = odin.connect_http2().await;
        let (feed, content) = body::by_hand();
        let request = Request::post("/broken").body(content).unwrap();
        let answer = tokio::spawn(async move { client.try_send(request).await });
        assert!(feed.send("only this").await);
        until("the request is under way", async || {
            (odin.plugin_status("reads").await["hooks"]["request-headers"]["calls"] == 1).then_some(())
        })
        .await;
        if mode != "hold" {
            backend.has_seen(1).await;
        }
        feed.break_off().await;
        let answer = within("the end of the exchange", answer).await.unwrap();
        assert!(answer.is_err(), "{mode}: {answer:?}");
        let trace = odin.trace("/broken").await;
        assert!(!trace.iter().any(|word| word.contains("request-body") && word.contains("end")), "{mode}: {trace:?}");
        assert!(trace.iter().any(|word| word == "reads.exchange-end"), "{mode}: {trace:?}");
        match mode {
            "hold" => assert_eq!(backend.requests(), 0, "an incomplete body went upstream"),
            _ => assert!(!within("the end", ends.recv()).await.unwrap(), "{mode}: complete upstream"),
        }
        odin.no_exchange_is_left().await;
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_never_whole_for_the_client() {
    let backend = RawBackend::answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await;
    for (mode, held) in [("stream", false), ("buffer", false), ("hold", true)] {
        let plugin = Script::new().on("response-headers", &[&format!("read {mode}")]).plugin("reads");
        let odin = Odin::builder().plugin(plugin).target(&backend).start().await;
        for downstream in BOTH {
            let request = Request::get("/").body(body::empty()).unwrap();
            let got = odin.connect_over(downstream).await.try_send(request).await;
            // A head that has not gone yet may still become a 502.
            match got {
                Ok(response) => drop(response.has_status(502)),
                Err(error) => assert!(!held, "{mode} {downstream:?}: {error:?}"),
            }
        }
    }
}

/// Waits until the number has stood still for a hundred looks.
async fn stands_still(number: &AtomicU64) -> u64 {
    let (mut last, mut same) = (0, 0);
    until("the sender is stalled", || {
        let now = number.load(Ordering::Relaxed);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        let done = same >= 100;
        async move { done.then_some(now) }
    })
    .await
}

const LONG: u64 = 100 << 20;
/// What may be on the way of a body that nobody reads: most of it in the kernel's buffers, which grow as they like.
const ON_THE_WAY: u64 = LONG / 2;
/// How much of that Odin may have.
const IN_ODIN: u64 = 12 << 20;

#[tokio::test]
async fn a_stalled_upstream_stalls_the_client_through_a_stream_hook() {
    for upstream in BOTH {
        let (release, released) = watch::channel(false);
        let backend = HttpBackend::start(upstream, move |request| {
            let mut released = released.clone();
            async move {
                let _ = released.wait_for(|go| *go).await;
                let (length, digest) = body::digest(request.into_body()).await.unwrap();
                Response::new(body::full(format!("{length} {digest}")))
            }
        })
        .await;
        for downstream in BOTH {
            release.send_replace(false);
            let odin =
                Odin::builder().plugin("pass").plugin(PluginEntry::new("pass").called("pass_again")).upstream(upstream);
            let odin = odin.target(&backend).start().await;
            let before = odin.resident_bytes();
            let (feed, content) = body::by_hand();
            let sent = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&sent);
            tokio::spawn(async move {
                for piece in body::pieces(LONG) {
                    let length = piece.len() as u64;
                    if !feed.send(piece).await {
                        return;
                    }
                    counted.fetch_add(length, Ordering::Relaxed);
                }
            });
            let mut client = odin.connect_over(downstream).await;
            let request = Request::post("/").body(content).unwrap();
            let answer = tokio::spawn(async move { client.patient().send(request).await });
            let taken = stands_still(&sent).await;
            let grown = odin.resident_bytes().saturating_sub(before);
            println!("{downstream:?} to {upstream:?}: {taken} bytes under way, {grown} bytes more resident");
            assert!(taken < ON_THE_WAY && grown < IN_ODIN, "{downstream:?} to {upstream:?}: {taken}, {grown}");
            release.send_replace(true);
            let response = within("the response", answer).await.unwrap().has_status(200);
            response.has_body(format!("{LONG} {}", body::long_digest(LONG)));
        }
    }
}

#[tokio::test]
async fn a_stalled_client_stalls_the_upstream_through_a_stream_hook() {
    for upstream in BOTH {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let backend = HttpBackend::start(upstream, move |_| {
            let (feed, content) = body::by_hand();
            let counter = Arc::clone(&counter);
            async move {
                tokio::spawn(async move {
                    for piece in body::pieces(LONG) {
                        let length = piece.len() as u64;
                        if !feed.send(piece).await {
                            return;
                        }
                        counter.fetch_add(length, Ordering::Relaxed);
                    }
                });
                Response::new(content)
            }
        })
        .await;
        let odin = Odin::builder()
            .plugin("pass")
            .plugin(PluginEntry::new("pass").called("pass_again"))
            .upstream(upstream)
            .target(&backend)
            .start()
            .await;
        for downstream in BOTH {
            sent.store(0, Ordering::Relaxed);
            let before = odin.resident_bytes();
            let request = Request::get("/").body(body::empty()).unwrap();
            let mut client = odin.connect_over(downstream).await;
            let response = client.start(request).await;
            let taken = stands_still(&sent).await;
            let grown = odin.resident_bytes().saturating_sub(before);
            println!("{downstream:?} from {upstream:?}: {taken} bytes under way, {grown} bytes more resident");
            assert!(taken < ON_THE_WAY && grown < IN_ODIN, "{downstream:?} from {upstream:?}: {taken}, {grown}");
            let received = within("the whole body", body::digest(response.into_body())).await.unwrap();
            assert_eq!(received, (LONG, body::long_digest(LONG)));
        }
    }
}

#[tokio::test]
async fn a_raw_client_that_stalls_loses_nothing() {
    let backend = HttpBackend::start(Protocol::Http1, |_| async { Response::new(body::long(LONG)) }).await;
    let odin = Odin::builder().plugin("pass").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let head = client.head().await.expect("a response");
    assert_eq!(head.status(), 200);
    let (mut length, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match within("more of the body", client.stream().read(&mut buffer)).await.expect("no reset") {
            0 => break,
            n => length += n as u64,
        }
    }
    // What came right behind the head is in the connection's own buffer.
    length += client.rest().await.0.len() as u64;
    assert_eq!(length, LONG);
}
