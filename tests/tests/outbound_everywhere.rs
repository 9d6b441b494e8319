//! Calls from every hook, not the first alone: in the middle of bodies, in trailers, in a balancer, in TCP connections,
//! and calls that lead to calls.

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{
    BOTH, Company, HttpBackend, Odin, Protocol, RawBackend, Script, Target, TcpPeer, body, until, within,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

const HOOKS: [&str; 7] = [
    "request-headers",
    "request-body",
    "request-trailers",
    "response-headers",
    "response-body",
    "response-trailers",
    "exchange-end",
];

/// Answers with the status that the path names.
async fn statuses() -> HttpBackend {
    HttpBackend::start(Protocol::Http1, |request| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap_or(404);
        Response::builder().status(status).body(body::full("an answer")).unwrap()
    })
    .await
}

#[tokio::test]
async fn every_hook_of_an_exchange_may_call() {
    for upstream in BOTH {
        let side = statuses().await;
        let backend = HttpBackend::echo(upstream).await;
        let plugin = Script::new().plugin_of_calls("script", "side");
        let builder = Odin::builder().plugin(plugin).plugin("pass").cluster("side", &side).logging(&["trace"]);
        let odin = builder.upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            for mode in ["stream", "buffer", "hold"] {
                let read = format!("read {mode}");
                let script = HOOKS.iter().enumerate().fold(Script::new(), |script, (number, hook)| {
                    let call = format!("call side /{}", 200 + number);
                    let lines =
                        if hook.ends_with("-headers") { vec![call.as_str(), &read] } else { vec![call.as_str()] };
                    script.on(hook, &lines)
                });
                let path = format!("/{mode}/{downstream:?}");
                let request = Request::post(&path).header("x-script", script.field()).body(body::full("content"));
                let response = odin.connect_over(downstream).await.send(request.unwrap()).await.has_status(200);
                assert_eq!(response.json()["body"], "content", "{path}");
                let trace = odin.trace(&path).await.join(" ");
                for (number, hook) in HOOKS.iter().enumerate() {
                    let after =
                        trace.split(&format!("script.{hook}")).nth(1).unwrap_or_else(|| panic!("{hook}: {trace}"));
                    assert!(
                        after.split(" script.").next().unwrap().contains(&format!("call={}", 200 + number)),
                        "{hook}: {trace}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn both_bodies_may_wait_for_calls_at_the_same_time() {
    for upstream in BOTH {
        let side = statuses().await;
        let backend = HttpBackend::start(upstream, |request| async move { Response::new(forward(request)) }).await;
        let calls =
            Script::new().on("request-body", &["call side /200", "upper"]).on("response-body", &["call side /200"]);
        let builder = Odin::builder().plugin(calls.plugin_of_calls("calls", "side")).cluster("side", &side);
        let odin = builder.upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let mut clients = JoinSet::new();
            for _ in 0..10 {
                let mut client = odin.connect_over(downstream).await;
                clients.spawn(async move {
                    let sent = body::with_trailers(&["a", "b", "c", "d", "e", "f"], &[]);
                    client.send(Request::post("/").body(sent).unwrap()).await.has_status(200).has_body("ABCDEF");
                });
            }
            while let Some(done) = within("all exchanges", clients.join_next()).await {
                done.unwrap();
            }
        }
    }
}

/// Sends every piece back as it comes.
fn forward(request: Request<hyper::body::Incoming>) -> body::Body {
    let (feed, content) = body::by_hand();
    tokio::spawn(async move {
        let mut incoming = request.into_body();
        while let Some(Ok(frame)) = incoming.frame().await {
            if let Ok(data) = frame.into_data()
                && !feed.send(data).await
            {
                return;
            }
        }
    });
    content
}

#[tokio::test]
async fn a_slow_call_in_any_hook_holds_nobody_else_up_and_ends_with_its_client() {
    for hook in &HOOKS[..6] {
        let side = RawBackend::silent().await;
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let plugin = Script::new().plugin_of_calls("script", "side").with("outbound-timeout = \"60s\"");
        let odin = Odin::builder().plugin(plugin).cluster("side", &side).target(&backend).start().await;
        let company = Company::begin(&odin, &backend, 10).await;
        let script = Script::new().on(hook, &["call side /never"]).field();
        // A request without a body meets no hook of bodies; one with a body that nobody reads hides its client's end.
        let content = if *hook == "request-headers" { "" } else { "content" };
        let mut one = odin.connect_raw().await;
        let length = if content.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", content.len()) };
        one.send(format!("POST /slow HTTP/1.1\r\nHost: a\r\nX-Script: {script}\r\n{length}\r\n{content}")).await;
        let mut two = odin.connect_http2().await;
        let content = if content.is_empty() { body::empty() } else { body::full(content) };
        let request = Request::post("/slow").header("x-script", &script).body(content).unwrap();
        let waiting = tokio::spawn(async move { two.try_send(request).await.map(drop) });
        until("the calls are made", async || (side.connections() == 2).then_some(())).await;
        for turn in 0..20 {
            odin.connect_over(BOTH[turn % 2]).await.get("/other").await.has_status(200);
        }
        // While a response is under way an HTTP/1 client says nothing that could be heard: it stays to the end.
        let heard = !matches!(*hook, "response-body" | "response-trailers");
        if heard {
            one.reset();
        }
        waiting.abort();
        company.goes_on().await;
        // What the calls had is given back.
        until(&format!("the calls are over in {hook}"), async || {
            let metrics = odin.metrics().await;
            (metrics.sum("odin_endpoint_active", &[("cluster", "side")]) == if heard { 0.0 } else { 1.0 }).then_some(())
        })
        .await;
        let mut odin = odin;
        assert!(odin.is_running(), "{hook}");
    }
}

#[tokio::test]
async fn a_balancer_may_call() {
    let side = statuses().await;
    let (first, last) = (HttpBackend::named("first", Protocol::Http1), HttpBackend::named("last", Protocol::Http1));
    let (first, last) = (first.await, last.await);
    let script = Script::new().on("balancer", &["call side /200", "remember pick integer 1"]);
    let balancer = script.plugin_of_calls("lb", "side");
    let config = format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ncluster = \"web\"\n\
         [clusters.web]\nendpoints = [\"{}\", \"{}\"]\nbalancer = \"lb\"\n[clusters.side]\nendpoints = [\"{}\"]\n",
        first.address(),
        last.address(),
        side.address()
    );
    let odin = Odin::builder().with_config(config).plugin_file(balancer).start().await;
    for (number, downstream) in BOTH.into_iter().enumerate() {
        odin.connect_over(downstream).await.get("/").await.has_status(200).has_field("backend", "last");
        assert_eq!(side.requests(), number + 1);
    }
}

#[tokio::test]
async fn calls_that_lead_to_calls_end_four_deep() {
    // The balancer of `side` calls `side` itself.
    let side = statuses().await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let balancer = Script::new().on("balancer", &["call side /200"]).plugin_of_calls("again", "side");
    let plugin =
        Script::new().on("request-headers", &["call side /200", "show x-called"]).plugin_of_calls("first", "side");
    let builder = Odin::builder().plugin(plugin).plugin_file(balancer).target(&backend);
    let section = format!("[clusters.side]\nendpoints = [\"{}\"]\nbalancer = \"again\"", side.address());
    let odin = builder.section(&section).start().await;
    for (number, downstream) in BOTH.into_iter().enumerate() {
        let seen = odin.connect_over(downstream).await.get("/").await.has_status(200).json();
        let called = odin_tests::echoed(&seen, "x-called").join("");
        assert!(called.ends_with("call=200"), "{called}");
        // The deepest was refused, those around it were made.
        assert_eq!(side.requests(), (number + 1) * 4);
    }
}

#[tokio::test]
async fn the_hooks_of_a_tcp_connection_may_call() {
    let side = statuses().await;
    let backend = TcpPeer::echo("").await;
    let script = Script::new().on("connect", &["call side /201"]).on("downstream-data", &["call side /202", "upper"]);
    let script = script.on("upstream-data", &["call side /203"]).on("close", &["call side /204"]);
    let builder = Odin::builder().tcp_plugin(script.plugin_of_calls("tcp", "side")).cluster("side", &side);
    let odin = builder.tcp_target(&backend).logging(&["trace"]).start().await;
    let mut client = odin.connect_tcp().await;
    client.send("hello").await;
    assert_eq!(client.read(5).await, b"HELLO");
    client.finish().await;
    client.rest().await;
    let line = odin.access_log_contains(&["TCP"]).await;
    for word in ["tcp.connect call=201", "call=202", "call=203", "tcp.close call=204"] {
        assert!(line.contains(word), "{word}: {line}");
    }
}

#[tokio::test]
async fn while_odin_drains_a_call_is_waited_for() {
    let (release, released) = watch::channel(false);
    let side = HttpBackend::start(Protocol::Http1, move |_| {
        let mut released = released.clone();
        async move {
            let _ = released.wait_for(|go| *go).await;
            Response::new(body::empty())
        }
    })
    .await;
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = Script::new().on("request-headers", &["call side /", "show x-called"]);
    let plugin = plugin.plugin_of_calls("calls", "side").with("outbound-timeout = \"60s\"");
    let odin = Odin::builder().plugin(plugin).cluster("side", &side).target(&backend).start().await;
    let mut waiting = JoinSet::new();
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        waiting.spawn(async move { client.get("/").await });
    }
    side.has_seen(2).await;
    odin.terminate();
    odin.log_contains(&["draining"]).await;
    release.send_replace(true);
    while let Some(done) = within("the exchanges end", waiting.join_next()).await {
        let seen = done.unwrap().has_status(200).json();
        assert!(odin_tests::echoed(&seen, "x-called").join("").ends_with("call=200"), "{seen}");
    }
    assert!(odin.finished().await.success());
}
