//! What the upstream learns about the client: `Forwarded`, `X-Forwarded-*`, `Via`, `X-Request-Id`, and whom to believe.

use http::Request;
use odin_tests::{Connection, HttpBackend, Odin, Protocol, body, echoed};
use serde_json::Value;

const CLAIMS: [(&str, &str); 5] = [
    ("forwarded", "for=192.0.2.7;proto=https"),
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "claimed.example"),
    ("x-request-id", "from-the-client"),
];

async fn seen_with(client: &mut Connection, claims: &[(&str, &str)]) -> Value {
    let mut request = Request::get("/").header("host", "asked.example");
    for (name, value) in claims {
        request = request.header(*name, *value);
    }
    client.send(request.body(body::empty()).unwrap()).await.has_status(200).json()
}

#[tokio::test]
async fn a_client_is_not_believed_unless_the_listener_says_so() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let backend = HttpBackend::echo(upstream).await;
        let odin = Odin::builder().upstream(upstream).target(&backend).start().await;
        for mut client in [odin.connect().await, odin.connect_http2().await] {
            for claims in [&CLAIMS[..], &[]] {
                let seen = seen_with(&mut client, claims).await;
                assert_eq!(echoed(&seen, "x-forwarded-for"), ["127.0.0.1"]);
                assert_eq!(echoed(&seen, "x-forwarded-proto"), ["http"]);
                assert_eq!(echoed(&seen, "x-forwarded-host"), ["asked.example"]);
                let forwarded = &echoed(&seen, "forwarded");
                assert_eq!(forwarded.len(), 1, "{seen}");
                let mut parts: Vec<_> = forwarded[0].split(';').collect();
                parts.sort_unstable();
                assert_eq!(parts, ["for=127.0.0.1", "host=asked.example", "proto=http"]);
                let id = echoed(&seen, "x-request-id");
                assert!(id.len() == 1 && id[0] != "from-the-client" && id[0].len() >= 16, "{seen}");
            }
        }
    }
}

#[tokio::test]
async fn a_trusted_client_is_believed_and_added_to() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().in_listener("trust-forwarded = true").target(&backend).start().await;
    for mut client in [odin.connect().await, odin.connect_http2().await] {
        let seen = seen_with(&mut client, &CLAIMS).await;
        assert_eq!(echoed(&seen, "x-forwarded-for").join(", "), "192.0.2.7, 127.0.0.1");
        assert_eq!(echoed(&seen, "x-forwarded-proto"), ["https"]);
        assert_eq!(echoed(&seen, "x-forwarded-host"), ["claimed.example"]);
        assert_eq!(echoed(&seen, "x-request-id"), ["from-the-client"]);
        let forwarded = echoed(&seen, "forwarded").join(", ");
        assert!(forwarded.starts_with("for=192.0.2.7;proto=https, for=127.0.0.1;"), "{forwarded}");

        let seen = seen_with(&mut client, &[]).await;
        assert_eq!(echoed(&seen, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(echoed(&seen, "x-request-id").len(), 1);
    }
}

#[tokio::test]
async fn via_names_odin_and_the_version_in_both_directions() {
    let backend = HttpBackend::start(Protocol::Http1, |request| async move {
        let via: Vec<_> = request.headers().get_all("via").iter().map(|via| via.to_str().unwrap()).collect();
        let mut response = http::Response::new(body::full(via.join(", ")));
        response.headers_mut().insert("via", "1.0 behind".parse().unwrap());
        response
    })
    .await;
    let odin = Odin::builder().target(&backend).start().await;
    for (mut client, version) in [(odin.connect().await, "1.1"), (odin.connect_http2().await, "2")] {
        let request = Request::get("/").header("via", "1.1 before").body(body::empty()).unwrap();
        let response = client.send(request).await.has_status(200).has_body(format!("1.1 before, {version} odin"));
        let via: Vec<_> = response.headers.get_all("via").iter().map(|via| via.to_str().unwrap()).collect();
        assert_eq!(via.join(", "), "1.0 behind, 1.1 odin");
    }
}

#[tokio::test]
async fn request_ids_are_unique_and_in_the_access_log() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().workers(2).target(&backend).start().await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..100 {
        ids.insert(echoed(&odin.get("/").await.json(), "x-request-id").remove(0));
    }
    assert_eq!(ids.len(), 100);
}

#[tokio::test]
async fn an_authority_with_a_port_is_quoted_in_forwarded() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    for host in ["a.example:8080", "[::1]:8080"] {
        let request = Request::get("/").header("host", host).body(body::empty()).unwrap();
        let seen = odin.request(request).await.has_status(200).json();
        let forwarded = echoed(&seen, "forwarded").remove(0);
        assert!(forwarded.contains(&format!("host=\"{host}\"")), "{forwarded}");
    }
}
