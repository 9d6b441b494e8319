//! The six processors of Envoy's ExternalProcessor SDK as plugins, by the config files that people start them with.

use http::Request;
use odin_tests::{BOTH, Connection, HttpBackend, Odin, PluginEntry, Protocol, Target, body, echoed, paths};

const GET: &str = "860d64d6465b9e9886050295087e8a547b3e7a3c40e79d26147b50a97b9ac2c6";
const PUT: &str = "a794dbc467285567e4c2604c991938386366f6ab94b0b0e4fab5e27e0a932e60";

/// Odin by `configs/<name>.toml`, with an echo backend and ports of its own.
async fn by_config(name: &str) -> (Odin, HttpBackend) {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let text = std::fs::read_to_string(paths::config(&format!("{name}.toml"))).unwrap();
    let endpoint = "127.0.0.1:9100";
    assert!(text.contains(endpoint), "the config has another endpoint: {text}");
    let folder = paths::plugin(name.replace("processors", "ctx").as_str());
    let folder = folder.parent().unwrap().display().to_string();
    let text = text.replace(endpoint, &backend.address().to_string());
    let text = text.replace("127.0.0.1:8090", "127.0.0.1:0");
    let text = text.replace("../plugins/target/wasm32-unknown-unknown/release", &folder);
    let builder = Odin::builder().with_config(text).argument("--admin").argument("127.0.0.1:0");
    (builder.start().await, backend)
}

fn request(method: &str, path: &str, fields: &[(&str, &str)], content: Option<&str>) -> Request<body::Body> {
    let request = Request::builder().method(method).uri(path);
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(content.map_or_else(body::empty, |content| body::full(content.to_string()))).unwrap()
}

#[tokio::test]
async fn trivial_copies_the_request_id() {
    let (odin, _backend) = by_config("trivial").await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        let response = client.send(request("GET", "/", &[("x-request-id", "id-17")], None)).await.has_status(200);
        assert_eq!(echoed(&response.json(), "x-extra-request-id"), ["id-17"]);
        response.has_field("x-extra-request-id", "id-17").has_field("x-ext-procs-applied", "trivial");
        // One that came without an id got one from Odin.
        let response = client.get("/").await.has_status(200);
        let seen = response.json();
        assert_eq!(echoed(&seen, "x-extra-request-id"), echoed(&seen, "x-request-id"));
        response.has_field("x-extra-request-id", &echoed(&seen, "x-request-id").join(""));
    }
}

#[tokio::test]
async fn timer_tells_when_it_began_and_how_long_it_took() {
    let (odin, _backend) = by_config("timer").await;
    for downstream in BOTH {
        let before = std::time::Instant::now();
        let response = odin.connect_over(downstream).await.get("/").await.has_status(200);
        let took = before.elapsed().as_nanos();
        let response = response.has_field("x-ext-procs-applied", "timer");
        let started = response.field("x-request-started").unwrap();
        assert_eq!(echoed(&response.json(), "x-request-started"), [started.as_str()]);
        // 2026-11-21T12:34:56.789012Z
        let shape: String = started.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{started}");
        let year: u32 = started[..4].parse().unwrap();
        assert!((2025..2100).contains(&year), "{started}");
        let duration: u128 = response.field("x-duration-ns").unwrap().parse().unwrap();
        assert!(duration > 0 && duration <= took, "{duration} ns of {took}");
    }
}

