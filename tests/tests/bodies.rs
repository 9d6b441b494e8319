//! Bodies and trailers: streamed both ways, complete or visibly broken, never held in memory.

use std::error::Error as _;

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{BodyEnd, Ending, HttpBackend, Odin, Protocol, RawBackend, body, within};

const GIB: u64 = 1 << 30;
const MEMORY: u64 = 64 << 20;

/// Answers with the length and digest of what it receives, or, to `/down/LENGTH`, with that much known content.
async fn bulk(protocol: Protocol) -> HttpBackend {
    HttpBackend::start(protocol, |request| async move {
        match request.uri().path().strip_prefix("/down/") {
            Some(length) => Response::new(body::long(length.parse().unwrap())),
            None => {
                let (length, digest) = body::digest(request.into_body()).await.unwrap_or_default();
                Response::new(body::full(format!("{length} {digest}")))
            }
        }
    })
    .await
}

async fn streams_both_ways(downstream: Protocol, upstream: Protocol, length: u64) {
    let backend = bulk(upstream).await;
    let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
    let mut client = match downstream {
        Protocol::Http1 => odin.connect().await,
        Protocol::Http2 => odin.connect_http2().await,
    };
    let wanted = body::long_digest(length);
    let request = Request::post("/up").body(body::long(length)).unwrap();
    // A GiB takes longer than the deadline of a small request may allow.
    client.patient().send(request).await.has_status(200).has_body(format!("{length} {wanted}"));
    let request = Request::get(format!("/down/{length}")).body(body::empty()).unwrap();
    let response = client.start(request).await;
    assert_eq!(body::digest(response.into_body()).await.unwrap(), (length, wanted));
    let peak = odin.peak_resident_bytes();
    println!("{downstream:?} to {upstream:?}: at most {peak} bytes resident");
    assert!(peak < MEMORY, "{downstream:?} to {upstream:?}: {peak} bytes resident");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_streams_both_ways_in_little_memory() {
    streams_both_ways(Protocol::Http1, Protocol::Http1, GIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_on_either_side_streams_in_little_memory() {
    streams_both_ways(Protocol::Http2, Protocol::Http2, GIB / 4).await;
    streams_both_ways(Protocol::Http2, Protocol::Http1, GIB / 16).await;
    streams_both_ways(Protocol::Http1, Protocol::Http2, GIB / 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_holds_the_upstream_back() {
    let backend = bulk(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut client = odin.connect_raw().await;
        client.send(format!("GET /down/{} HTTP/1.1\r\nHost: a\r\n\r\n", GIB / 8)).await;
        assert_eq!(client.head().await.unwrap().status(), 200);
        stalled.push(client);
    }
    // A client that does read gets a whole body in the meantime.
    let response = odin.get("/down/16777216").await.has_status(200);
    assert_eq!(response.body.len(), 16 << 20);
    assert!(odin.peak_resident_bytes() < MEMORY, "{} bytes resident", odin.peak_resident_bytes());
}

#[tokio::test]
async fn pieces_pass_before_the_body_is_complete_in_both_directions() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let backend = HttpBackend::start(upstream, |request| async move {
            Response::new(request.into_body().map_err(|_| body::Broken).boxed_unsync())
        })
        .await;
        let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
        for mut client in [odin.connect().await, odin.connect_http2().await] {
            let (feed, content) = body::by_hand();
            let mut response = client.start(Request::post("/").body(content).unwrap()).await;
            for turn in 0..10 {
                let piece = format!("piece {turn}");
                assert!(feed.send(piece.clone()).await);
                let frame = within("the piece comes back", response.frame()).await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), piece);
            }
            drop(feed);
            let rest = within("the end comes back", body::digest(response.into_body())).await.unwrap();
            assert_eq!(rest.0, 0, "{upstream:?}");
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_over_http1() {
    let backend = RawBackend::start(|mut connection, _| async move {
        let head = connection.head().await.unwrap();
        let (content, trailers, end) = connection.body(&head, "").await;
        assert_eq!((content.as_slice(), end), (&b"up"[..], BodyEnd::Complete));
        assert_eq!(trailers, [("x-sum".to_string(), "17".to_string())]);
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-down\r\n\r\n4\r\ndown\r\n0\r\nX-Down: yes\r\n\r\n";
        connection.send(answer).await;
        connection.rest().await;
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send([head, "2\r\nup\r\n0\r\nX-Sum: 17\r\n\r\n"].concat()).await;
    let response = client.response("POST").await.unwrap();
    assert_eq!((response.head.status(), response.end), (200, BodyEnd::Complete));
    assert_eq!(response.body, b"down");
    assert_eq!(response.trailers.len(), 1, "{:?}", response.trailers);
    assert!(response.trailers[0].0.eq_ignore_ascii_case("x-down") && response.trailers[0].1 == "yes");
}

#[tokio::test]
async fn trailers_pass_between_all_versions() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let backend = HttpBackend::start(upstream, |request| async move {
            let collected = request.into_body().collect().await.unwrap();
            let sum = collected.trailers().and_then(|trailers| trailers.get("x-sum")).cloned();
            let mut response = Response::new(body::with_trailers(&["do", "wn"], &[("x-down", "yes")]));
            response.headers_mut().insert("trailer", "x-down".parse().unwrap());
            if let Some(sum) = sum {
                response.headers_mut().insert("x-saw", sum);
            }
            response
        })
        .await;
        let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
        for mut client in [odin.connect().await, odin.connect_http2().await] {
            let request = Request::post("/").header("trailer", "x-sum").header("te", "trailers");
            let request = request.body(body::with_trailers(&["up"], &[("x-sum", "17")])).unwrap();
            let response = client.send(request).await.has_status(200).has_body("down");
            response.has_field("x-saw", "17").has_trailer("x-down", "yes");
        }
    }
}

/// The upstream's response broke off: the client must have been told, one way or the other.
#[track_caller]
fn truncated_or_502(response: Option<odin_tests::RawResponse>) {
    let response = response.expect("the connection was closed without a word, where a 502 was possible");
    match response.head.status() {
        200 => assert!(matches!(response.end, BodyEnd::Truncated(_)), "{response:?}"),
        status => assert_eq!(status, 502, "{response:?}"),
    }
}

#[tokio::test]
async fn a_truncated_http1_response_is_truncated_for_the_client() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this",
    ] {
        let backend = RawBackend::answering(answer).await;
        let odin = Odin::builder().target(&backend).start().await;
        let mut client = odin.connect_raw().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        truncated_or_502(client.response("GET").await);

        match odin.connect_http2().await.try_send(Request::get("/").body(body::empty()).unwrap()).await {
            Ok(response) => assert_eq!(response.status, 502, "{answer:?}"),
            Err(error) => assert!(error.is_body_write_aborted() || error.source().is_some(), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_reset_http2_response_is_truncated_for_the_client() {
    let backend = HttpBackend::start(Protocol::Http2, |_| async {
        let (feed, content) = body::by_hand();
        tokio::spawn(async move {
            feed.send("only this").await;
            feed.break_off().await;
        });
        Response::new(content)
    })
    .await;
    let odin = Odin::builder().upstream(Protocol::Http2).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    truncated_or_502(client.response("GET").await);
    let mut client = odin.connect_http2().await;
    match client.try_send(Request::get("/").body(body::empty()).unwrap()).await {
        Ok(response) => assert_eq!(response.status, 502, "{response:?}"),
        Err(error) => assert!(!error.is_canceled(), "{error:?}"),
    }
}

#[tokio::test]
async fn a_request_that_the_client_breaks_off_is_never_complete_upstream() {
    let (sender, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut connection, _| {
        let sender = sender.clone();
        async move {
            let Some(head) = connection.head().await else { return };
            let _ = sender.send(None);
            let (_, _, end) = connection.body(&head, "").await;
            let _ = sender.send(Some(end));
        }
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    ] {
        let mut client = odin.connect_raw().await;
        client.send(request).await;
        assert_eq!(within("the backend sees the head", ends.recv()).await, Some(None));
        client.reset();
        let end = within("the backend sees the end", ends.recv()).await.unwrap();
        assert!(matches!(end, Some(BodyEnd::Truncated(_))), "{request:?}: {end:?}");
    }
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_complete() {
    let backend = RawBackend::answering("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let response = client.response("GET").await.unwrap();
        assert_eq!((response.body.as_slice(), response.end), (&b"all of it"[..], BodyEnd::Complete));
        assert_eq!(response.head.field("transfer-encoding"), Some("chunked"));
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let response = client.response("GET").await.unwrap();
    assert_eq!((response.body.as_slice(), response.end), (&b"all of it"[..], BodyEnd::ByClose));
    assert_eq!(response.head.field("transfer-encoding"), None);
    odin.connect_http2().await.get("/").await.has_status(200).has_body("all of it");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let backend = RawBackend::start(|mut connection, _| async move {
        connection.head().await;
        connection.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n").await;
        connection.finish().await;
        connection.rest().await;
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome").await;
    let response = client.response("POST").await.unwrap();
    assert_eq!((response.head.status(), response.body.as_slice()), (413, &b"no\n"[..]));
    // Half of a request was read: nothing after it can be trusted on this connection.
    let ending = client.ends().await;
    assert!(matches!(ending, Ending::Closed | Ending::Reset));
}
