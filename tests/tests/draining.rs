//! SIGTERM: no new connection, everything that runs is finished, exit 0; what does not end in time is cut off.

use http::Request;
use odin_tests::h2raw::{self, H2Raw};
use odin_tests::{
    BodyEnd, Builder, Connection, HttpBackend, Odin, Protocol, Raw, RawBackend, Target, TcpPeer, body, until,
};
use tokio::net::TcpStream;

async fn refuses_connections(address: std::net::SocketAddr) {
    until("the listener is closed", || async {
        // One that gets in before the listener is closed is given up at once.
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
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
        refuses_connections(address).await;
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
    refuses_connections(address).await;
    client.send("after").await;
    client.finish().await;
    assert_eq!(client.rest().await.0, b"after");
    assert!(odin.finished().await.success());
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_cut_off() {
    let backend = RawBackend::stalling_after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
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
    refuses_connections(address).await;
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

/// Two HTTP listeners and a TCP one, of which `gone` and `tcp` can be removed.
fn leaving(backend: &HttpBackend, echo: &TcpPeer, top: &str) -> Builder {
    let listener = |name: &str, protocol: &str, cluster: &str| {
        format!(
            "[[listeners]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ncluster = \"{cluster}\"\n"
        )
    };
    let listeners = [listener("web", "http", "web"), listener("gone", "http", "web"), listener("tcp", "tcp", "tcp")];
    Odin::builder().with_config(format!(
        "workers = 2\nadmin = \"127.0.0.1:0\"\n{top}{}[clusters.web]\nendpoints = [\"{}\"]\n[clusters.tcp]\nendpoints = [\"{}\"]\n",
        listeners.concat(),
        backend.address(),
        echo.address()
    ))
}

/// Takes all listeners but `web` away.
async fn remove(odin: &Odin) {
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    let (from, to) = (text.find("[[listeners]]\nname = \"gone\"").unwrap(), text.find("[clusters.web]").unwrap());
    odin.reload(&format!("{}{}", &text[..from], &text[to..])).await.has_status(200);
}

#[tokio::test]
async fn a_removed_listener_refuses_connections_and_finishes_what_runs() {
    let (release, held) = tokio::sync::watch::channel(false);
    let backend = HttpBackend::start(Protocol::Http1, move |request| {
        let mut held = held.clone();
        async move {
            if request.uri().path() == "/held" {
                let _ = held.wait_for(|released| *released).await;
            }
            http::Response::new(body::full("whole"))
        }
    })
    .await;
    let echo = TcpPeer::echo("").await;
    let odin = leaving(&backend, &echo, "").start().await;
    let (gone, tcp) = (odin.address("gone"), odin.address("tcp"));
    let (mut busy, mut kept, mut unused) =
        (Raw::connect(gone).await, Raw::connect(gone).await, Raw::connect(gone).await);
    let (mut two, mut stays) = (Connection::http2(gone).await, odin.connect().await);
    let mut relay = Raw::connect(tcp).await;
    relay.send("before").await;
    assert_eq!(relay.read(6).await, b"before");
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(kept.response("GET").await.unwrap().head.field("connection"), None);
    two.get("/").await.has_status(200);
    stays.get("/").await.has_status(200);
    let running = two.begin(Request::get("/held").body(body::empty()).unwrap()).await;
    let running = tokio::spawn(running);
    busy.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await;
    backend.has_seen(5).await;

    remove(&odin).await;
    refuses_connections(gone).await;
    refuses_connections(tcp).await;
    // Who uses the connection in these moments gets an answer, and is told that it is the last one.
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let last = kept.response("GET").await.expect("one more answer");
    assert_eq!((last.head.status(), last.head.field("connection")), (200, Some("close")));
    kept.ends().await;
    // Who does not is left alone for some seconds, and then the connection ends.
    unused.ends().await;
    // What runs is whole, however long it takes.
    release.send_replace(true);
    let last = busy.response("GET").await.expect("the answer");
    assert_eq!((last.body.as_slice(), last.end.clone()), (&b"whole"[..], BodyEnd::Complete));
    assert_eq!(last.head.field("connection"), Some("close"));
    busy.ends().await;
    running.await.unwrap().has_status(200).has_body("whole");
    two.closed().await;
    // A relay goes on, and what stays has not noticed.
    relay.send("after").await;
    assert_eq!(relay.read(5).await, b"after");
    relay.finish().await;
    assert_eq!(relay.rest().await.0, b"");
    odin.access_log_contains(&[&echo.address().to_string()]).await;
    stays.get("/").await.has_status(200).lacks_field("connection");
    odin.get("/").await.has_status(200);
    odin.ends_without_errors().await;
}

#[tokio::test]
async fn a_removed_listener_says_goaway() {
    let (backend, echo) = (HttpBackend::echo(Protocol::Http1).await, TcpPeer::echo("").await);
    let odin = leaving(&backend, &echo, "").start().await;
    let gone = odin.address("gone");
    let (mut used, mut unused) = (H2Raw::client(gone).await, H2Raw::client(gone).await);
    let fields: h2raw::Fields<'_> =
        &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];
    used.send(h2raw::headers(1, fields, true)).await;
    assert_eq!(used.outcome(1).await.status(), Some(200));
    remove(&odin).await;
    for client in [&mut used, &mut unused] {
        let goaway = loop {
            let frame = client.frame().await.expect("GOAWAY comes before the end");
            if frame.kind == h2raw::kind::GOAWAY {
                break frame;
            }
        };
        assert_eq!(goaway.payload[4..8], [0; 4], "no error");
        while client.frame().await.is_some() {}
    }
}

#[tokio::test]
async fn what_outlives_a_removed_listener_is_cut_when_the_time_to_drain_is_over() {
    let backend = RawBackend::stalling_after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let (http, echo) = (HttpBackend::echo(Protocol::Http1).await, TcpPeer::echo("").await);
    let builder = leaving(&http, &echo, "drain-timeout = \"2s\"\n");
    let odin = builder.start().await;
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    odin.reload(&text.replace(&http.address().to_string(), &backend.address().to_string())).await.has_status(200);
    let mut endless = Raw::connect(odin.address("gone")).await;
    endless.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    endless.head().await.expect("a head");
    let mut relay = Raw::connect(odin.address("tcp")).await;
    relay.send("before").await;
    assert_eq!(relay.read(6).await, b"before");
    let started = std::time::Instant::now();
    remove(&odin).await;
    relay.send("after").await;
    assert_eq!(relay.read(5).await, b"after");
    assert_eq!(relay.rest().await.0, b"");
    assert_eq!(endless.rest().await.0, b"half");
    assert!(started.elapsed().as_millis() >= 2_000, "{:?}", started.elapsed());
    let line = odin.access_log_contains(&[&echo.address().to_string()]).await;
    assert!(line.contains("drain"), "{line}");
    odin.access_log_contains(&["/endless"]).await;
    odin.stop().await;
}

#[tokio::test]
async fn an_upgrade_does_not_begin_the_drain_of_a_removed_listener_anew() {
    let (http, echo) = (HttpBackend::echo(Protocol::Http1).await, TcpPeer::echo("").await);
    let odin = leaving(&http, &echo, "drain-timeout = \"10s\"\n").start().await;
    let (mut relay, mut idle) = (Raw::connect(odin.address("tcp")).await, Raw::connect(odin.address("gone")).await);
    relay.send("before").await;
    assert_eq!(relay.read(6).await, b"before");
    let started = std::time::Instant::now();
    remove(&odin).await;
    // Closed after five seconds.
    idle.ends().await;
    odin.upgrade().await;
    relay.send("after").await;
    assert_eq!(relay.rest().await.0, b"after");
    // Ten more would be fifteen.
    assert!(started.elapsed().as_secs() < 14, "it lived for {:?}", started.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_the_waiting() {
    let backend = RawBackend::silent().await;
    let mut odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("the exchange runs", || async { (backend.connections() == 1).then_some(()) }).await;
    let address = odin.address("web");
    odin.terminate();
    refuses_connections(address).await;
    assert!(odin.is_running());
    let started = std::time::Instant::now();
    odin.terminate();
    let finished = odin.finished().await;
    // The grace is ten seconds.
    assert!(started.elapsed().as_secs() < 5, "it took {:?}", started.elapsed());
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    finished.says(&["stopped before the drain was over"]);
}