/// What `digest` and `decorated` both do.
async fn digests(client: &mut Connection, applied: &str) {
    let put = Some(r#"{"hello":"hi"}"#);
    for (method, content, digest) in [("GET", None, GET), ("PUT", put, PUT)] {
        let response = client.send(request(method, "/something", &[], content)).await.has_status(200);
        assert_eq!(echoed(&response.json(), "x-request-digest"), [digest], "{method}");
        assert_eq!(response.json()["body"], content.unwrap_or(""));
        response.has_field("x-request-digest", digest).has_field("x-ext-procs-applied", applied);
    }
    // The body in pieces is the same body.
    let pieces = body::with_trailers(&[r#"{"hel"#, r#"lo":"hi"}"#], &[]);
    let response = client.send(Request::put("/something").body(pieces).unwrap()).await.has_status(200);
    response.has_field("x-request-digest", PUT);
    // A POST without a body, and other tenants.
    let bodiless = client.send(request("POST", "/something", &[], None)).await.has_status(200);
    let digest = bodiless.field("x-request-digest").unwrap();
    assert!(digest.len() == 64 && digest != GET, "{bodiless:?}");
    let empty = client.send(request("POST", "/something", &[], Some(""))).await.has_status(200);
    empty.has_field("x-request-digest", &digest);
    let tenant = client.send(request("GET", "/something", &[("x-tenant-id", "acme")], None)).await.has_status(200);
    assert_ne!(tenant.field("x-request-digest").as_deref(), Some(GET));
    let unknown = client.send(request("GET", "/something", &[("x-tenant-id", "unknown")], None)).await;
    unknown.has_status(200).has_field("x-request-digest", GET);
}

#[tokio::test]
async fn digest_puts_a_digest_into_a_field() {
    let (odin, _backend) = by_config("digest").await;
    for downstream in BOTH {
        digests(&mut odin.connect_over(downstream).await, "digest").await;
    }
}

#[tokio::test]
async fn decorated_does_the_same_in_the_other_style() {
    let (odin, _backend) = by_config("decorated").await;
    for downstream in BOTH {
        digests(&mut odin.connect_over(downstream).await, "decorated").await;
    }
}

#[tokio::test]
async fn echo_answers_with_what_was_asked() {
    let (odin, backend) = by_config("echo").await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        for word in ["true", "yes"] {
            let asked = request("POST", "/x", &[("x-echo-only", word), ("x-mine", "1")], Some("all of it"));
            let response = client.send(asked).await.has_status(200).has_body("all of it");
            response.has_field("x-mine", "1").has_field("x-ext-procs-applied", "echo").lacks_field("backend");
            let bodiless = client.send(request("GET", "/x", &[("x-echo-only", word)], None)).await.has_status(200);
            bodiless.has_body("").has_field("x-echo-only", word);
        }
    }
    assert_eq!(backend.requests(), 0, "the upstream was asked");
    for downstream in BOTH {
        for fields in [&[][..], &[("x-echo-only", "no")], &[("x-echo-only", "")]] {
            let response = odin.connect_over(downstream).await.send(request("POST", "/x", fields, Some("on"))).await;
            let response =
                response.has_status(200).has_field("backend", "echo").has_field("x-ext-procs-applied", "echo");
            assert_eq!(response.json()["body"], "on");
        }
    }
}

#[tokio::test]
async fn ctx_keeps_what_belongs_together() {
    let (odin, backend) = by_config("ctx").await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        let fits = request("PUT", "/there?a=b", &[("x-context-id", "id-7")], Some("id-7"));
        let response = client.send(fits).await.has_status(200).has_field("x-context-id", "id-7");
        assert_eq!(echoed(&response.json(), "x-context-id"), ["id-7"]);
        response.has_field("x-ext-procs-applied", "ctx");
        let without = client.send(request("PUT", "/there", &[], Some("anything"))).await.has_status(200);
        assert_eq!(echoed(&without.json(), "x-context-id"), [""]);
        without.lacks_field("x-context-id");
        let before = backend.requests();
        let wrong = request("PUT", "/there", &[("x-context-id", "id-7")], Some("id-8"));
        client.send(wrong).await.has_status(502);
        assert_eq!(backend.requests(), before, "a request that does not fit went upstream");
        client.get("/").await.has_status(200);
    }
}

#[tokio::test]
async fn ctx_fails_as_on_failure_says_when_the_response_does_not_fit() {
    let backend =
        HttpBackend::start(Protocol::Http1, |_| async { http::Response::new(body::full(r#"{"path":"/elsewhere"}"#)) })
            .await;
    for (open, status) in [(false, 502), (true, 200)] {
        let plugin = PluginEntry::new("ctx").with("breaker = { percent = 0 }");
        let plugin = if open { plugin.with("on-failure = \"open\"") } else { plugin };
        let odin = Odin::builder().plugin(plugin).target(&backend).start().await;
        for downstream in BOTH {
            let asked = request("PUT", "/there", &[("x-context-id", "id-7")], Some("id-7"));
            let response = odin.connect_over(downstream).await.send(asked).await.has_status(status);
            response.lacks_field("x-context-id");
        }
        odin.log_contains(&["ctx", "/elsewhere"]).await;
    }
}

#[tokio::test]
async fn all_six_apply_in_the_order_of_the_chain() {
    let (odin, backend) = by_config("processors").await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        let fields = [("x-request-id", "id-1"), ("x-context-id", "id-7")];
        let response = client.send(request("PUT", "/something", &fields, Some("id-7"))).await.has_status(200);
        let seen = response.json();
        let response = response.has_field("x-ext-procs-applied", "ctx,echo,decorated,digest,timer,trivial");
        let response = response.has_field("x-extra-request-id", "id-1").has_field("x-context-id", "id-7");
        assert_eq!(echoed(&seen, "x-request-digest"), [response.field("x-request-digest").unwrap()]);
        assert_eq!(echoed(&seen, "x-request-started"), [response.field("x-request-started").unwrap()]);
        let digest = client.send(request("PUT", "/something", &[], Some(r#"{"hello":"hi"}"#))).await;
        digest.has_status(200).has_field("x-request-digest", PUT);
        client.get("/something").await.has_status(200).has_field("x-request-digest", GET);
        let before = backend.requests();
        let echo = client.send(request("POST", "/x", &[("x-echo-only", "yes")], Some("back"))).await.has_status(200);
        echo.has_body("back").has_field("x-ext-procs-applied", "ctx,echo,decorated,digest,timer,trivial");
        assert_eq!(backend.requests(), before);
    }
}
