//! Every timeout ends what it is for, with the status that says so, and nothing else.

use std::time::Instant;

use http::Request;
use odin_tests::{BlackHole, BodyEnd, Builder, HttpBackend, Odin, Protocol, RawBackend, body, within};

fn with_timeouts(lines: &str) -> Builder {
    Odin::builder().section(&format!("[timeouts]\n{lines}"))
}

#[tokio::test]
async fn an_endpoint_that_does_not_complete_the_connect_is_given_up() {
    let (hole, live) = (BlackHole::open(), HttpBackend::echo(Protocol::Http1).await);
    let odin = with_timeouts("connect = \"300ms\"").balancer("lb_first").target(&hole).target(&live).start().await;
    let started = Instant::now();
    odin.post("/", "kept").await.has_status(200);
    assert!(started.elapsed().as_millis() >= 300, "the endpoint was not tried");
}

#[tokio::test]
async fn when_no_endpoint_completes_the_connect_the_client_is_told() {
    let hole = BlackHole::open();
    let odin = with_timeouts("connect = \"300ms\"").target(&hole).start().await;
    let response = odin.get("/").await;
    assert!(matches!(response.status.as_u16(), 502..=504), "{response:?}");
    response.mentions("odin: ");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_504() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let backend = RawBackend::silent().await;
        for timeout in ["response", "request"] {
            let line = format!("{timeout} = \"400ms\"");
            let odin = with_timeouts(&line).upstream(protocol).target(&backend).start().await;
            for mut client in [odin.connect().await, odin.connect_http2().await] {
                println!("{timeout}: {protocol:?} upstream");
                client.get("/").await.has_status(504).mentions("odin: ");
            }
        }
    }
}

#[tokio::test]
async fn an_upstream_that_answers_in_time_may_take_its_time_with_the_body() {
    let (feed, content) = body::by_hand();
    let content = std::sync::Mutex::new(Some(content));
    let backend = HttpBackend::start(Protocol::Http1, move |_| {
        let content = content.lock().unwrap().take().unwrap();
        async move { http::Response::new(content) }
    })
    .await;
    let odin = with_timeouts("response = \"300ms\"").target(&backend).start().await;
    let mut client = odin.connect().await;
    let response = client.start(Request::get("/").body(body::empty()).unwrap()).await;
    let started = Instant::now();
    let mut turn = tokio::time::interval(std::time::Duration::from_millis(50));
    while started.elapsed().as_millis() < 600 {
        turn.tick().await;
        assert!(feed.send("piece ").await, "the body was cut off");
    }
    drop(feed);
    assert!(body::digest(response.into_body()).await.unwrap().0 > 0);
}

#[tokio::test]
async fn an_exchange_that_takes_longer_than_it_may_is_visibly_truncated() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let backend = HttpBackend::start(upstream, |_| async {
            let (feed, content) = body::by_hand();
            tokio::spawn(async move {
                let mut turn = tokio::time::interval(std::time::Duration::from_millis(20));
                while feed.send("piece ").await {
                    turn.tick().await;
                }
            });
            http::Response::new(content)
        })
        .await;
        let odin = with_timeouts("request = \"400ms\"").upstream(upstream).target(&backend).start().await;
        for mut client in [odin.connect().await, odin.connect_http2().await] {
            println!("{upstream:?} upstream");
            let response = client.start(Request::get("/").body(body::empty()).unwrap()).await;
            let end = within("the body is cut off", body::digest(response.into_body())).await;
            assert!(end.is_err(), "{end:?}");
        }
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_is_a_408() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_timeouts("header = \"400ms\"").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHos").await;
    let response = client.response("GET").await.unwrap();
    assert_eq!(response.head.status(), 408);
    client.ends().await;
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_head_that_drips_in_is_no_better() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_timeouts("header = \"500ms\"").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let mut turn = tokio::time::interval(std::time::Duration::from_millis(50));
    let dripping = async {
        loop {
            turn.tick().await;
            if client.try_send("X-Drip: drop\r\n").await.is_err() {
                return;
            }
        }
    };
    within("the dripping client is cut off", dripping).await;
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_timeouts("header = \"300ms\"\nidle = \"300ms\"").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.rest().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_timeouts("idle = \"300ms\"").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response("GET").await.unwrap().head.status(), 200);
    }
    client.ends().await;
    let mut client = odin.connect_http2().await;
    client.get("/").await.has_status(200);
    client.closed().await;
}

#[tokio::test]
async fn a_request_body_that_stalls_is_given_up() {
    let (sender, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut connection, _| {
        let sender = sender.clone();
        async move {
            let Some(head) = connection.head().await else { return };
            let _ = sender.send(connection.body(&head, "").await.2);
        }
    })
    .await;
    let odin = with_timeouts("idle = \"300ms\"").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    let end = within("the upstream is cut off", ends.recv()).await.unwrap();
    assert!(matches!(end, BodyEnd::Truncated(_)), "{end:?}");
    if let Some(response) = client.response("POST").await {
        assert_eq!(response.head.status(), 408);
    }
    client.ends().await;
}

#[tokio::test]
async fn a_response_body_that_stalls_is_visibly_truncated() {
    let backend = RawBackend::stalling_after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let odin = with_timeouts("idle = \"300ms\"").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.response("GET").await.unwrap();
    assert_eq!(response.body, b"half");
    assert!(matches!(response.end, BodyEnd::Truncated(_)), "{response:?}");
}

#[tokio::test]
async fn a_body_that_moves_is_not_idle() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_timeouts("idle = \"300ms\"").target(&backend).start().await;
    let (feed, content) = body::by_hand();
    let mut client = odin.connect().await;
    let answer = tokio::spawn(async move { client.send(Request::post("/").body(content).unwrap()).await });
    let mut turn = tokio::time::interval(std::time::Duration::from_millis(60));
    for _ in 0..12 {
        turn.tick().await;
        assert!(feed.send("piece ").await);
    }
    drop(feed);
    let seen = answer.await.unwrap().has_status(200).json();
    assert_eq!(seen["length"], 12 * 6);
}
