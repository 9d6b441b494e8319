//! HTTP/1.1 as RFC 9112 has it: heads, versions, keep-alive, pipelining, interim responses, hop-by-hop fields.

use http::Request;
use odin_tests::{BodyEnd, Head, HttpBackend, Odin, Protocol, RawBackend, body, echoed};
use tokio::sync::mpsc;

/// A backend that answers every request on its connection with the bytes that `answer` makes of its head, and hands out
/// the heads.
async fn scripted(
    answer: impl Fn(&Head) -> String + Clone + Send + 'static,
) -> (RawBackend, mpsc::UnboundedReceiver<Head>) {
    let (sender, heads) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut connection, _| {
        let (answer, sender) = (answer.clone(), sender.clone());
        async move {
            while let Some(head) = connection.head().await {
                connection.body(&head, "").await;
                let bytes = answer(&head);
                let _ = sender.send(head);
                connection.send(bytes).await;
            }
        }
    })
    .await;
    (backend, heads)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn the_line_and_the_fields_arrive_as_they_were_sent() {
    let (backend, mut heads) = scripted(|_| OK.to_string()).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    let request = "PATCH /a%20b/c?x=%00&y=[z] HTTP/1.1\r\nHost: Example.com:81\r\nX-One: 1\r\nX-Two: a  b\t c\r\n\
                   X-One: again\r\nX-Empty:\r\nX-Bytes: \u{e9}\u{e8}\r\nCookie: a=1; b=2\r\nContent-Length: 0\r\n\r\n";
    client.send(request.chars().map(|c| c as u8).collect::<Vec<_>>()).await;
    assert_eq!(client.response("PATCH").await.unwrap().body, b"ok");
    let head = heads.recv().await.unwrap();
    assert_eq!(head.start, "PATCH /a%20b/c?x=%00&y=[z] HTTP/1.1");
    assert_eq!(head.field("host"), Some("Example.com:81"));
    assert_eq!(head.all("x-one"), ["1", "again"]);
    assert_eq!(head.field("x-two"), Some("a  b\t c"));
    assert_eq!(head.field("x-empty"), Some(""));
    assert_eq!(head.field("x-bytes"), Some("\u{e9}\u{e8}"));
    assert_eq!(head.field("cookie"), Some("a=1; b=2"));
    assert_eq!(head.field("content-length"), Some("0"));
}

#[tokio::test]
async fn the_status_and_the_fields_come_back_as_they_were_sent() {
    let answer =
        "HTTP/1.1 299 Odd But Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok";
    let (backend, _) = scripted(move |_| answer.to_string()).await;
    let odin = Odin::builder().target(&backend).start().await;
    for mut client in [odin.connect().await, odin.connect_http2().await] {
        let response = client.get("/").await.has_status(299).has_field("x-empty", "").has_body("ok");
        let cookies: Vec<_> = response.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }
}

#[tokio::test]
async fn a_head_request_gets_the_length_and_no_body() {
    let answer = |head: &Head| match head.method() {
        "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_string(),
        _ => OK.to_string(),
    };
    let (backend, _heads) = scripted(answer).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = client.response("HEAD").await.unwrap();
        assert_eq!((head.head.status(), head.head.field("content-length")), (200, Some("1000")));
        assert_eq!(client.response("GET").await.unwrap().body, b"ok");
    }
    assert_eq!(backend.connections(), 1);
    let head = Request::head("/").body(body::empty()).unwrap();
    odin.connect_http2().await.send(head).await.has_status(200).has_field("content-length", "1000").has_body("");
}

#[tokio::test]
async fn responses_without_a_body_keep_the_connection() {
    let answer = |head: &Head| match head.path() {
        "/204" => "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n".to_string(),
        "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"e\"\r\n\r\n".to_string(),
        _ => OK.to_string(),
    };
    let (backend, _heads) = scripted(answer).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    for (path, status) in [("/204", 204), ("/304", 304), ("/200", 200), ("/304", 304), ("/200", 200)] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let response = client.response("GET").await.unwrap();
        assert_eq!((response.head.status(), response.end), (status, BodyEnd::Complete));
        if status == 204 {
            assert_eq!((response.head.field("content-length"), response.head.field("transfer-encoding")), (None, None));
        }
    }
    assert_eq!(backend.connections(), 1);
    let mut client = odin.connect_http2().await;
    client.get("/204").await.has_status(204).has_field("x-a", "b");
    client.get("/304").await.has_status(304).has_field("etag", "\"e\"");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    let requests: String = (0..20)
        .map(|n| match n % 3 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"),
            _ => format!("POST /{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
        })
        .collect();
    client.send(requests).await;
    for n in 0..20 {
        let response = client.response("GET").await.unwrap();
        let seen: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(seen["path"], format!("/{n}"));
        assert_eq!(seen["body"], if n % 3 == 0 { "" } else { "body" });
    }
}

