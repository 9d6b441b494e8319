//! HTTP/2 with prior knowledge on both sides, and the crossings between the versions.

use http::{Request, Response, Version};
use http_body_util::BodyExt;
use odin_tests::h2raw::{self, H2Raw};
use odin_tests::{Connection, HttpBackend, Odin, Protocol, Raw, body, echoed, until, within};
use tokio::sync::watch;
use tokio::task::JoinSet;

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

async fn connect(odin: &Odin, protocol: Protocol) -> Connection {
    match protocol {
        Protocol::Http1 => odin.connect().await,
        Protocol::Http2 => odin.connect_http2().await,
    }
}

#[tokio::test]
async fn every_version_reaches_every_version() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let mut client = connect(&odin, downstream).await;
            for length in [0usize, 1, 100_000] {
                let content = vec![b'x'; length];
                let request = Request::put("/a%20b?q=1").header("host", "some.example:81").header("x-a", "1");
                let response = client.send(request.body(body::full(content.clone())).unwrap()).await.has_status(200);
                let version = if downstream == Protocol::Http2 { Version::HTTP_2 } else { Version::HTTP_11 };
                assert_eq!(response.version, version);
                let seen = response.json();
                let wanted = if upstream == Protocol::Http2 { "HTTP/2.0" } else { "HTTP/1.1" };
                assert_eq!(seen["version"], wanted);
                assert_eq!((&seen["method"], &seen["path"]), (&"PUT".into(), &"/a%20b?q=1".into()));
                assert_eq!(seen["length"], length, "{downstream:?} to {upstream:?}");
                assert_eq!(echoed(&seen, "x-a"), ["1"]);
                match upstream {
                    Protocol::Http1 => assert_eq!(echoed(&seen, "host"), ["some.example:81"]),
                    Protocol::Http2 => {
                        assert_eq!(seen["authority"], "some.example:81");
                        assert!(echoed(&seen, "host").is_empty(), "{seen}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    for upstream in BOTH {
        let (release, held) = watch::channel(false);
        let backend = HttpBackend::start(upstream, move |_| {
            let mut held = held.clone();
            async move {
                let _ = held.wait_for(|released| *released).await;
                Response::new(body::full("done"))
            }
        })
        .await;
        let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
        let mut first = odin.connect_http2().await;
        let mut streams = JoinSet::new();
        for n in 0..50 {
            let started = first.begin(Request::get(format!("/{n}")).body(body::empty()).unwrap()).await;
            streams.spawn(started);
        }
        // All fifty are at the backend before the first is answered.
        backend.has_seen(50).await;
        release.send_replace(true);
        while let Some(response) = within("the streams end", streams.join_next()).await {
            response.unwrap().has_status(200).has_body("done");
        }
    }
}

#[tokio::test]
async fn a_stalled_stream_holds_no_other_back() {
    for upstream in BOTH {
        let backend = HttpBackend::start(upstream, |request| async move {
            match request.uri().path() {
                "/long" => Response::new(body::long(256 << 20)),
                _ => Response::new(body::full("short")),
            }
        })
        .await;
        let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
        // One window for the whole connection would be used up by the stalled stream; hyper's client gives each stream
        // less than the connection has.
        let mut client = odin.connect_http2().await;
        let stalled = client.start(Request::get("/long").body(body::empty()).unwrap()).await;
        for _ in 0..5 {
            client.get("/short").await.has_status(200).has_body("short");
        }
        drop(stalled);
        client.get("/short").await.has_status(200);
        assert!(odin.resident_bytes() < 64 << 20, "{} bytes resident", odin.resident_bytes());
    }
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_reset_upstream() {
    for upstream in BOTH {
        let (gone, mut is_gone) = watch::channel(false);
        let gone = std::sync::Arc::new(gone);
        let backend = HttpBackend::start(upstream, move |_| {
            let gone = std::sync::Arc::clone(&gone);
            async move {
                let (feed, content) = body::by_hand();
                tokio::spawn(async move {
                    while feed.send(vec![b'x'; 1000]).await {}
                    gone.send_replace(true);
                });
                Response::new(content)
            }
        })
        .await;
        let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
        let mut client = odin.connect_http2().await;
        let response = client.start(Request::get("/").body(body::empty()).unwrap()).await;
        drop(response);
        within("the backend stops sending", is_gone.wait_for(|gone| *gone)).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_the_client_cancels_is_never_complete_upstream() {
    let mut completed = Vec::new();
    for upstream in BOTH {
        for code in [0, 8, 2] {
            let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
            let backend = HttpBackend::start(upstream, move |request| {
                let sender = sender.clone();
                async move {
                    let mut incoming = request.into_body();
                    let first = incoming.frame().await;
                    let _ = sender.send(format!("{:?}", first.map(|frame| frame.is_ok())));
                    let end = body::digest(incoming).await;
                    let _ = sender.send(format!("{:?}", end.map(|_| "complete").map_err(|_| "broken off")));
                    Response::new(body::empty())
                }
            })
            .await;
            let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
            let mut client = H2Raw::client(odin.address("web")).await;
            let fields: h2raw::Fields<'_> =
                &[(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];
            client.send([h2raw::headers(1, fields, false), h2raw::data(1, b"half of it", false)].concat()).await;
            assert_eq!(within("half of the body", seen.recv()).await.unwrap(), "Some(true)");
            client.send(h2raw::reset(1, code)).await;
            let what = format!("the end of the body over {upstream:?} after RST_STREAM {code}");
            let end = within(&what, seen.recv()).await.unwrap();
            // The backend's own library takes a cancellation for a normal end; over HTTP/1 there is no such doubt.
            if end != "Err(\"broken off\")" && upstream == Protocol::Http1 {
                completed.push(code);
            }
        }
    }
    assert!(completed.is_empty(), "complete upstream after RST_STREAM with {completed:?}");
}

#[tokio::test]
async fn cookies_in_pieces_become_one_field_for_http1() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let request = Request::get("/").header("cookie", "a=1").header("cookie", "b=2").body(body::empty()).unwrap();
    let seen = odin.connect_http2().await.send(request).await.has_status(200).json();
    assert_eq!(echoed(&seen, "cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn a_post_of_unknown_length_is_chunked_for_http1() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let request = Request::post("/").body(body::long(300_000)).unwrap();
    let seen = odin.connect_http2().await.send(request).await.has_status(200).json();
    assert_eq!((&seen["length"], &seen["sha256"]), (&300_000.into(), &body::long_digest(300_000).into()));
    assert_eq!(echoed(&seen, "transfer-encoding"), ["chunked"]);
    assert!(echoed(&seen, "content-length").is_empty());
}

#[tokio::test]
async fn fields_of_an_http1_connection_do_not_reach_http2() {
    let backend = HttpBackend::echo(Protocol::Http2).await;
    let odin = Odin::builder().upstream(Protocol::Http2).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: x-mine, keep-alive\r\nKeep-Alive: 5\r\nX-Mine: 1\r\nTE: trailers, gzip\r\n\
             Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        )
        .await;
    let response = client.response("POST").await.unwrap();
    assert_eq!(response.head.status(), 200);
    let seen: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(seen["body"], "hi");
    for name in ["connection", "keep-alive", "x-mine", "proxy-connection", "upgrade", "transfer-encoding", "host"] {
        assert!(echoed(&seen, name).is_empty(), "{name}: {seen}");
    }
    assert!(echoed(&seen, "te").iter().all(|te| te == "trailers"), "{seen}");
}

#[tokio::test]
async fn an_upstream_that_says_goodbye_is_connected_anew() {
    let backend = HttpBackend::echo(Protocol::Http2).await;
    let odin = Odin::builder().upstream(Protocol::Http2).target(&backend).start().await;
    odin.get("/").await.has_status(200);
    backend.goodbye();
    // From here on the old connection takes no new streams; none of these may fail.
    for _ in 0..10 {
        odin.get("/").await.has_status(200);
    }
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn both_versions_share_one_port() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let (mut one, mut two) = (odin.connect().await, odin.connect_http2().await);
    for _ in 0..3 {
        one.get("/").await.has_status(200);
        two.get("/").await.has_status(200);
    }
    // The preface may come in pieces.
    let mut slow = odin.connect_raw().await;
    for piece in odin_tests::h2raw::PREFACE.chunks(5) {
        slow.send(piece).await;
        one.get("/").await.has_status(200);
    }
    slow.send(odin_tests::h2raw::frame(odin_tests::h2raw::kind::SETTINGS, 0, 0, &[])).await;
    assert_eq!(slow.read(9).await[3], odin_tests::h2raw::kind::SETTINGS);
}

/// An upstream closes a connection on which too many streams are begun and given up.
#[tokio::test]
async fn clients_whose_bodies_make_no_sense_do_not_end_the_exchanges_of_others() {
    let backend = HttpBackend::echo(Protocol::Http2).await;
    let odin = Odin::builder().workers(1).upstream(Protocol::Http2).target(&backend).start().await;
    let address = odin.address("web");
    for round in 0..10 {
        let mut bad = JoinSet::new();
        for number in 0..60 {
            bad.spawn(async move {
                let mut client = Raw::connect(address).await;
                client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
                if number % 2 == 0 {
                    // The stream has begun by then, or is about to.
                    tokio::task::yield_now().await;
                }
                client.send("no number\r\n").await;
                client.response("POST").await.expect("an answer").head.status()
            });
        }
        for _ in 0..20 {
            odin.post("/", "whole").await.has_status(200);
        }
        while let Some(status) = bad.join_next().await {
            assert_eq!(status.unwrap(), 400, "round {round}");
        }
    }
    odin.stop().await;
}

/// How many exchanges the endpoints of an Odin have.
async fn active(odin: &Odin) -> u64 {
    let all = odin.admin("/clusters").await.has_status(200).json();
    let count = |cluster: &serde_json::Value| cluster["endpoints"][0]["active"].as_u64();
    all.as_array().into_iter().flatten().filter_map(count).sum()
}

/// It finds them given up as soon as it finds them begun: it stood still meanwhile.
#[tokio::test]
async fn bodies_that_go_wrong_all_at_once_do_not_end_the_exchange_of_another() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let upstream = Odin::builder().workers(1).target(&backend).start().await;
    let odin = Odin::builder().workers(1).upstream(Protocol::Http2).target(&upstream.address("web")).start().await;
    let mut whole = odin.connect_raw().await;
    whole.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await;
    until("it has begun", async || (active(&upstream).await == 1).then_some(())).await;

    upstream.freeze().await;
    let mut bad = Vec::new();
    for _ in 0..60 {
        let mut client = odin.connect_raw().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        bad.push(client);
    }
    until("all have begun", async || (active(&odin).await == 61).then_some(())).await;
    for client in &mut bad {
        client.send("no number\r\n").await;
    }
    for client in &mut bad {
        assert_eq!(client.response("POST").await.expect("an answer").head.status(), 400);
    }
    upstream.thaw();
    whole.send("world").await;
    assert_eq!(whole.response("POST").await.expect("an answer").head.status(), 200);
}
