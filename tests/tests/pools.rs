//! The connections that Odin keeps to its upstreams: how many there are, who shares them, and what becomes of a request
//! whose connection is full, refuses it, or is dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::Response;
use odin_tests::h2raw::{self, H2Raw};
use odin_tests::{BlackHole, Builder, HttpBackend, Odin, Protocol, RawBackend, body, within};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const REFUSED_STREAM: u32 = 7;

fn limited(lines: &str) -> Builder {
    Odin::builder().section(&format!("[limits]\n{lines}"))
}

/// A backend that holds every request until it is released, and counts those that it has.
struct Holding {
    backend: HttpBackend,
    release: watch::Sender<bool>,
}

impl Holding {
    async fn start(protocol: Protocol) -> Holding {
        let (release, held) = watch::channel(false);
        let backend = HttpBackend::start(protocol, move |_| {
            let mut held = held.clone();
            async move {
                let _ = held.wait_for(|released| *released).await;
                Response::new(body::full("done"))
            }
        })
        .await;
        Holding { backend, release }
    }
}

/// So many requests at once, each on a connection of its own; answers their statuses.
fn ask(odin: &Odin, requests: usize) -> JoinSet<u16> {
    let address = odin.address("web");
    let mut asking = JoinSet::new();
    for _ in 0..requests {
        asking.spawn(async move {
            let mut client = odin_tests::Raw::connect(address).await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            client.response("GET").await.map_or(0, |response| response.head.status())
        });
    }
    asking
}

async fn statuses(mut asking: JoinSet<u16>) -> Vec<u16> {
    let mut all = Vec::new();
    while let Some(status) = within("an answer", asking.join_next()).await {
        all.push(status.unwrap());
    }
    all.sort_unstable();
    all
}

