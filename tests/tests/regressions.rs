//! What once went wrong: bytes in the wrong order, peers that were waited for too long, and ends that did not show.

use std::time::{Duration, Instant};

use http::{Request, Response};
use odin_tests::h2raw::{self, Fields, H2Raw, kind};
use odin_tests::{BodyEnd, Builder, Ending, HttpBackend, Odin, Protocol, RawBackend, Target};
use odin_tests::{body, collect, until, within};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];
const LENGTHS: [usize; 3] = [10_000, 1, 16_384];
const POST: Fields<'_> = &[(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];
const GET: Fields<'_> = &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];

fn with_timeouts(lines: &str) -> Builder {
    Odin::builder().section(&format!("[timeouts]\n{lines}"))
}

/// Content as one chunk, and the chunk that ends the body.
fn one_chunk(content: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n0\r\n\r\n"].concat()
}

/// What differs, without ten thousand octets of it.
#[track_caller]
fn assert_bytes(seen: &[u8], wanted: &[u8]) {
    let same = seen.iter().zip(wanted).take_while(|(one, other)| one == other).count();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[same..bytes.len().min(same + 40)]).into_owned();
    let (here, there) = (shown(seen), shown(wanted));
    assert!(seen == wanted, "{} of {} bytes, from {same} on {here:?}, not {there:?}", seen.len(), wanted.len());
}

