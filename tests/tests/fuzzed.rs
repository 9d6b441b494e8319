//! What the fuzz targets of `host/proxy/src/fuzz` have found, as a client and an upstream see it.

use odin_tests::h2raw::{self, H2Raw};
use odin_tests::{BOTH, HttpBackend, Odin, Protocol, Raw, Target, body, echoed};
use serde_json::Value;

/// What the backend saw of the request.
async fn echo(mut client: Raw) -> Value {
    let answer = client.response("GET").await.expect("an answer");
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[tokio::test]
async fn a_target_that_is_a_host_and_a_query_keeps_its_path() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    for (target, path) in [("http://a?b", "/?b"), ("http://a", "/")] {
        let mut client = odin.connect_raw().await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        let seen = echo(client).await;
        assert_eq!(seen["path"], path, "{target}");
    }
}

#[tokio::test]
async fn a_target_with_a_fragment_is_refused() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    for target in ["http://a#b", "http://a/#", "/a#b"] {
        let mut client = odin.connect_raw().await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(client.response("GET").await.expect("an answer").head.status(), 400, "{target}");
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn an_upgrade_in_other_bytes_than_ascii_is_not_asked_of_the_upstream() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    for protocol in [&b"h2c\xe9"[..], b"h2c, \xe9"] {
        let mut client = odin.connect_raw().await;
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ";
        client.send([request, protocol, b"\r\n\r\n"].concat()).await;
        let seen = echo(client).await;
        assert_eq!(echoed(&seen, "upgrade"), [""; 0], "{seen}");
    }
}

#[tokio::test]
async fn http2_heads_that_http1_cannot_carry_are_refused() {
    for protocol in BOTH {
        let backend = HttpBackend::echo(protocol).await;
        let odin = Odin::builder().target(&backend).upstream(protocol).start().await;
        let plain: [(&[u8], &[u8]); 3] = [(b":method", b"GET"), (b":scheme", b"http"), (b"host", b"a")];
        for (name, value) in [(":path", "#"), ("x", "no path"), ("x\"y", "a quote in a name")] {
            let mut client = H2Raw::client(odin.address("web")).await;
            let mut fields = plain.to_vec();
            if name.starts_with(':') {
                fields.insert(0, (name.as_bytes(), value.as_bytes()));
            } else {
                fields.push((name.as_bytes(), value.as_bytes()));
                if name.contains('"') {
                    fields.insert(0, (b":path", b"/"));
                }
            }
            client.send(h2raw::headers(1, &fields, true)).await;
            let outcome = client.outcome(1).await;
            assert!(outcome.status() == Some(400) || outcome.is_broken_off(), "{value}: {outcome:?}");
        }
        assert_eq!(backend.requests(), 0, "none of them reaches {}", backend.address());
    }
}

#[tokio::test]
async fn empty_pieces_of_cookies_leave_nothing_behind() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    let request = http::Request::get("/").header("cookie", "a=1").header("cookie", "").header("cookie", "b=2");
    let request = request.header("cookie", "").body(body::empty()).unwrap();
    let seen = odin.connect_http2().await.send(request).await.has_status(200).json();
    assert_eq!(echoed(&seen, "cookie"), ["a=1; b=2"]);
}