#[tokio::test]
async fn a_burst_that_comes_again_finds_its_connections() {
    const BURST: usize = 200;
    let Holding { backend, release } = Holding::start(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    for round in 1..=3 {
        release.send_replace(false);
        let asking = ask(&odin, BURST);
        backend.has_seen(round * BURST).await;
        release.send_replace(true);
        assert_eq!(statuses(asking).await, vec![200; BURST]);
    }
    assert_eq!(backend.connections(), BURST, "no connection was opened twice");
}

#[tokio::test]
async fn what_lies_idle_is_closed_by_time() {
    let (sender, mut closed) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut connection, _| {
        let sender = sender.clone();
        async move {
            while connection.head().await.is_some() {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
            let _ = sender.send(());
        }
    })
    .await;
    let odin = Odin::builder().section("[timeouts]\nupstream-idle = \"1s\"").target(&backend).start().await;
    odin.get("/").await.has_status(200);
    within("the idle connection is closed", closed.recv()).await.unwrap();
    odin.get("/").await.has_status(200);
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn connections_in_use_are_limited_and_who_finds_none_waits() {
    let Holding { backend, release } = Holding::start(Protocol::Http1).await;
    let odin = limited("upstream-connections = 2\n[timeouts]\nqueue = \"0s\"").target(&backend).start().await;
    let asking = ask(&odin, 5);
    backend.has_seen(2).await;
    // Room for one more is made by each that ends, and by nothing else.
    release.send_replace(true);
    assert_eq!(statuses(asking).await, vec![200; 5]);
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn who_waits_too_long_for_a_connection_is_told() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let Holding { backend, release } = Holding::start(protocol).await;
        let odin = limited("upstream-connections = 1\nstreams-per-upstream = 1\n[timeouts]\nqueue = \"100ms\"")
            .upstream(protocol)
            .target(&backend)
            .start()
            .await;
        let first = ask(&odin, 1);
        backend.has_seen(1).await;
        assert_eq!(statuses(ask(&odin, 2)).await, [503, 503], "{protocol:?}");
        let line = odin.access_log_contains(&["503"]).await;
        assert!(line.contains("no upstream connection available"), "{line}");
        release.send_replace(true);
        assert_eq!(statuses(first).await, [200]);
        assert_eq!(statuses(ask(&odin, 1)).await, [200], "the place is free again");
    }
}

#[tokio::test]
async fn streams_share_connections_up_to_the_limit_of_the_config() {
    let Holding { backend, release } = Holding::start(Protocol::Http2).await;
    let odin = limited("streams-per-upstream = 20").upstream(Protocol::Http2).target(&backend).start().await;
    let asking = ask(&odin, 100);
    // All of them at the same time: none waits for another.
    backend.has_seen(100).await;
    assert_eq!(backend.connections(), 5);
    release.send_replace(true);
    assert_eq!(statuses(asking).await, vec![200; 100]);
}

/// An HTTP/2 upstream that allows so many streams on a connection, and answers none before all `wanted` have come.
async fn narrow(streams: u32, wanted: usize) -> (RawBackend, Arc<AtomicUsize>) {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let all = Arc::new(tokio::sync::Barrier::new(wanted));
    let backend = RawBackend::start(move |raw, _| {
        let (came, all) = (Arc::clone(&counted), Arc::clone(&all));
        async move {
            let Some(mut server) = H2Raw::server_with(raw, &[(MAX_CONCURRENT_STREAMS, streams)]).await else { return };
            let mut mine = Vec::new();
            let mut waiting = JoinSet::new();
            while let Some((stream, _, _)) = server.request().await {
                mine.push(stream);
                came.fetch_add(1, SeqCst);
                let all = Arc::clone(&all);
                waiting.spawn(async move { all.wait().await });
                if mine.len() == streams as usize {
                    while waiting.join_next().await.is_some() {}
                    for stream in mine.drain(..) {
                        server.send(h2raw::headers(stream, &[(b":status", b"200")], true)).await;
                    }
                }
            }
        }
    })
    .await;
    (backend, came)
}

#[tokio::test]
async fn an_upstream_that_allows_few_streams_is_given_no_more() {
    // What came over the limit would be refused; what waited for a stream would keep all from being answered.
    let (backend, came) = narrow(10, 130).await;
    let odin = Odin::builder().upstream(Protocol::Http2).target(&backend).start().await;
    let asking = ask(&odin, 130);
    assert_eq!(statuses(asking).await, vec![200; 130]);
    assert_eq!((came.load(SeqCst), backend.connections()), (130, 13));
}

#[tokio::test]
async fn a_refused_stream_is_sent_again() {
    for content in ["", "a body"] {
        let (sender, mut refused) = mpsc::unbounded_channel();
        let backend = RawBackend::start(move |raw, number| {
            let sender = sender.clone();
            async move {
                let Some(mut server) = H2Raw::server(raw).await else { return };
                let mut first = number == 0;
                while let Some((stream, _, _)) = server.request().await {
                    if std::mem::take(&mut first) {
                        let _ = sender.send(());
                        server.send(h2raw::reset(stream, REFUSED_STREAM)).await;
                    } else {
                        server.send(h2raw::headers(stream, &[(b":status", b"200")], true)).await;
                    }
                }
            }
        })
        .await;
        let odin = Odin::builder().upstream(Protocol::Http2).target(&backend).start().await;
        odin.post("/", content).await.has_status(200);
        assert!(refused.try_recv().is_ok(), "the first was refused");
    }
}

#[tokio::test]
async fn a_dead_connection_is_found_out_by_a_ping_and_costs_no_request() {
    let backend = RawBackend::start(move |raw, number| async move {
        let Some(mut server) = H2Raw::server(raw).await else { return };
        let Some((stream, _, _)) = server.request().await else { return };
        server.send(h2raw::headers(stream, &[(b":status", b"200")], true)).await;
        if number == 0 {
            // It reads no more, and answers nothing: its peer's pings neither.
            std::future::pending::<()>().await;
        }
        server.request().await;
    })
    .await;
    let odin = Odin::builder()
        .section("[timeouts]\nhttp2-ping = \"500ms\"\nresponse = \"60s\"")
        .upstream(Protocol::Http2)
        .target(&backend)
        .start()
        .await;
    odin.get("/").await.has_status(200);
    odin.get("/again").await.has_status(200);
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn an_upload_that_drips_is_given_up() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = limited("body-rate = 1000").target(&backend).start().await;
    let mut dripping = JoinSet::new();
    let (http1, http2) = (odin.connect_raw().await, H2Raw::client(odin.address("web")).await);
    dripping.spawn(drip_http1(http1));
    dripping.spawn(drip_http2(http2));
    while let Some(status) = dripping.join_next().await {
        assert_eq!(status.unwrap(), 408);
    }
    odin.access_log_contains(&["blame=downstream", "comes at less than 1000 bytes a second"]).await;
}

/// A byte now and then, until there is an answer.
async fn drip_http1(mut client: odin_tests::Raw) -> u16 {
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await;
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            readable = client.stream().readable() => {
                readable.unwrap();
                return client.response("POST").await.map_or(0, |response| response.head.status());
            }
            _ = pause.tick() => client.send("x").await,
        }
    }
}

