//! Plugins that hit their limits while a hundred other exchanges are under way on the same worker: these complete
//! untouched, the one gets its error, and the memory is there again.

use std::io::ErrorKind;

use http::Request;
use odin_tests::{BOTH, Company, HttpBackend, Odin, PluginEntry, Protocol, Raw, Script, body, until};

const COMPANY: usize = 100;
const TURNS: usize = 100;
/// What may stay resident after a hundred turns: allocators do not give everything back at once.
const KEPT: u64 = 8 << 20;

/// Sends the spoilt request a hundred times over each version, with company; each gets this status.
async fn costs_its_own_exchange_alone(
    plugin: PluginEntry,
    spoilt: impl Fn() -> http::request::Builder,
    content: impl Fn() -> body::Body,
    status: u16,
    log: &[&str],
) {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = plugin.called("hostile").with("breaker = { percent = 0 }");
    let odin = Odin::builder().plugin(plugin).only_under("/bad").target(&backend).start().await;
    let company = Company::begin(&odin, &backend, COMPANY).await;
    let turn = async |downstream| {
        let request = spoilt().uri("/bad").body(content()).unwrap();
        odin.connect_over(downstream).await.send(request).await.has_status(status)
    };
    // The first turns pay for what is made once.
    for downstream in BOTH {
        for _ in 0..10 {
            turn(downstream).await;
        }
    }
    let before = odin.resident_bytes();
    for number in 0..TURNS {
        turn(BOTH[number % 2]).await;
    }
    if !log.is_empty() {
        odin.log_contains(&[&["hostile"], log].concat()).await;
    }
    until("the memory is there again", async || {
        // An allocator gives back when it is asked for something.
        turn(Protocol::Http1).await;
        let now = odin.resident_bytes();
        (now < before + KEPT).then_some(())
    })
    .await;
    println!("{before} bytes resident before {TURNS} turns, {} after", odin.resident_bytes());
    company.goes_on().await;
    odin.get("/good").await.has_status(200);
    odin.no_exchange_is_left().await;
    odin.stop().await;
}

fn get() -> http::request::Builder {
    Request::get("/")
}

#[tokio::test]
async fn memory() {
    let plugin = PluginEntry::new("bomb").with("timeout = \"5s\"");
    costs_its_own_exchange_alone(plugin, get, body::empty, 502, &["memory"]).await;
}

#[tokio::test]
async fn time() {
    costs_its_own_exchange_alone("loop_forever".into(), get, body::empty, 502, &["request-headers", "10"]).await;
}

#[tokio::test]
async fn stack() {
    let plugin = PluginEntry::new("recurse").with("timeout = \"5s\"");
    costs_its_own_exchange_alone(plugin, get, body::empty, 502, &["overflowed its stack"]).await;
}

#[tokio::test]
async fn a_trap() {
    let spoilt = || get().header("x-trap", "now");
    costs_its_own_exchange_alone(
        "trap".into(),
        spoilt,
        body::empty,
        502,
        &["fall_into_the_trap", "panicked at", "lib.rs:", "as asked"],
    )
    .await;
}

#[tokio::test]
async fn host_allocation_by_asking_for_much() {
    let spoilt = || get().header("user-agent", "x".repeat(4000));
    costs_its_own_exchange_alone("greedy".into(), spoilt, body::empty, 502, &["request-headers"]).await;
}

#[tokio::test]
async fn host_allocation_by_answering_much() {
    // Within its memory, but over what the host copies in one call.
    let spoilt = || get().header("x-size", (4 << 20).to_string());
    costs_its_own_exchange_alone("hungry_reply".into(), spoilt, body::empty, 502, &["request-headers"]).await;
}

#[tokio::test]
async fn log_rate() {
    let plugin = PluginEntry::new("flood").with("timeout = \"1s\"").with("log-rate = 10");
    costs_its_own_exchange_alone(plugin, get, body::empty, 200, &["dropped"]).await;
}

#[tokio::test]
async fn context_size() {
    let plugin = PluginEntry::new("context_hog").with("timeout = \"1s\"");
    costs_its_own_exchange_alone(plugin, get, body::empty, 200, &[]).await;
}

#[tokio::test]
async fn body_limit_of_a_request() {
    let spoilt = || Request::post("/");
    costs_its_own_exchange_alone("hold_forever".into(), spoilt, || body::long((1 << 20) + 100_000), 413, &[]).await;
}

