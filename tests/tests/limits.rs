//! Every limit holds: what is over it is refused with the status that says so, what is under it passes.

use http::Request;
use odin_tests::h2raw::{self, H2Raw, kind};
use odin_tests::{Builder, HttpBackend, Odin, Protocol, RawBackend, body, until};

fn with_limits(lines: &str) -> Builder {
    Odin::builder().section(&format!("[limits]\n{lines}"))
}

fn padded(bytes: usize) -> Request<body::Body> {
    Request::get("/").header("x-pad", "x".repeat(bytes)).body(body::empty()).unwrap()
}

#[tokio::test]
async fn a_head_over_the_limit_is_a_431() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_limits("head-bytes = \"8KiB\"").target(&backend).start().await;
    odin.request(padded(7000)).await.has_status(200);
    odin.request(padded(9000)).await.has_status(431).mentions("odin: ");
    let mut client = odin.connect_raw().await;
    client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000))).await;
    let refused = client.response("GET").await.unwrap();
    assert!(matches!(refused.head.status(), 431 | 414), "{refused:?}");
    client.ends().await;
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn an_http2_head_over_the_limit_is_refused() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_limits("head-bytes = \"8KiB\"").target(&backend).start().await;
    odin.connect_http2().await.send(padded(7000)).await.has_status(200);
    if let Ok(refused) = odin.connect_http2().await.try_send(padded(20_000)).await {
        assert_eq!(refused.status, 431, "{refused:?}");
    }
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn a_head_that_never_ends_is_refused_long_before_memory_does() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    for _ in 0..10_000 {
        if client.try_send(format!("X-Pad: {}\r\n", "x".repeat(1000))).await.is_err() {
            return;
        }
    }
    panic!("ten megabytes of head were taken");
}

#[tokio::test]
async fn more_fields_than_the_limit_are_a_431() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_limits("head-fields = 20").target(&backend).start().await;
    for (fields, status) in [(15, 200), (30, 431)] {
        for mut client in [odin.connect().await, odin.connect_http2().await] {
            let mut request = Request::get("/");
            for n in 0..fields {
                request = request.header(format!("x-{n}"), "1");
            }
            client.send(request.body(body::empty()).unwrap()).await.has_status(status);
        }
    }
    assert_eq!(backend.requests(), 2);
}

#[tokio::test]
async fn a_response_head_over_the_limit_is_a_502() {
    let big = format!("HTTP/1.1 200 OK\r\nX-Pad: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(9000));
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for answer in [big, format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n")] {
        let backend = RawBackend::answering(answer).await;
        let odin = with_limits("head-bytes = \"8KiB\"").target(&backend).start().await;
        odin.get("/").await.has_status(502);
        odin.connect_http2().await.get("/").await.has_status(502);
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait_or_are_closed_and_later_ones_are_served() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_limits("connections = 2").target(&backend).start().await;
    let mut open = vec![odin.connect().await, odin.connect().await];
    for client in &mut open {
        client.get("/").await.has_status(200);
    }
    let mut third = odin.connect_raw().await;
    third.send("GET /third HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for client in &mut open {
        client.get("/").await.has_status(200);
    }
    assert!(!backend.paths().contains(&"/third".to_string()), "a third connection was served");
    open.clear();
    until("there is room again", || async {
        let mut client = odin.connect_raw().await;
        client.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.response("GET").await.filter(|response| response.head.status() == 200)
    })
    .await;
}

#[tokio::test]
async fn tcp_connections_count_as_well() {
    let backend = odin_tests::TcpPeer::echo("hello\n").await;
    let odin = with_limits("connections = 1").tcp_target(&backend).start().await;
    let mut first = odin.connect_tcp().await;
    assert_eq!(first.read(6).await, b"hello\n");
    let second = odin.connect_tcp().await;
    first.send("ping").await;
    assert_eq!(first.read(4).await, b"ping");
    assert_eq!(backend.connections(), 1);
    drop((first, second));
    until("there is room again", || async {
        let greeting = odin.connect_tcp().await.read(6).await;
        (greeting == b"hello\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_stream_limit_is_announced_and_kept() {
    let backend = RawBackend::silent().await;
    let odin = with_limits("streams = 3").target(&backend).start().await;
    let mut client = H2Raw::client(odin.address("web")).await;
    let announced = loop {
        let frame = client.frame().await.expect("Odin says hello");
        if frame.kind == kind::SETTINGS && !frame.payload.is_empty() {
            let setting = |s: &[u8]| (u16::from_be_bytes([s[0], s[1]]), u32::from_be_bytes([s[2], s[3], s[4], s[5]]));
            break frame.payload.chunks_exact(6).map(setting).find(|(name, _)| *name == 3);
        }
    };
    assert_eq!(announced, Some((3, 3)));
    let fields: &[(&[u8], &[u8])] =
        &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];
    for stream in [1, 3, 5, 7] {
        client.send(h2raw::headers(stream, fields, true)).await;
    }
    let refused = client.outcome(7).await;
    assert!(refused.is_broken_off(), "{refused:?}");
}

#[tokio::test]
async fn trailers_over_the_limit_are_refused() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_limits("trailer-bytes = \"1KiB\"").target(&backend).start().await;
    for (length, status) in [(500, 200), (2000, 400)] {
        let mut client = odin.connect_raw().await;
        let trailer = format!("X-T: {}", "x".repeat(length));
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}1\r\na\r\n0\r\n{trailer}\r\n\r\n")).await;
        assert_eq!(client.response("POST").await.unwrap().head.status(), status);
    }
}