#[tokio::test]
async fn an_http_10_client_is_served_as_it_asks() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    let kept = client.response("GET").await.unwrap();
    assert_eq!(kept.head.status(), 200);
    assert!(kept.head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")), "{kept:?}");
    client.send("GET /old HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let last = client.response("GET").await.unwrap();
    assert_eq!(last.head.status(), 200);
    client.ends().await;
}

#[tokio::test]
async fn connection_close_is_answered_and_done() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.response("GET").await.unwrap();
    assert!(response.head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")), "{response:?}");
    client.ends().await;
    assert_eq!(backend.paths(), ["/"]);
}

#[tokio::test]
async fn upstream_connections_are_used_again() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let backend = HttpBackend::echo(protocol).await;
        let odin = Odin::builder().upstream(protocol).target(&backend).start().await;
        for n in 0..10 {
            odin.post(&format!("/{n}"), "some").await.has_status(200);
        }
        assert_eq!(backend.connections(), 1, "{protocol:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_closes_idle_connections_costs_no_request() {
    let backend = RawBackend::start(|mut connection, _| async move {
        connection.head().await;
        connection.send(OK).await;
        // Closes without a word of warning.
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect().await;
    for _ in 0..50 {
        client.get("/").await.has_status(200).has_body("ok");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_their_hop() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: x-private, keep-alive\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\n\
                  Proxy-Connection: keep-alive\r\nX-Public: 1\r\nContent-Length: 2\r\n\r\nok";
    let (backend, mut heads) = scripted(move |_| answer.to_string()).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Secret, close-not, X-OTHER\r\nX-Secret: 1\r\nx-other: 2\r\n\
             Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nClose-Not: 3\r\nX-Stays: 4\r\n\r\n",
        )
        .await;
    let response = client.response("GET").await.unwrap();
    for name in ["keep-alive", "x-private", "proxy-connection"] {
        assert_eq!(response.head.field(name), None, "{response:?}");
    }
    assert_eq!(response.head.field("x-public"), Some("1"));
    let head = heads.recv().await.unwrap();
    for name in ["x-secret", "x-other", "keep-alive", "proxy-connection", "close-not"] {
        assert_eq!(head.field(name), None, "{head:?}");
    }
    assert!(!head.all("te").contains(&"gzip"), "{head:?}");
    assert_eq!(head.field("x-stays"), Some("4"));
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body_is_sent() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let backend = HttpBackend::echo(protocol).await;
        let odin = Odin::builder().upstream(protocol).target(&backend).start().await;
        let mut client = odin.connect_raw().await;
        for _ in 0..2 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
            assert_eq!(client.head().await.unwrap().status(), 100);
            client.send("body").await;
            let response = client.response("POST").await.unwrap();
            assert_eq!(response.head.status(), 200);
            let seen: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(seen["body"], "body");
            assert!(response.interim.is_empty(), "a second 100: {response:?}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_what_is_expected_is_heard() {
    let backend = RawBackend::answering("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.response("POST").await.unwrap().head.status(), 417);
}

#[tokio::test]
async fn an_unknown_expectation_is_417() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let request = Request::post("/").header("expect", "the unexpected").body(body::full("x")).unwrap();
    odin.request(request).await.has_status(417);
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn an_interim_response_goes_to_the_client_before_the_final_one() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let (backend, _heads) = scripted(move |_| format!("{answer}{OK}")).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    for version in ["1.1", "1.1", "1.0"] {
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")).await;
        let response = client.response("GET").await.unwrap();
        assert_eq!((response.head.status(), response.body.as_slice()), (200, &b"ok"[..]));
        let hints: Vec<_> = response.interim.iter().map(|head| (head.status(), head.field("link"))).collect();
        // HTTP/1.0 has none (RFC 9110, section 15.2), and nobody had asked for a 100.
        let wanted: &[_] = if version == "1.1" { &[(103, Some("</a>"))] } else { &[] };
        assert_eq!(hints, wanted, "{version}");
    }
    // hyper has no way to send them over HTTP/2.
    odin.connect_http2().await.get("/").await.has_status(200).has_body("ok");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn an_expectation_goes_upstream_and_the_body_waits_for_it() {
    let (sender, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let backend = RawBackend::start(move |mut connection, _| {
        let sender = sender.clone();
        async move {
            while let Some(head) = connection.head().await {
                let _ = sender.send(format!("expects {:?}", head.field("expect")));
                if head.path() == "/unwanted" {
                    connection.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await;
                    let (rest, _) = connection.rest().await;
                    let _ = sender.send(format!("then {}", rest.len()));
                    return;
                }
                connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
                let body = connection.read(4).await;
                let _ = sender.send(String::from_utf8_lossy(&body).into_owned());
                connection.send(OK).await;
            }
        }
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 100);
    client.send("body").await;
    assert_eq!(client.response("POST").await.unwrap().head.status(), 200);
    client.send("POST /unwanted HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let refused = client.response("POST").await.unwrap();
    assert_eq!((refused.head.status(), refused.interim.len()), (413, 0), "the client was not told to go on");
    for wanted in ["expects Some(\"100-continue\")", "body", "expects Some(\"100-continue\")", "then 0"] {
        assert_eq!(odin_tests::within("what came upstream", bodies.recv()).await.as_deref(), Some(wanted));
    }
}

#[tokio::test]
async fn options_for_the_server_itself_is_forwarded_as_an_asterisk() {
    let (backend, mut heads) = scripted(|_| OK.to_string()).await;
    let odin = Odin::builder().target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response("OPTIONS").await.unwrap().head.status(), 200);
    assert_eq!(heads.recv().await.unwrap().start, "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn a_dead_upstream_is_a_plain_error_and_the_connection_goes_on() {
    let (backend, _heads) = scripted(|_| OK.to_string()).await;
    let odin = Odin::builder().target(&backend).start().await;
    drop(backend);
    let mut client = odin.connect().await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert!(response.status == 502 || response.status == 503, "{response:?}");
        assert!(response.text().starts_with("odin: ") && response.text().ends_with('\n'), "{response:?}");
    }
}

#[tokio::test]
async fn an_echo_shows_what_a_plain_request_becomes() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let request = Request::get("/plain").header("host", "plain.example").body(body::empty()).unwrap();
    let seen = odin.request(request).await.has_status(200).json();
    assert_eq!(echoed(&seen, "host"), ["plain.example"]);
    assert!(echoed(&seen, "connection").is_empty() && echoed(&seen, "transfer-encoding").is_empty(), "{seen}");
    assert!(echoed(&seen, "content-length").is_empty(), "{seen}");
}
