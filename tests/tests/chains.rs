//! Several plugins at once on difficult ways: different modes in one chain, both directions at the same time, swaps and
//! retries in the middle, old clients, pipelined requests.

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{
    BOTH, BodyEnd, DeadPort, HttpBackend, Odin, PluginEntry, Protocol, Script, body, echoed, paths, within,
};

#[tokio::test]
async fn each_plugin_of_a_chain_sees_the_body_in_its_own_way() {
    let modes = ["stream", "buffer", "hold", "skip"];
    for upstream in BOTH {
        let backend = HttpBackend::start(upstream, |request| async move {
            let content = request.into_body().collect().await.unwrap();
            let up = content.trailers().and_then(|fields| fields.get("x-up")).cloned();
            let mut response = Response::new(body::full(content.to_bytes()));
            response.headers_mut().extend(up.map(|up| (http::HeaderName::from_static("x-up"), up)));
            response
        })
        .await;
        let plugin = |name: &str| Script::new().plugin(name);
        let builder = Odin::builder().plugin(plugin("a")).plugin(plugin("b")).plugin(plugin("c"));
        let odin = builder.upstream(upstream).target(&backend).start().await;
        let script = |name: &str, mode: &str| {
            let read = format!("read {mode}");
            let script = Script::new().on("request-headers", &[&read]).on("response-headers", &[&read]);
            let mark = format!("end: append {name}");
            script.on("request-body", &["more: pass", &mark]).on("response-body", &["more: pass", &mark]).field()
        };
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            for (first, second) in modes.into_iter().flat_map(|a| modes.into_iter().map(move |b| (a, b))) {
                let content = body::with_trailers(&["bo", "dy-"], &[("x-up", "1")]);
                let request = Request::post("/").header("te", "trailers").header("trailer", "x-up");
                let request = request.header("x-a", script("a", first)).header("x-b", script("b", second));
                let request = request.header("x-c", script("c", "hold")).body(content).unwrap();
                let response = client.send(request).await.has_status(200);
                let mark = |name: &'static str, mode: &str| if mode == "skip" { "" } else { name };
                let (a, b) = (mark("a", first), mark("b", second));
                let what = format!("{first} {second} hold: {downstream:?} to {upstream:?}");
                assert_eq!(response.text(), format!("body-{a}{b}cc{b}{a}"), "{what}");
                assert_eq!(response.field("x-up").as_deref(), Some("1"), "{what}");
            }
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn both_directions_go_through_hooks_at_the_same_time() {
    for upstream in BOTH {
        // Sends every piece back as it comes.
        let backend = HttpBackend::start(upstream, |request| async move {
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
            Response::new(content)
        })
        .await;
        let stars = Script::new().on("request-body", &["more: upper"]).on("response-body", &["more: append *"]);
        let builder = Odin::builder().plugin(stars.plugin("stars")).plugin("pass");
        let odin = builder.upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let (feed, content) = body::by_hand();
            let mut client = odin.connect_over(downstream).await;
            assert!(feed.send("zero").await);
            let response = client.start(Request::post("/").body(content).unwrap()).await;
            let mut incoming = response.into_body();
            let mut next = async || {
                let mut text = String::new();
                while !text.ends_with('*') {
                    let frame = within("a piece comes back", incoming.frame()).await.unwrap().unwrap();
                    text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
                }
                text
            };
            assert_eq!(next().await, "ZERO*", "{downstream:?} to {upstream:?}");
            for turn in 0..50 {
                assert!(feed.send(format!("turn {turn}")).await);
                assert_eq!(next().await, format!("TURN {turn}*"), "{downstream:?} to {upstream:?}");
            }
            drop(feed);
            let rest = within("the end", incoming.collect()).await.expect("it ends well").to_bytes();
            assert!(rest.is_empty(), "{rest:?}");
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn a_swap_in_the_middle_of_a_body_changes_the_next_exchange() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = PluginEntry::new("body_probe").with("config = \"stream upper\"");
    let odin = Odin::builder().plugin(plugin).target(&backend).start().await;
    for (turn, downstream) in BOTH.into_iter().enumerate() {
        let probe = [paths::plugin_bytes("body_probe"), vec![0, 2, 1, turn as u8]].concat();
        odin.post_plugin("body_probe", probe).await.has_status(200);
        let (feed, content) = body::by_hand();
        let mut client = odin.connect_over(downstream).await;
        let before = backend.requests();
        let answer = tokio::spawn(async move { client.send(Request::post("/").body(content).unwrap()).await });
        assert!(feed.send("before ").await);
        backend.has_seen(before + 1).await;
        let other = [paths::plugin_bytes("hold_forever"), vec![0, 2, 1, turn as u8]].concat();
        odin.post_plugin("body_probe", other).await.has_status(200);
        let next = odin.connect_over(downstream).await.send(Request::post("/").body(body::full("next")).unwrap()).await;
        assert_eq!(next.has_status(200).json()["body"], "next");
        assert!(feed.send("and after").await);
        drop(feed);
        let seen = within("the response", answer).await.unwrap().has_status(200).json();
        assert_eq!(seen["body"], "BEFORE AND AFTER", "{downstream:?}");
    }
}

#[tokio::test]
async fn another_endpoint_is_tried_with_the_same_head_and_the_facts_say_so() {
    let dead = DeadPort::reserve();
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let script = Script::new().on("request-headers", &["read hold", "request.set x-a 1"]);
        let script = script.on("request-body", &["request.append x-once 1", "append !"]);
        let script = script.on("response-headers", &["recall odin.attempt", "recall odin.endpoint"]);
        let builder =
            Odin::builder().plugin(script.plugin("a")).balancer(Script::new().plugin("lb")).logging(&["trace"]);
        let odin = builder.upstream(upstream).target(&dead).target(&backend).start().await;
        for downstream in BOTH {
            let path = format!("/{downstream:?}");
            let request = Request::post(&path).body(body::full("content")).unwrap();
            let seen = odin.connect_over(downstream).await.send(request).await.has_status(200).json();
            assert_eq!((seen["body"].as_str(), echoed(&seen, "x-once")), (Some("content!"), vec!["1".to_string()]));
            let trace = odin.trace(&path).await;
            let bodies = trace.iter().filter(|word| word.starts_with("a.request-body")).count();
            assert_eq!(bodies, 1, "{trace:?}");
            let address = odin_tests::Target::address(&backend);
            assert!(trace.contains(&format!("recall=odin.endpoint=text:{address}")), "{trace:?}");
        }
        // The first found the dead one, and the balancer was asked again.
        let trace = odin.trace("/Http1").await;
        assert_eq!(trace.iter().filter(|word| *word == "lb.balancer").count(), 2, "{trace:?}");
        assert!(trace.contains(&"recall=odin.attempt=integer:2".to_string()), "{trace:?}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_body_of_unknown_length_by_close() {
    let backend = HttpBackend::start(Protocol::Http1, |_| async { Response::new(body::full("content")) }).await;
    let script = Script::new().on("response-body", &["more: pass", "end: append !"]);
    let script = script.on("response-trailers", &["trailers.set x-lost 1"]);
    let odin = Odin::builder().plugin(script.plugin("a")).target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let response = client.response("GET").await.expect("a response");
    assert_eq!(response.head.status(), 200);
    assert!(response.head.field("transfer-encoding").is_none(), "{response:?}");
    assert_eq!((response.body.as_slice(), &response.end), (&b"content!"[..], &BodyEnd::ByClose));
}

#[tokio::test]
async fn pipelined_requests_go_through_hooks_one_after_the_other() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let script = Script::new().on("request-headers", &["read hold"]).on("request-body", &["upper"]);
    let odin = Odin::builder().plugin(script.plugin("a")).plugin("echo").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    let mut all = String::new();
    for turn in 0..20 {
        all += &match turn % 3 {
            0 => format!("POST /{turn} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"),
            1 => format!("POST /{turn} HTTP/1.1\r\nHost: a\r\nX-Echo-Only: yes\r\nContent-Length: 4\r\n\r\necho"),
            _ => format!(
                "POST /{turn} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
            ),
        };
    }
    client.send(all).await;
    for turn in 0..20 {
        let response = client.response("POST").await.unwrap_or_else(|| panic!("no response {turn}"));
        assert_eq!((response.head.status(), &response.end), (200, &BodyEnd::Complete), "{turn}: {response:?}");
        if turn % 3 == 1 {
            assert_eq!(response.body, b"ECHO", "{turn}");
        } else {
            let seen: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!((&seen["path"], &seen["body"]), (&format!("/{turn}").into(), &"BODY".into()));
        }
    }
}

#[tokio::test]
async fn a_reply_before_the_body_was_sent_leaves_the_connection_in_step() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("reply").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    // The body comes behind the answer, and looks like a request.
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len())).await;
    assert_eq!(client.response("POST").await.expect("a response").head.status(), 418);
    client.send(smuggled).await;
    client.send("GET /next HTTP/1.1\r\nHost: a\r\nX-Pass: 1\r\n\r\n").await;
    if let Some(next) = client.response("GET").await {
        let seen: serde_json::Value = serde_json::from_slice(&next.body).unwrap_or_else(|_| panic!("{next:?}"));
        assert_eq!(seen["path"], "/next");
    }
    assert!(!backend.paths().contains(&"/smuggled".to_string()));
    assert!(!odin.access_log().all().iter().any(|line| line.contains("/smuggled")));
}

#[tokio::test]
async fn the_time_of_each_plugin_on_each_route_is_on_the_metrics_page() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let builder = Odin::builder().workers(2).plugin("headers").plugin(Script::new().plugin("script"));
    let odin = builder.only_under("/with").target(&backend).start().await;
    for turn in 0..20 {
        odin.connect_over(BOTH[turn % 2]).await.get("/without").await.has_status(200);
    }
    let seconds = async |plugin: &str| {
        let metrics = odin.metrics().await;
        metrics.sum("odin_plugin_cpu_seconds_total", &[("plugin", plugin), ("listener", "web")])
    };
    assert_eq!(seconds("headers").await + seconds("script").await, 0.0);
    for turn in 0..20 {
        odin.connect_over(BOTH[turn % 2]).await.get("/with").await.has_status(200);
    }
    let (quick, slow) = (seconds("headers").await, seconds("script").await);
    assert!(quick > 0.0 && slow > quick && slow < 10.0, "{quick} and {slow}");
    let metrics = odin.metrics().await;
    let calls = [("plugin", "headers"), ("hook", "request-headers")];
    assert_eq!(metrics.sum("odin_plugin_call_seconds_count", &calls), 20.0);
}
