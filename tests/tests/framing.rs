//! Plugins cannot break the framing of a message: the host refuses the fields that do, in heads, trailers and replies,
//! and says so.

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{BOTH, HttpBackend, Odin, Protocol, Script, body, echoed};

const FRAMING: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "host",
];

/// `set`, `append` and `remove` of every such field, in more than one spelling.
fn attempts(side: &str) -> Vec<String> {
    let spelt = FRAMING.iter().flat_map(|name| [name.to_string(), name.to_uppercase()]);
    spelt
        .flat_map(|name| {
            [format!("{side}.set {name} 3"), format!("{side}.append {name} chunked"), format!("{side}.remove {name}")]
        })
        .collect()
}

fn script_of(lines: &[(&str, Vec<String>)]) -> Script {
    lines.iter().fold(Script::new(), |script, (hook, lines)| {
        script.on(hook, &lines.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

#[tokio::test]
async fn framing_fields_are_refused_in_every_head_and_in_trailers() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let script = script_of(&[
            ("request-headers", attempts("request")),
            ("request-trailers", attempts("trailers")),
            ("response-headers", attempts("response")),
            ("response-trailers", attempts("trailers")),
        ]);
        let builder = Odin::builder().plugin(script.plugin("framer")).logging(&["trace"]);
        let odin = builder.upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let path = format!("/{downstream:?}");
            let request = Request::post(&path).body(body::full("twelve bytes")).unwrap();
            let mut client = odin.connect_over(downstream).await;
            let seen = client.send(request).await.has_status(200).json();
            assert_eq!((&seen["body"], &seen["complete"]), (&"twelve bytes".into(), &true.into()), "{seen}");
            let trace = odin.trace(&path).await;
            for (side, times) in [("request", 1), ("response", 1), ("trailers", 2)] {
                for verb in ["set", "append", "remove"] {
                    let said: Vec<_> =
                        trace.iter().filter(|word| word.starts_with(&format!("{side}.{verb}="))).collect();
                    assert_eq!(said.len(), times * 2 * FRAMING.len(), "{side}.{verb}: {trace:?}");
                    for word in said {
                        assert_eq!(
                            word,
                            &format!("{side}.{verb}=forbidden"),
                            "{downstream:?} to {upstream:?}: {trace:?}"
                        );
                    }
                }
            }
            client.get("/again").await.has_status(200);
        }
    }
}

#[tokio::test]
async fn names_and_values_that_are_none_are_refused() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let builder = Odin::builder().plugin(Script::new().plugin("script")).logging(&["trace"]);
    let odin = builder.target(&backend).start().await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        for (side, hook) in
            [("request", "request-headers"), ("response", "response-headers"), ("trailers", "request-trailers")]
        {
            for (number, (line, wanted)) in [
                ("set x(y) 1", "invalid-name"),
                ("set :path /x", "invalid-name"),
                ("set x\ty 1", "invalid-name"),
                ("set x: 1", "invalid-name"),
                ("set x-ä 1", "invalid-name"),
                ("append x-a a\r\nx-b: b", "invalid-value"),
                ("set x-a a\nb", "invalid-value"),
                ("set x-a a\0b", "invalid-value"),
                ("set x-a a\u{7f}b", "invalid-value"),
                ("set x-a fine", "ok"),
                ("set x-a a\tb", "ok"),
            ]
            .into_iter()
            .enumerate()
            {
                let script = Script::new().on(hook, &[&format!("{side}.{line}")]).field();
                let path = format!("/{side}/{number}/{downstream:?}");
                let request = Request::post(&path).header("x-script", script).body(body::full("content")).unwrap();
                client.send(request).await.has_status(200).lacks_field("x-b");
                let trace = odin.trace(&path).await;
                let verb = line.split(' ').next().unwrap();
                assert!(trace.contains(&format!("{side}.{verb}={wanted}")), "{side}.{line:?}: {trace:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_reply_with_framing_fields_costs_its_exchange() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let plugin = Script::new().plugin("script").with("breaker = { percent = 0 }");
    let odin = Odin::builder().plugin(plugin).target(&backend).start().await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        for place in ["fields", "trailers"] {
            for name in FRAMING {
                for phase in ["request-headers", "response-headers"] {
                    let reply = format!(r#"reply {{"status": 200, "body": "x", "{place}": [["{name}", "3"]]}}"#);
                    let script = Script::new().on(phase, &[&reply]).field();
                    let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
                    let from = odin.log().len();
                    client.send(request).await.has_status(502).has_body("odin: plugin failed\n");
                    odin.log_contains_after(from, &["script", phase, name]).await;
                }
            }
        }
        client.get("/").await.has_status(200);
    }
}

#[tokio::test]
async fn a_status_cannot_cross_between_codes_with_and_without_a_body() {
    for upstream in BOTH {
        let backend = HttpBackend::start(upstream, |request| async move {
            let status: u16 = request.uri().path()[1..].parse().unwrap();
            let content = if status == 200 { body::full("content") } else { body::empty() };
            Response::builder().status(status).body(content).unwrap()
        })
        .await;
        let builder = Odin::builder().plugin(Script::new().plugin("script")).logging(&["trace"]);
        let odin = builder.upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            for (from, to, wanted) in [
                (200, 201, "ok"),
                (200, 599, "ok"),
                (204, 304, "ok"),
                (200, 204, "invalid-value"),
                (200, 304, "invalid-value"),
                (204, 200, "invalid-value"),
                (304, 404, "invalid-value"),
                (200, 100, "invalid-value"),
                (200, 101, "invalid-value"),
                (200, 199, "invalid-value"),
                (200, 600, "invalid-value"),
            ] {
                let lines = [format!("response.status {to}"), "show x-trace".to_string()];
                let script = script_of(&[("response-headers", lines.to_vec())]).field();
                let request = Request::get(format!("/{from}")).header("x-script", script).body(body::empty()).unwrap();
                let response = client.send(request).await.has_status(if wanted == "ok" { to } else { from });
                let trace = response.field("x-trace").unwrap();
                assert!(trace.ends_with(&format!("response.status={wanted}")), "{from} to {to}: {trace}");
                response.has_body(if from == 200 { "content" } else { "" });
            }
        }
    }
}

#[tokio::test]
async fn a_head_cannot_grow_past_the_limit_of_the_listener() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let value = "x".repeat(3000);
    let lines: Vec<_> = (0..3).map(|n| format!("request.set x-big-{n} {value}")).collect();
    let grow =
        script_of(&[("request-headers", lines), ("response-headers", vec![format!("response.set x-big {value}"); 1])]);
    let builder = Odin::builder().plugin(grow.plugin("grows")).section("[limits]\nhead-bytes = \"8KiB\"");
    let odin = builder.logging(&["trace"]).target(&backend).start().await;
    for downstream in BOTH {
        let path = format!("/{downstream:?}");
        let request = Request::get(&path).body(body::empty()).unwrap();
        let seen = odin.connect_over(downstream).await.send(request).await.has_status(200).json();
        let trace = odin.trace(&path).await;
        let answers: Vec<_> = trace.iter().filter(|word| word.starts_with("request.set=")).collect();
        assert_eq!(answers, ["request.set=ok", "request.set=ok", "request.set=too-large"], "{trace:?}");
        assert_eq!((echoed(&seen, "x-big-1").len(), echoed(&seen, "x-big-2").len()), (1, 0));
    }
}

#[tokio::test]
async fn a_head_that_has_gone_is_not_changed() {
    let backend = HttpBackend::start(Protocol::Http1, |request| async move {
        let late = request.headers().contains_key("x-late");
        let _ = request.into_body().collect().await;
        Response::builder().header("x-saw", late.to_string()).body(body::full("content")).unwrap()
    })
    .await;
    let set = |side: &str| vec![format!("{side}.set x-late 1"), format!("{side}.remove x-kept")];
    let late = script_of(&[
        ("request-body", set("request")),
        ("request-trailers", set("request")),
        ("response-headers", set("request")),
        ("response-body", set("response")),
        ("response-trailers", [set("request"), set("response")].concat()),
        ("exchange-end", [set("request"), set("response")].concat()),
    ]);
    let odin = Odin::builder().plugin(late.plugin("late")).logging(&["trace"]).target(&backend).start().await;
    for downstream in BOTH {
        let path = format!("/{downstream:?}");
        let request = Request::post(&path).header("x-kept", "1").body(body::full("content")).unwrap();
        let response = odin.connect_over(downstream).await.send(request).await.has_status(200);
        response.has_field("x-saw", "false").lacks_field("x-late").has_body("content");
        let trace = odin.trace(&path).await;
        let answers: Vec<_> = trace.iter().filter(|word| word.contains(".set=") || word.contains(".remove=")).collect();
        assert!(answers.len() >= 16, "{trace:?}");
        assert!(answers.iter().all(|answer| answer.ends_with("=too-late")), "{trace:?}");
    }
}