#[tokio::test]
async fn the_last_chunk_of_an_upload_comes_after_its_data() {
    for together in [true, false] {
        let (saw_head, mut heads) = unbounded_channel();
        let (saw_body, mut bodies) = unbounded_channel();
        let backend = RawBackend::start(move |mut connection, number| {
            let (saw_head, saw_body) = (saw_head.clone(), saw_body.clone());
            async move {
                for length in LENGTHS {
                    let Some(head) = connection.head().await else { return };
                    let _ = saw_head.send((number, head));
                    let _ = saw_body.send(connection.read(one_chunk(&vec![b'x'; length]).len()).await);
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
                // Nothing may be left behind the last body.
                let _ = saw_body.send(connection.rest().await.0);
            }
        })
        .await;
        let odin = Odin::builder().target(&backend).start().await;
        let mut client = H2Raw::client(odin.address("web")).await;
        for (stream, length) in (1..).step_by(2).zip(LENGTHS) {
            println!("{length} bytes, together with the head: {together}");
            let content = vec![b'x'; length];
            let (start, end) = (h2raw::headers(stream, POST, false), h2raw::data(stream, &content, true));
            if together {
                client.send([start, end].concat()).await;
            } else {
                client.send(start).await;
            }
            let (connection, head) = within("the head upstream", heads.recv()).await.unwrap();
            assert_eq!((connection, head.field("transfer-encoding")), (0, Some("chunked")), "{head:?}");
            if !together {
                client.send(h2raw::data(stream, &content, true)).await;
            }
            let seen = within("the body upstream", bodies.recv()).await.unwrap();
            assert_bytes(&seen, &one_chunk(&content));
            assert_eq!(client.outcome(stream).await.status(), Some(200));
        }
        drop((client, odin));
        assert_bytes(&within("the end of the connection upstream", bodies.recv()).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn the_last_chunk_of_a_download_comes_after_its_data() {
    let backend = RawBackend::start(|connection, _| async move {
        let Some(mut side) = H2Raw::server(connection).await else { return };
        while let Some((stream, head, _)) = side.request().await {
            let path = head.iter().find(|(name, _)| name == ":path").unwrap().1.clone();
            let content = vec![b'x'; path[1..].parse().unwrap()];
            let answer = [h2raw::headers(stream, &[(b":status", b"200")], false), h2raw::data(stream, &content, true)];
            side.send(answer.concat()).await;
        }
    })
    .await;
    let odin = Odin::builder().upstream(Protocol::Http2).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    for length in LENGTHS {
        println!("{length} bytes");
        client.send(format!("GET /{length} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let head = client.head().await.unwrap();
        assert_eq!((head.status(), head.field("transfer-encoding")), (200, Some("chunked")), "{head:?}");
        let wanted = one_chunk(&vec![b'x'; length]);
        assert_bytes(&client.read(wanted.len()).await, &wanted);
    }
    // Nothing is left behind the last body: what follows is the answer to this.
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let last = client.response("GET").await.unwrap();
    assert_eq!((last.head.status(), last.body.as_slice(), last.end), (200, &b"x"[..], BodyEnd::Complete));
    client.ends().await;
}

#[tokio::test]
async fn an_http2_client_that_answers_nothing_is_disconnected() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = with_timeouts("idle = \"1s\"").target(&backend).start().await;
    let settings = h2raw::frame(kind::SETTINGS, 0, 0, &[]);
    let hello = [h2raw::PREFACE, &settings].concat();
    let (mut idle, mut asking) = (odin.connect_raw().await, odin.connect_raw().await);
    idle.send(&hello).await;
    asking.send([hello, h2raw::headers(1, GET, true)].concat()).await;
    // Whatever comes, also a PING behind a GOAWAY, is never answered.
    for client in [&mut idle, &mut asking] {
        within("the silent client is disconnected", client.rest()).await;
    }
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn an_http2_client_that_never_opens_its_window_is_disconnected() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = with_timeouts("idle = \"1s\"").upstream(upstream).target(&backend).start().await;
        // SETTINGS_INITIAL_WINDOW_SIZE = 0.
        let no_window = h2raw::frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let opening = [h2raw::PREFACE, &no_window, &h2raw::headers(1, GET, true)].concat();
        let mut silent = odin.connect_raw().await;
        silent.send(&opening).await;
        // This one lives, and answers what it has to.
        let mut stalled = H2Raw::client(odin.address("web")).await;
        stalled.send([no_window.clone(), h2raw::headers(1, GET, true)].concat()).await;
        let outcome = within("the stalled stream ends", stalled.outcome(1)).await;
        assert_eq!((outcome.status(), outcome.body.len(), outcome.complete), (Some(200), 0, false), "{outcome:?}");
        let ends = async { while stalled.frame().await.is_some() {} };
        within("the stalled client is disconnected", ends).await;
        within("the silent client is disconnected", silent.rest()).await;
    }
}

#[tokio::test]
async fn an_idle_connection_gets_the_endpoints_of_a_reload() {
    let a = HttpBackend::named("a", Protocol::Http1).await;
    let b = HttpBackend::named("b", Protocol::Http1).await;
    let odin = Odin::builder().target(&a).start().await;
    let mut idle = odin.connect().await;
    idle.get("/").await.has_status(200).has_field("backend", "a");
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    std::fs::write(odin.config_file(), text.replace(&a.address().to_string(), &b.address().to_string())).unwrap();
    odin.hang_up();
    // There is one worker: what serves a new connection serves the old one.
    until("the new endpoint serves", || async { (odin.get("/").await.field("backend")? == "b").then_some(()) }).await;
    let before = a.requests();
    idle.get("/").await.has_status(200).has_field("backend", "b");
    assert_eq!(a.requests(), before);
}

#[tokio::test]
async fn a_body_cut_short_is_a_reset_for_an_http1_0_client() {
    let (cut, cuts) = tokio::sync::watch::channel(0);
    let backend = RawBackend::start(move |mut connection, number| {
        let mut cuts = cuts.clone();
        async move {
            connection.head().await;
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
            let _ = cuts.wait_for(|cuts| *cuts > number).await;
        }
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    for number in 1..=5 {
        let mut client = odin.connect_raw().await;
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert_eq!((head.status(), head.field("transfer-encoding")), (200, None), "{head:?}");
        assert_eq!(client.read(4).await, b"half");
        cut.send_replace(number);
        assert_eq!(client.ends().await, Ending::Reset);
    }
}

#[tokio::test]
async fn nothing_behind_malformed_trailers_is_a_request() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
        let mut client = odin.connect_raw().await;
        let head = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let second = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send([head, "2\r\nhi\r\n0\r\n bad\r\n\r\n", second].concat()).await;
        let response = client.response("POST").await.unwrap();
        assert_eq!((response.head.status(), response.end), (400, BodyEnd::Complete), "{upstream:?}");
        client.ends().await;
        assert!(!backend.paths().contains(&"/second".to_string()), "{:?}", backend.paths());
    }
}

#[tokio::test]
async fn a_response_that_came_early_waits_for_the_upload() {
    let mut exchanges = JoinSet::new();
    for upstream in BOTH {
        for downstream in BOTH {
            exchanges.spawn(async move {
                // Its head is out at once, its body says how much arrived in the end.
                let backend = HttpBackend::start(upstream, |request| async move {
                    let (feed, content) = body::by_hand();
                    tokio::spawn(async move {
                        let end = body::digest(request.into_body()).await.map(|(length, _)| length);
                        feed.send(format!("{end:?}")).await;
                    });
                    Response::new(content)
                })
                .await;
                let odin = with_timeouts("idle = \"1s\"").upstream(upstream).target(&backend).start().await;
                let mut client = match downstream {
                    Protocol::Http1 => odin.connect().await,
                    Protocol::Http2 => odin.connect_http2().await,
                };
                let (feed, content) = body::by_hand();
                let response = client.start(Request::post("/").body(content).unwrap()).await;
                let (started, mut turn) = (Instant::now(), tokio::time::interval(Duration::from_millis(300)));
                let mut sent = 0;
                while started.elapsed() < Duration::from_millis(2500) {
                    turn.tick().await;
                    assert!(feed.send("piece ").await, "{downstream:?} to {upstream:?}: the upload was cut off");
                    sent += 6;
                }
                drop(feed);
                let response = within("the response ends", collect(response)).await;
                let response = response.unwrap_or_else(|error| panic!("{downstream:?} to {upstream:?}: {error}"));
                response.has_status(200).has_body(format!("Ok({sent})"));
            });
        }
    }
    while let Some(exchange) = exchanges.join_next().await {
        exchange.unwrap();
    }
}

#[tokio::test]
async fn a_silent_http2_upstream_is_connected_anew() {
    let backend = RawBackend::silent().await;
    let odin = with_timeouts("response = \"500ms\"").upstream(Protocol::Http2).target(&backend).start().await;
    for connections in 1..=3 {
        odin.get("/").await.has_status(504).mentions("odin: ");
        assert_eq!(backend.connections(), connections);
    }
}

#[tokio::test]
async fn an_http2_upstream_that_went_silent_is_connected_anew() {
    let backend = RawBackend::start(|connection, number| async move {
        let Some(mut side) = H2Raw::server(connection).await else { return };
        let (stream, ..) = side.request().await.unwrap();
        side.send(h2raw::headers(stream, &[(b":status", b"204")], true)).await;
        // The first connection has answered all it ever will, PINGs included.
        if number == 0 {
            side.raw().rest().await;
        } else {
            while let Some((stream, ..)) = side.request().await {
                side.send(h2raw::headers(stream, &[(b":status", b"204")], true)).await;
            }
        }
    })
    .await;
    let odin = with_timeouts("response = \"500ms\"").upstream(Protocol::Http2).target(&backend).start().await;
    odin.get("/").await.has_status(204);
    odin.get("/").await.has_status(504).mentions("odin: ");
    for _ in 0..3 {
        odin.get("/").await.has_status(204);
    }
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_held_body_is_not_sent_again_without_its_bytes() {
    let backend = RawBackend::start(|mut connection, _| async move {
        // The first request is answered and the connection kept; the second is taken whole, and nothing said.
        for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""] {
            let Some(head) = connection.head().await else { return };
            assert_eq!(head.field("content-length"), Some("5"));
            assert_eq!(connection.read(5).await, b"whole");
            connection.send(answer).await;
        }
    })
    .await;
    let odin = Odin::builder().plugin("digest").target(&backend).start().await;
    let put = || Request::put("/").body(body::full("whole")).unwrap();
    odin.request(put()).await.has_status(200);
    odin.request(put()).await.has_status(502);
    assert_eq!(backend.connections(), 1, "the request went out again");
    odin.stop().await;
}