#[tokio::test]
async fn handles_of_many_counters() {
    let plugin = || PluginEntry::new("hoarder").granting("shared").granting("metrics").with("timeout = \"1s\"");
    for what in ["counters", "metrics", "same"] {
        costs_its_own_exchange_alone(plugin(), || get().header("x-what", what), body::empty, 502, &["request-headers"])
            .await;
    }
}

#[tokio::test]
async fn a_loop_or_a_trap_in_any_hook_costs_its_exchange_alone() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = Script::new().plugin("script").with("breaker = { percent = 0 }");
    let balancer = Script::new().plugin("lb").with("breaker = { percent = 0 }");
    let odin = Odin::builder().plugin(plugin).balancer(balancer).target(&backend).start().await;
    let company = Company::begin(&odin, &backend, COMPANY).await;
    for downstream in BOTH {
        for failure in ["spin", "trap", "err not today"] {
            for hook in ["request-headers", "request-body", "request-trailers", "response-headers", "balancer"] {
                let script = match hook {
                    "request-headers" => Script::new(),
                    // So that the failure comes before a head has gone.
                    _ => Script::new().on("request-headers", &["read hold"]),
                };
                let script = script.on(hook, &[failure]).field();
                let field = if hook == "balancer" { "x-lb" } else { "x-script" };
                let request = Request::post("/").header(field, &script).body(body::full("content")).unwrap();
                let from = odin.log().len();
                let response = odin.connect_over(downstream).await.send(request).await.has_status(502);
                response.has_body("odin: plugin failed\n");
                odin.log_contains_after(from, &[hook, if hook == "balancer" { "lb" } else { "script" }]).await;
            }
            // The client has its response already.
            let script = Script::new().on("exchange-end", &[failure]).field();
            let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
            let from = odin.log().len();
            odin.connect_over(downstream).await.send(request).await.has_status(200);
            odin.log_contains_after(from, &["exchange-end", "script"]).await;
        }
    }
    company.goes_on().await;
}

#[tokio::test]
async fn a_loop_in_a_tcp_hook_costs_its_connection_alone() {
    let backend = odin_tests::TcpPeer::echo("").await;
    for hook in ["connect", "downstream-data", "upstream-data", "close"] {
        for failure in ["spin", "trap"] {
            let script = Script::new().on(hook, &[failure]).plugin("tcp").with("breaker = { percent = 0 }");
            let odin = Odin::builder().tcp_plugin(script).tcp_target(&backend).start().await;
            let mut clients = Vec::new();
            for _ in 0..3 {
                let mut client = match Raw::try_connect(odin.address("tcp")).await {
                    Ok(client) => client,
                    // It is the first hook that fails: the connection ends without a word, at whatever moment.
                    Err(error) if hook == "connect" && error.kind() == ErrorKind::ConnectionReset => continue,
                    Err(error) => panic!("{hook} {failure}: {error}"),
                };
                client.send("hello").await;
                if hook == "close" {
                    assert_eq!(client.read(5).await, b"hello");
                    client.finish().await;
                }
                clients.push(client);
            }
            for mut client in clients {
                let (rest, _) = client.rest().await;
                assert!(rest.is_empty(), "{hook} {failure}: {rest:?}");
            }
            odin.log_contains(&["tcp", hook]).await;
            assert!(odin.is_ready().await);
        }
    }
}

#[tokio::test]
async fn a_plugin_that_is_stopped_begins_anew() {
    // What an instance remembered is gone with it, and everything else is as before.
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = PluginEntry::new("trap").with("breaker = { percent = 0 }");
    let odin = Odin::builder().plugin(plugin).plugin("probe").target(&backend).start().await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        for field in ["x-trap", "x-trap-body", "x-trap-response", "x-trap-end"] {
            let request = Request::post("/").header(field, "1").body(body::full("content")).unwrap();
            // In the body hook of a stream the upstream may be told first.
            let response = client.try_send(request).await;
            match field {
                "x-trap-end" => drop(response.unwrap().has_status(200)),
                _ => drop(response.unwrap().has_status(502)),
            }
            client.get("/").await.has_status(200);
        }
    }
    let metrics = odin.metrics().await;
    assert_eq!(metrics.sum("odin_plugin_traps_total", &[("plugin", "trap")]), 8.0);
}