async fn drip_http2(mut client: H2Raw) -> u16 {
    let post: h2raw::Fields<'_> =
        &[(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];
    client.send(h2raw::headers(1, post, false)).await;
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            // The first thing that is not settings or credit: the head of the answer.
            outcome = client.outcome(1) => return outcome.status().unwrap_or(0),
            _ = pause.tick() => {}
        }
        client.send(h2raw::data(1, b"x", false)).await;
    }
}

#[tokio::test]
async fn a_client_that_ends_its_side_while_it_waits_has_gone_unless_the_config_says_otherwise() {
    for half_close in [false, true] {
        let (sender, mut ended) = mpsc::unbounded_channel();
        let backend = RawBackend::start(move |mut connection, _| {
            let sender = sender.clone();
            async move {
                connection.head().await;
                let _ = sender.send("asked");
                if !half_close {
                    connection.rest().await;
                    let _ = sender.send("gone");
                    return;
                }
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                connection.rest().await;
            }
        })
        .await;
        let odin = Odin::builder().in_listener(&format!("half-close = {half_close}\n")).target(&backend).start().await;
        let mut client = odin.connect_raw().await;
        client.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n").await;
        if half_close {
            client.finish().await;
            assert_eq!(client.response("GET").await.unwrap().head.status(), 200);
            continue;
        }
        assert_eq!(within("the request upstream", ended.recv()).await, Some("asked"));
        client.finish().await;
        assert_eq!(within("the end upstream", ended.recv()).await, Some("gone"));
        let line = odin.access_log_contains(&["/half", "499"]).await;
        assert!(line.contains("blame=downstream"), "{line}");
    }
}

#[tokio::test]
async fn many_requests_that_find_no_connection_open_as_few_as_they_need() {
    let Holding { backend, release } = Holding::start(Protocol::Http2).await;
    let odin = Odin::builder().upstream(Protocol::Http2).target(&backend).start().await;
    let asking = ask(&odin, 60);
    backend.has_seen(60).await;
    assert_eq!(backend.connections(), 1, "they share the connection that is being opened");
    release.send_replace(true);
    assert_eq!(statuses(asking).await, vec![200; 60]);
}

#[tokio::test]
async fn a_connect_that_is_never_completed_costs_none_of_those_that_share_it() {
    let (hole, backend) = (BlackHole::open(), HttpBackend::echo(Protocol::Http2).await);
    let odin = Odin::builder()
        .section("[timeouts]\nconnect = \"300ms\"")
        .upstream(Protocol::Http2)
        .target(&hole)
        .target(&backend)
        .start()
        .await;
    assert_eq!(statuses(ask(&odin, 20)).await, vec![200; 20]);
}
