//! HTTP/1.1 Upgrade: a WebSocket by a real client library, and what must not slip through around the switch.

use futures_util::{SinkExt, StreamExt};
use http::Request;
use odin_tests::{Ending, HttpBackend, Odin, Protocol, Raw, RawBackend, Target, TcpPeer, body, within};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// A WebSocket server that sends back what it receives.
async fn websocket_echo() -> TcpPeer {
    TcpPeer::start(|stream, _| async move {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// The answer to that key (RFC 6455, section 1.3).
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[tokio::test]
async fn a_websocket_echoes() {
    let backend = websocket_echo().await;
    let odin = Odin::builder().target(&backend).start().await;
    let url = format!("ws://{}/chat", odin.address("web"));
    let (mut socket, response) =
        within("the handshake", tokio_tungstenite::connect_async(url)).await.expect("the handshake succeeds");
    assert_eq!(response.status(), 101);
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0, 1, 255]),
        Message::binary(vec![7; 3 << 20]),
        Message::text("still there"),
    ] {
        let (mut sender, mut receiver) = (&mut socket).split();
        let (sent, received) =
            within("the echo", async { tokio::join!(sender.send(message.clone()), receiver.next()) }).await;
        sent.unwrap();
        assert!(received.unwrap().unwrap() == message, "a message came back changed");
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the goodbye", socket.next()).await {}
    drop(socket);
    odin.access_log_contains(&["/chat", "101"]).await;
    odin.stop().await;
}

#[tokio::test]
async fn nothing_that_follows_an_upgrade_request_is_forwarded_before_the_101() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let (allow, allowed) = tokio::sync::watch::channel(false);
    let backend = RawBackend::start(move |mut connection, _| {
        let (sender, mut allowed) = (sender.clone(), allowed.clone());
        async move {
            connection.head().await;
            allowed.wait_for(|allowed| *allowed).await.unwrap();
            let mut early = [0; 100];
            let early = connection.stream().try_read(&mut early).ok();
            let _ = sender.send(format!("{early:?}"));
            connection.send([SWITCH, "from the server"].concat()).await;
            let _ = sender.send(String::from_utf8(connection.read(15).await).unwrap());
        }
    })
    .await;
    let echo = TcpPeer::echo("").await;
    let odin = Odin::builder().target(&backend).tcp_target(&echo).start().await;
    let mut client = odin.connect_raw().await;
    client.send([UPGRADE, "from the client"].concat()).await;
    odin_tests::until("the backend has the request", || async { (backend.connections() == 1).then_some(()) }).await;
    // The same worker does other work meanwhile: it had every chance to forward too early.
    let mut beside = odin.connect_tcp().await;
    for _ in 0..20 {
        beside.send("turn").await;
        assert_eq!(beside.read(4).await, b"turn");
    }
    allow.send_replace(true);
    assert_eq!(seen.recv().await.unwrap(), "None");
    assert_eq!(client.head().await.unwrap().status(), 101);
    assert_eq!(client.read(15).await, b"from the server");
    assert_eq!(seen.recv().await.unwrap(), "from the client");
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_an_ordinary_exchange() {
    let backend = HttpBackend::start(Protocol::Http1, |request| async move {
        let upgrading = request.headers().contains_key("upgrade");
        let mut response = http::Response::new(body::full(format!("upgrade asked: {upgrading}")));
        *response.status_mut() = http::StatusCode::FORBIDDEN;
        response
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send(UPGRADE).await;
    let refused = client.response("GET").await.unwrap();
    assert_eq!((refused.head.status(), refused.body.as_slice()), (403, &b"upgrade asked: true"[..]));
}

#[tokio::test]
async fn the_next_request_after_a_refused_upgrade_is_read_as_a_request_or_not_at_all() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send([UPGRADE, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
    assert_eq!(client.response("GET").await.unwrap().head.status(), 200);
    if let Some(next) = client.response("GET").await {
        let seen: serde_json::Value = serde_json::from_slice(&next.body).unwrap();
        assert_eq!(seen["path"], "/next");
    }
    assert!(backend.paths().iter().all(|path| path == "/chat" || path == "/next"), "{:?}", backend.paths());
}

#[tokio::test]
async fn an_unasked_101_is_a_502_and_the_upstream_is_cut_off() {
    let (sender, mut ends) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut connection, _| {
        let sender = sender.clone();
        async move {
            connection.head().await;
            connection.send([SWITCH, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"].concat()).await;
            let _ = sender.send(connection.rest().await.0);
        }
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    for mut client in [odin.connect().await, odin.connect_http2().await] {
        client.send(Request::get("/").body(body::empty()).unwrap()).await.has_status(502);
        assert_eq!(ends.recv().await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_101_to_another_protocol_than_was_asked_for_is_a_502() {
    let backend =
        RawBackend::answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n").await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send(UPGRADE).await;
    assert_eq!(client.response("GET").await.unwrap().head.status(), 502);
}

#[tokio::test]
async fn a_tunnel_half_closes_like_a_tcp_relay() {
    let backend = RawBackend::start(|mut connection, _| async move {
        connection.head().await;
        connection.send(SWITCH).await;
        let (said, _) = connection.rest().await;
        connection.send([b"you said ", said.as_slice()].concat()).await;
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client: Raw = odin.connect_raw().await;
    client.send(UPGRADE).await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    client.send("goodbye").await;
    client.finish().await;
    let (rest, ending) = client.rest().await;
    assert_eq!((rest.as_slice(), ending), (&b"you said goodbye"[..], Ending::Closed));
    assert_ne!(backend.address(), odin.address("web"));
}

#[tokio::test]
async fn the_upgrade_fields_that_the_upstream_sees_are_the_clients() {
    let (sender, mut heads) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut connection, _| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(connection.head().await.unwrap());
            connection.send(SWITCH).await;
        }
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send(UPGRADE).await;
    let switched = client.head().await.unwrap();
    assert!(switched.field("upgrade").is_some_and(|upgrade| upgrade == "websocket"), "{switched:?}");
    let head = heads.recv().await.unwrap();
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert!(head.field("connection").is_some_and(|c| c.eq_ignore_ascii_case("upgrade")), "{head:?}");
    assert_eq!(head.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[tokio::test]
async fn a_handshake_without_a_key_is_refused() {
    let backend = RawBackend::answering(SWITCH).await;
    let odin = Odin::builder().target(&backend).start().await;
    let good = UPGRADE;
    for (what, request) in [
        ("no key", good.replace("Sec-WebSocket-Key", "X-Key")),
        ("a short key", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl")),
        ("two keys", good.replace("Host: a\r\n", "Host: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")),
        ("no GET", good.replace("GET ", "POST ")),
    ] {
        let mut client = odin.connect_raw().await;
        client.send(request).await;
        assert_eq!(client.response("GET").await.unwrap().head.status(), 400, "{what}");
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_101_that_does_not_answer_the_key_is_no_tunnel() {
    for accept in ["", "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"] {
        let backend = RawBackend::answering(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{accept}\r\n"
        ))
        .await;
        let odin = Odin::builder().target(&backend).start().await;
        let mut client = odin.connect_raw().await;
        client.send(UPGRADE).await;
        assert_eq!(client.response("GET").await.unwrap().head.status(), 502, "{accept:?}");
    }
}
