//! The admin listener: health, metrics, plugins, clusters, config; and the access log.

use http::Request;
use odin_tests::{Connection, DeadPort, HttpBackend, Odin, Protocol, Target, TcpPeer, body, until};

async fn running() -> (Odin, HttpBackend, TcpPeer) {
    let (backend, tcp) = (HttpBackend::echo(Protocol::Http1).await, TcpPeer::echo("hello\n").await);
    let builder = Odin::builder().workers(2).balancer("lb_rr").plugin("headers").plugin("trap");
    let odin = builder.target(&backend).tcp_target(&tcp).start().await;
    (odin, backend, tcp)
}

#[tokio::test]
async fn health_and_readiness_are_200() {
    let (odin, _backend, _tcp) = running().await;
    odin.admin("/healthz").await.has_status(200);
    odin.admin("/readyz").await.has_status(200);
    odin.admin("/nothing").await.has_status(404);
    let head = Request::head("/healthz").body(body::empty()).unwrap();
    Connection::http1(odin.admin_address()).await.send(head).await.has_status(200).has_body("");
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_count() {
    let (odin, _backend, _tcp) = running().await;
    let mut client = odin.connect().await;
    for _ in 0..5 {
        client.get("/").await.has_status(200);
    }
    let trapped = Request::get("/").header("x-trap", "now").body(body::empty()).unwrap();
    client.send(trapped).await.has_status(502);
    odin.connect_tcp().await.read(6).await;
    let response = odin.admin("/metrics").await.has_status(200);
    let kind = response.field("content-type").unwrap();
    assert!(kind.starts_with("text/plain") && kind.contains("version=0.0.4"), "{kind}");
    // An exchange is counted when the last byte of its response has left, which its client may see first.
    let metrics = until("every exchange is counted", async || {
        let metrics = odin.metrics().await;
        (metrics.sum("odin_requests_total", &[("listener", "web")]) == 6.0).then_some(metrics)
    })
    .await;
    let of_hook = |name: &str, plugin: &str, hook: &str| metrics.sum(name, &[("plugin", plugin), ("hook", hook)]);
    // Five that passed and one TCP connection; the sixth request was trapped before the balancer was asked.
    assert_eq!(of_hook("odin_plugin_call_seconds_count", "lb_rr", "balancer"), 6.0, "{:?}", metrics.names());
    assert_eq!(of_hook("odin_plugin_call_seconds_count", "headers", "request-headers"), 6.0);
    assert_eq!(of_hook("odin_plugin_call_seconds_count", "headers", "response-headers"), 5.0);
    assert_eq!(of_hook("odin_plugin_failures_total", "trap", "request-headers"), 1.0);
    assert_eq!(metrics.sum("odin_requests_total", &[("listener", "web"), ("status", "2xx")]), 5.0);
    assert_eq!(metrics.sum("odin_requests_total", &[("listener", "web"), ("status", "5xx")]), 1.0);
    assert_eq!(metrics.sum("odin_connections_total", &[("listener", "tcp")]), 1.0);
    assert_eq!(metrics.sum("odin_plugin_traps_total", &[("plugin", "trap")]), 1.0, "{:?}", metrics.names());
    assert_eq!(metrics.sum("odin_plugin_traps_total", &[("plugin", "headers")]), 0.0);
}

#[tokio::test]
async fn plugins_are_listed_with_generation_hooks_and_hash() {
    let (odin, _backend, _tcp) = running().await;
    let listed = odin.admin("/plugins").await.has_status(200).json();
    let text = listed.to_string();
    for word in ["lb_rr", "headers", "trap", "generation", "request-headers", "balancer"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[tokio::test]
async fn clusters_are_listed_with_their_endpoints() {
    let (odin, backend, tcp) = running().await;
    let listed = odin.admin("/clusters").await.has_status(200).json().to_string();
    for word in ["web", "tcp", &backend.address().to_string(), &tcp.address().to_string(), "lb_rr"] {
        assert!(listed.contains(word), "{word} in {listed}");
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_listed_as_unhealthy() {
    let (dead, live) = (DeadPort::reserve(), HttpBackend::echo(Protocol::Http1).await);
    let odin = Odin::builder().balancer("lb_first").target(&dead).target(&live).start().await;
    let healthy = || async { odin.admin("/clusters").await.has_status(200).json().to_string() };
    assert!(!healthy().await.contains("\"healthy\":false"), "{}", healthy().await);
    odin.get("/").await.has_status(200);
    assert!(healthy().await.contains("\"healthy\":false"), "{}", healthy().await);
}

#[tokio::test]
async fn the_config_is_shown_as_it_is_in_force() {
    let (odin, backend, _tcp) = running().await;
    let shown = odin.admin("/config").await.has_status(200).text();
    for word in ["shutdown-grace", "head-bytes", "lb_rr", &backend.address().to_string()] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
}

#[tokio::test]
async fn each_exchange_is_one_line_of_the_access_log() {
    let (odin, backend, tcp) = running().await;
    let mut client = odin.connect().await;
    client.send(Request::post("/logged?q=1").body(body::full("twelve bytes")).unwrap()).await.has_status(200);
    let line = odin.access_log_contains(&["/logged"]).await;
    for word in ["POST", "/logged?q=1", "200", &backend.address().to_string()] {
        assert!(line.contains(word), "{word} in {line}");
    }
    let mut relayed = odin.connect_tcp().await;
    relayed.finish().await;
    relayed.rest().await;
    odin.access_log_contains(&[&tcp.address().to_string()]).await;
    assert_eq!(odin.access_log().all().iter().filter(|line| line.contains("/logged")).count(), 1);
}

#[tokio::test]
async fn a_json_access_log_is_json() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().section("[access-log]\nformat = \"json\"").target(&backend).start().await;
    let odd = "/odd\"quote?x=%0a";
    let mut client = odin.connect_raw().await;
    client.send(format!("GET {odd} HTTP/1.1\r\nHost: a\r\nUser-Agent: \"me\\\r\n\r\n")).await;
    let status = client.response("GET").await.unwrap().head.status();
    let line = odin.access_log_contains(&["/odd"]).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(line["status"], status);
}

#[tokio::test]
async fn without_an_access_log_there_is_none() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().section("[access-log]\nenabled = false").target(&backend).start().await;
    odin.get("/").await.has_status(200);
    let finished = odin.stop().await;
    assert_eq!(finished.stdout, "");
}
