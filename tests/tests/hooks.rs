//! What hooks may do to a request and a response, and in which order they run.

use http::Request;
use odin_tests::{HttpBackend, Odin, PluginEntry, Protocol, body, echoed};

#[tokio::test]
async fn the_headers_plugin_reads_one_field_and_sets_two() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let backend = HttpBackend::echo(upstream).await;
        let odin = Odin::builder().plugin("headers").upstream(upstream).target(&backend).start().await;
        let request = Request::get("/").header("user-agent", "me").body(body::empty()).unwrap();
        let response = odin.request(request).await.has_status(200).has_field("x-odin-response", "yes");
        assert_eq!(echoed(&response.json(), "x-odin"), ["seen"]);
        let response = odin.connect_http2().await.get("/").await.has_field("x-odin-response", "yes");
        assert_eq!(echoed(&response.json(), "x-odin"), ["none"]);
    }
}

#[tokio::test]
async fn a_plugin_can_answer_in_the_place_of_the_upstream() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("reply").plugin("headers").target(&backend).start().await;
    let mut client = odin.connect().await;
    for _ in 0..3 {
        let response = client.get("/").await.has_status(418).has_field("x-reply", "teapot");
        response.has_body("short and stout\n").has_field("content-length", "16");
    }
    let head = Request::head("/").body(body::empty()).unwrap();
    client.send(head).await.has_status(418).has_body("");
    let post = Request::post("/").body(body::full("unread")).unwrap();
    client.send(post).await.has_status(418);
    client.get("/").await.has_status(418);
    odin.connect_http2().await.get("/").await.has_status(418).has_body("short and stout\n");
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_plugin_can_refuse_and_its_reason_stays_in_the_log() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("reply").target(&backend).start().await;
    let request = Request::get("/").header("x-reject", "wrong moon phase").body(body::empty()).unwrap();
    let response = odin.request(request).await.has_status(403);
    assert!(!response.text().contains("moon"), "{response:?}");
    odin.access_log_contains(&["403", "wrong moon phase"]).await;
    let request = Request::get("/").header("x-pass", "yes").body(body::empty()).unwrap();
    odin.request(request).await.has_status(200);
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn everything_that_the_contract_offers_works() {
    let backend = HttpBackend::start(Protocol::Http1, |request| async move {
        let fields: Vec<_> = request.headers().iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        let mut response = http::Response::new(body::full(format!("{:?} {}", fields, request.uri())));
        response.headers_mut().insert("x-upstream-secret", "hidden".parse().unwrap());
        response
    })
    .await;
    let probe = PluginEntry::new("probe").with("config = { greeting = \"hello\" }");
    let odin = Odin::builder().plugin(probe).target(&backend).start().await;
    odin.log_contains(&["probe", "configured with {\"greeting\":\"hello\"}"]).await;
    let request = Request::get("/old?q=1")
        .header("host", "asked.example")
        .header("x-a", "1")
        .header("x-b", "2")
        .header("x-twice", "one")
        .header("x-twice", "two")
        .header("x-remove", "x-secret")
        .header("x-secret", "hidden")
        .header("x-path", "/new?q=2")
        .header("x-authority", "changed.example")
        .header("x-status", "203")
        .header("x-log", "a line\twith a tab")
        .body(body::empty())
        .unwrap();
    let response = odin.request(request).await.has_status(203);
    let seen = response.text();
    for (name, value) in [
        ("host", "changed.example"),
        ("x-probe-line", "GET http asked.example /old?q=1"),
        ("x-probe-config", "\\\"hello\\\""),
        ("x-probe-many", "1,-,2"),
        ("x-probe-all", "one,two"),
        ("x-probe-append", "one"),
        ("x-probe-append", "two"),
        ("x-probe-length", "forbidden"),
        ("x-probe-host", "forbidden"),
        ("x-probe-name", "invalid-name"),
        ("x-probe-value", "invalid-value"),
        ("x-probe-path", "ok"),
        ("x-probe-authority", "ok"),
        ("x-probe-clock", "sane"),
    ] {
        assert!(seen.contains(&format!("(\"{name}\", \"{value}\")")), "{name}: {value} in {seen}");
    }
    assert!(seen.ends_with("/new?q=2") && !seen.contains("(\"x-secret\"") && !seen.contains("x-split"), "{seen}");
    let response = response
        .has_field("x-probe-context", "remembered 2")
        .has_field("x-probe-status", "200")
        .has_field("x-probe-path", "/new?q=2")
        .has_field("x-probe-length", "forbidden")
        .has_field("x-probe-set-status", "ok")
        .lacks_field("x-upstream-secret");
    assert_eq!(response.headers.get_all("x-probe-append").iter().count(), 2);
    let line = odin.log_contains(&["probe", "a line"]).await;
    assert!(line.contains("with a tab"), "control characters are escaped: {line}");
    let counted = odin.metrics().await.sum("odin_custom_requests_total", &[("plugin", "probe")]);
    assert_eq!(counted, 1.0);
}

#[tokio::test]
async fn shared_counters_are_one_for_all_workers() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().workers(2).plugin("probe").target(&backend).start().await;
    let mut turns = Vec::new();
    for _ in 0..20 {
        let seen = odin.get("/").await.has_status(200).json();
        turns.push(echoed(&seen, "x-probe-seen")[0].parse::<u64>().unwrap());
    }
    assert_eq!(turns, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_same_plugin_can_run_twice_with_two_configs() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let entry = |name: &str, greeting: &str| {
        PluginEntry::new("probe").called(name).with(&format!("config = {{ greeting = \"{greeting}\" }}"))
    };
    let builder = Odin::builder().plugin(entry("one", "first")).plugin(entry("two", "second"));
    let odin = builder.target(&backend).start().await;
    odin.log_contains(&["one", "first"]).await;
    odin.log_contains(&["two", "second"]).await;
    let seen = odin.get("/").await.has_status(200).json();
    assert_eq!(echoed(&seen, "x-probe-config"), ["\"second\""]);
}
