//! Plugins that call other services in the middle of a hook: what they get, and that nobody else waits for it.

use http::{Request, Response};
use odin_tests::{
    BOTH, BlackHole, Builder, Company, DeadPort, HttpBackend, Odin, PluginEntry, Protocol, RawBackend, Target, body,
    echoed, within,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The guest `caller`, which may call `side`, before the echo backend.
fn calling(side: &impl Target) -> Builder {
    Odin::builder().plugin(PluginEntry::new("caller").calling("side")).cluster("side", side)
}

fn call(fields: &[(&str, &str)]) -> Request<body::Body> {
    let request = Request::get("/asked").header("x-call", "side");
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body::empty()).unwrap()
}

/// What the plugin got, as it told the upstream.
async fn called(odin: &Odin, downstream: Protocol, fields: &[(&str, &str)]) -> String {
    let seen = odin.connect_over(downstream).await.send(call(fields)).await.has_status(200).json();
    echoed(&seen, "x-called").join(",")
}

#[tokio::test]
async fn the_plugin_gets_the_answer_and_goes_on_with_it() {
    for protocol in BOTH {
        let side = HttpBackend::start(protocol, |request| async move {
            let status: u16 = request.uri().path().trim_start_matches('/').parse().unwrap();
            let from = request.headers().get("x-from").map_or("", |from| from.to_str().unwrap());
            let authority = match request.uri().authority() {
                Some(authority) => authority.to_string(),
                None => request.headers()["host"].to_str().unwrap().to_string(),
            };
            let line = format!("{} {from} {authority} {:?}\nmore", request.method(), request.version());
            Response::builder().status(status).body(body::full(line)).unwrap()
        })
        .await;
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let odin = Odin::builder().plugin(PluginEntry::new("caller").calling("side")).target(&backend);
        let cluster =
            format!("[clusters.side]\nendpoints = [\"{}\"]\nprotocol = \"{}\"", side.address(), protocol.name());
        let odin = odin.section(&cluster).start().await;
        for downstream in BOTH {
            for status in ["200", "404", "500"] {
                let fields = [("x-call-path", format!("/{status}"))];
                let request = call(&[(fields[0].0, &fields[0].1)]);
                let seen = odin.connect_over(downstream).await.send(request).await.has_status(200).json();
                assert_eq!(echoed(&seen, "x-called"), [status]);
                let version = if protocol == Protocol::Http1 { "HTTP/1.1" } else { "HTTP/2.0" };
                assert_eq!(echoed(&seen, "x-called-body"), [format!("GET caller side {version}")]);
            }
        }
        assert_eq!(side.requests(), 6);
        let metrics = odin.metrics().await;
        assert_eq!(metrics.sum("odin_plugin_outbound_calls_total", &[("plugin", "caller")]), 6.0);
        assert_eq!(metrics.sum("odin_plugin_outbound_failures_total", &[("plugin", "caller")]), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_slow_call_but_the_exchange_that_made_it() {
    const OTHERS: usize = 1000;
    let (release, released) = watch::channel(false);
    let side = HttpBackend::start(Protocol::Http1, move |_| {
        let mut released = released.clone();
        async move {
            let _ = released.wait_for(|go| *go).await;
            Response::new(body::full("at last"))
        }
    })
    .await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = PluginEntry::new("caller").calling("side").with("outbound-timeout = \"60s\"");
    let odin = Odin::builder().plugin(plugin).cluster("side", &side).target(&backend).start().await;
    for downstream in BOTH {
        release.send_replace(false);
        // Several calls at once, all on the one worker.
        let before = side.requests();
        let mut waiting = JoinSet::new();
        for _ in 0..10 {
            let mut client = odin.connect_over(downstream).await;
            waiting.spawn(async move { client.send(call(&[])).await });
        }
        side.has_seen(before + 10).await;
        // All others, through the same plugin on the same worker, are complete before any call is answered.
        let mut others = JoinSet::new();
        for number in 0..20 {
            let mut client = odin.connect_over(if number % 2 == 0 { Protocol::Http1 } else { Protocol::Http2 }).await;
            others.spawn(async move {
                for _ in 0..OTHERS / 20 {
                    client.get("/other").await.has_status(200);
                }
            });
        }
        while let Some(done) = within("the others", others.join_next()).await {
            done.unwrap();
        }
        assert!(waiting.try_join_next().is_none(), "a call was answered before its answer was there");
        release.send_replace(true);
        while let Some(done) = within("the calls", waiting.join_next()).await {
            let seen = done.unwrap().has_status(200).json();
            assert_eq!(echoed(&seen, "x-called-body"), ["at last"]);
        }
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_with_an_error_for_the_plugin() {
    let side = RawBackend::silent().await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = || PluginEntry::new("caller").calling("side");
    // The plugin's own computing time is far below the wait.
    let odin = Odin::builder().plugin(plugin().with("outbound-timeout = \"30s\"").with("timeout = \"50ms\""));
    let odin = odin.cluster("side", &side).target(&backend).start().await;
    for downstream in BOTH {
        assert_eq!(called(&odin, downstream, &[("x-call-timeout-ms", "300")]).await, "timeout");
    }
    let strict = Odin::builder().plugin(plugin().with("outbound-timeout = \"100ms\""));
    let strict = strict.cluster("side", &side).target(&backend).start().await;
    for downstream in BOTH {
        // The config's own, and no plugin gets more.
        assert_eq!(called(&strict, downstream, &[]).await, "timeout");
        assert_eq!(called(&strict, downstream, &[("x-call-timeout-ms", "3600000")]).await, "timeout");
    }
    let metrics = strict.metrics().await;
    assert_eq!(metrics.sum("odin_plugin_outbound_failures_total", &[("plugin", "caller")]), 4.0);
    assert_eq!(metrics.sum("odin_plugin_traps_total", &[]) + metrics.sum("odin_plugin_timeouts_total", &[]), 0.0);
}

#[tokio::test]
async fn the_time_of_a_call_holds_to_the_last_byte() {
    let side = RawBackend::stalling_after("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = calling(&side).target(&backend).start().await;
    for downstream in BOTH {
        assert_eq!(called(&odin, downstream, &[("x-call-timeout-ms", "100")]).await, "timeout");
    }
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_an_error_and_no_trap() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let dead = DeadPort::reserve();
    let odin = calling(&dead).target(&backend).start().await;
    let hole = BlackHole::open();
    let lost = calling(&hole).target(&backend).section("[timeouts]\nconnect = \"100ms\"").start().await;
    for downstream in BOTH {
        for _ in 0..20 {
            assert_eq!(called(&odin, downstream, &[]).await, "unreachable");
        }
        let error = called(&lost, downstream, &[]).await;
        assert!(error == "unreachable" || error == "timeout", "{error}");
    }
    assert_eq!(odin.plugin_status("caller").await["breaker"]["state"], "closed");
    assert_eq!(odin.metrics().await.sum("odin_plugin_traps_total", &[]), 0.0);
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error_and_no_trap() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let side = RawBackend::answering(answer).await;
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let odin = calling(&side).target(&backend).start().await;
        for downstream in BOTH {
            assert_eq!(called(&odin, downstream, &[]).await, "broken", "{answer:?}");
        }
        assert_eq!(odin.metrics().await.sum("odin_plugin_traps_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn a_cluster_that_dies_under_a_call_is_an_error_and_the_next_call_goes_on() {
    let (asked, mut is_asked) = watch::channel(0);
    let side = RawBackend::start(move |mut connection, number| {
        let asked = asked.clone();
        async move {
            connection.head().await;
            asked.send_modify(|count| *count += 1);
            match number % 2 {
                0 => connection.reset(),
                _ => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nalive").await,
            }
        }
    })
    .await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = calling(&side).target(&backend).start().await;
    for downstream in BOTH {
        assert_eq!(called(&odin, downstream, &[]).await, "broken");
        assert_eq!(called(&odin, downstream, &[]).await, "200");
    }
    within("all calls", is_asked.wait_for(|count| *count == 4)).await.unwrap();
}

#[tokio::test]
async fn an_answer_over_the_body_limit_is_an_error() {
    for known_length in [true, false] {
        let side = HttpBackend::start(Protocol::Http1, move |_| async move {
            match known_length {
                true => Response::new(body::full("x".repeat(5000))),
                false => Response::new(body::long(5000)),
            }
        })
        .await;
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let plugin = PluginEntry::new("caller").calling("side").with("body-limit = \"4KiB\"");
        let odin = Odin::builder().plugin(plugin).cluster("side", &side).target(&backend).start().await;
        for downstream in BOTH {
            assert_eq!(called(&odin, downstream, &[]).await, "too-large");
        }
    }
}

#[tokio::test]
async fn more_than_sixteen_calls_in_one_hook_are_too_many() {
    let side = HttpBackend::echo(Protocol::Http1).await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = calling(&side).target(&backend).start().await;
    for (number, downstream) in BOTH.into_iter().enumerate() {
        assert_eq!(called(&odin, downstream, &[("x-call-times", "16")]).await, "200");
        assert_eq!(called(&odin, downstream, &[("x-call-times", "17")]).await, "too-many");
        assert_eq!(side.requests(), (number + 1) * 32);
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_granted_cannot_be_called() {
    let (side, backend) = (HttpBackend::echo(Protocol::Http1).await, HttpBackend::echo(Protocol::Http1).await);
    let odin = calling(&side).cluster("other", &side).target(&backend).start().await;
    for downstream in BOTH {
        for cluster in ["other", "nowhere", "", "web"] {
            let request = Request::get("/").header("x-call", cluster).body(body::empty()).unwrap();
            let seen = odin.connect_over(downstream).await.send(request).await.has_status(200).json();
            assert_eq!(echoed(&seen, "x-called"), ["not-granted"], "{cluster}");
        }
    }
    assert_eq!(side.requests(), 0);
}

#[tokio::test]
async fn a_request_that_http_does_not_allow_is_refused() {
    let (side, backend) = (HttpBackend::echo(Protocol::Http1).await, HttpBackend::echo(Protocol::Http1).await);
    let odin = calling(&side).target(&backend).start().await;
    for downstream in BOTH {
        for path in ["no-slash", "/with space", "http://elsewhere/"] {
            assert_eq!(called(&odin, downstream, &[("x-call-path", path)]).await, "invalid", "{path:?}");
        }
    }
    assert_eq!(side.requests(), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_call() {
    let (gone, mut is_gone) = watch::channel(0);
    let side = RawBackend::start(move |mut connection, _| {
        let gone = gone.clone();
        async move {
            connection.head().await;
            connection.rest().await;
            gone.send_modify(|count| *count += 1);
        }
    })
    .await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = PluginEntry::new("caller").calling("side").with("outbound-timeout = \"60s\"");
    let odin = Odin::builder().plugin(plugin).cluster("side", &side).target(&backend).start().await;
    let company = Company::begin(&odin, &backend, 20).await;
    let mut client = odin.connect_raw().await;
    client.send("GET /left HTTP/1.1\r\nHost: a\r\nX-Call: side\r\n\r\n").await;
    let mut stream = odin.connect_http2().await;
    let begun = stream.begin(call(&[])).await;
    odin_tests::until("both calls are made", async || (side.connections() == 2).then_some(())).await;
    client.reset();
    drop(begun);
    within("the calls end", is_gone.wait_for(|count| *count == 2)).await.unwrap();
    company.goes_on().await;
    odin.access_log_contains(&["/left"]).await;
    assert_eq!(called(&odin, Protocol::Http1, &[("x-call-timeout-ms", "50")]).await, "timeout");
}

#[tokio::test]
async fn a_swap_in_the_middle_of_a_call_does_not_disturb_it() {
    let (release, released) = watch::channel(false);
    let side = HttpBackend::start(Protocol::Http1, move |_| {
        let mut released = released.clone();
        async move {
            let _ = released.wait_for(|go| *go).await;
            Response::new(body::full("old"))
        }
    })
    .await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = PluginEntry::new("caller").calling("side").with("outbound-timeout = \"60s\"");
    let odin = Odin::builder().plugin(plugin).cluster("side", &side).target(&backend).start().await;
    let mut client = odin.connect().await;
    let waiting = tokio::spawn(async move { client.send(call(&[])).await });
    side.has_seen(1).await;
    odin.post_plugin("caller", odin_tests::paths::plugin_bytes("headers")).await.has_status(200);
    odin.get("/").await.has_status(200).has_field("x-odin-response", "yes");
    release.send_replace(true);
    let seen = within("the call", waiting).await.unwrap().has_status(200).json();
    assert_eq!(echoed(&seen, "x-called-body"), ["old"]);
}
