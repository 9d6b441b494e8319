//! SIGTERM: no new connection, everything that runs is finished, exit 0; what does not end in time is cut off.

use http::Request;
use odin_tests::{BodyEnd, HttpBackend, Odin, Protocol, RawBackend, TcpPeer, body, until};
use tokio::net::TcpStream;

async fn refuses_connections(odin: &Odin, address: std::net::SocketAddr) {
    until("the listener is closed", || async {
        // One that gets in before the listener is closed is given up at once.
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    assert!(odin.log().all().len() > 1);
}

#[tokio::test]
async fn a_response_that_streams_is_finished() {
    for downstream in [Protocol::Http1, Protocol::Http2] {
        let (feed, content) = body::by_hand();
        let content = std::sync::Mutex::new(Some(content));
        let backend = HttpBackend::start(Protocol::Http1, move |_| {
            let content = content.lock().unwrap().take().unwrap();
            async move { http::Response::new(content) }
        })
        .await;
        let mut odin = Odin::builder().workers(2).target(&backend).start().await;
        let address = odin.address("web");
        let mut client = match downstream {
            Protocol::Http1 => odin.connect().await,
            Protocol::Http2 => odin.connect_http2().await,
        };
        let response = client.start(Request::get("/").body(body::empty()).unwrap()).await;
        assert!(feed.send("before, ").await);
        odin.terminate();
        refuses_connections(&odin, address).await;
        assert!(odin.is_running());
        assert!(feed.send("after").await);
        drop(feed);
        let (length, _) = body::digest(response.into_body()).await.unwrap();
        assert_eq!(length, 13);
        client.closed().await;
        let finished = odin.finished().await;
        assert!(finished.success(), "{finished:?}");
    }
}

#[tokio::test]
async fn idle_connections_do_not_hold_the_exit_up() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let (mut one, mut two) = (odin.connect().await, odin.connect_http2().await);
    one.get("/").await.has_status(200);
    two.get("/").await.has_status(200);
    let silent = odin.connect_raw().await;
    let started = std::time::Instant::now();
    odin.stop().await;
    // The grace is ten seconds.
    assert!(started.elapsed().as_secs() < 5, "idle connections held the exit up for {:?}", started.elapsed());
    one.closed().await;
    two.closed().await;
    drop(silent);
}

#[tokio::test]
async fn a_tcp_connection_is_finished() {
    let backend = TcpPeer::echo("").await;
    let odin = Odin::builder().tcp_target(&backend).start().await;
    let mut client = odin.connect_tcp().await;
    client.send("before").await;
    assert_eq!(client.read(6).await, b"before");
    let address = odin.address("tcp");
    odin.terminate();
    refuses_connections(&odin, address).await;
    client.send("after").await;
    client.finish().await;
    assert_eq!(client.rest().await.0, b"after");
    assert!(odin.finished().await.success());
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_cut_off() {
    let backend = RawBackend::start(|mut connection, _| async move {
        connection.head().await;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        connection.rest().await;
    })
    .await;
    let odin = Odin::builder().top("shutdown-grace = \"300ms\"").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    let started = std::time::Instant::now();
    odin.stop().await;
    assert!(started.elapsed().as_millis() >= 300);
    let (rest, _) = client.rest().await;
    assert_eq!(rest, b"half");
}

#[tokio::test]
async fn the_last_response_says_that_the_connection_ends() {
    let (release, held) = tokio::sync::watch::channel(false);
    let backend = HttpBackend::start(Protocol::Http1, move |_| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|released| *released).await;
            http::Response::new(body::full("last"))
        }
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    backend.has_seen(1).await;
    let address = odin.address("web");
    odin.terminate();
    refuses_connections(&odin, address).await;
    release.send_replace(true);
    let response = client.response("GET").await.unwrap();
    assert_eq!((response.body.as_slice(), response.end.clone()), (&b"last"[..], BodyEnd::Complete));
    assert!(response.head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")), "{response:?}");
    client.ends().await;
    assert!(odin.finished().await.success());
}

#[tokio::test]
async fn readiness_ends_before_the_process_does() {
    let backend = RawBackend::silent().await;
    let odin = Odin::builder().target(&backend).start().await;
    assert!(odin.is_ready().await);
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the exchange runs", || async { (backend.connections() == 1).then_some(()) }).await;
    odin.terminate();
    until("odin is not ready any more", || async { (!odin.is_ready().await).then_some(()) }).await;
}

#[tokio::test]
async fn an_interrupt_drains_as_well() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    odin.get("/").await.has_status(200);
    odin.interrupt();
    assert!(odin.finished().await.success());
}
