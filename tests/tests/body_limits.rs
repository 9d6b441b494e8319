//! Plugins that want a body whole: how much of it, how long they wait, and what the client gets when it is too much.

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{BOTH, Builder, HttpBackend, Odin, PluginEntry, Protocol, Script, body, echoed, within};
use tokio::sync::watch;

const LIMIT: usize = 1024;

fn limited(settings: &[&str]) -> PluginEntry {
    let plugin = Script::new().plugin("script").with(&format!("body-limit = \"{LIMIT}B\""));
    settings.iter().fold(plugin, |plugin, line| plugin.with(line))
}

fn builder(settings: &[&str]) -> Builder {
    Odin::builder().plugin(limited(settings)).logging(&["trace"])
}

fn reading(mode: &str) -> String {
    let read = format!("read {mode}");
    Script::new().on("request-headers", &[&read]).field()
}

#[tokio::test]
async fn a_request_body_over_the_limit_is_413() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = builder(&[]).upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            for mode in ["buffer", "hold"] {
                for known_length in [true, false] {
                    let too_much = "x".repeat(LIMIT + 1);
                    let content = match known_length {
                        true => body::full(too_much),
                        false => body::with_trailers(&[&too_much[..LIMIT], &too_much[LIMIT..]], &[]),
                    };
                    let request = Request::post("/big").header("x-script", reading(mode)).body(content).unwrap();
                    let response = odin.connect_over(downstream).await.send(request).await.has_status(413);
                    response.has_body("odin: request body too large\n");
                }
                let exact = body::full("x".repeat(LIMIT));
                let request = Request::post("/exact").header("x-script", reading(mode)).body(exact).unwrap();
                let seen = odin.connect_over(downstream).await.send(request).await.has_status(200).json();
                assert_eq!(seen["length"], LIMIT);
            }
        }
        let line = odin.logged("/big").await;
        assert_eq!(line["status"], 413, "{line}");
        assert!(line["error"].as_str().unwrap().contains("body-limit"), "{line}");
    }
}

#[tokio::test]
async fn what_a_stream_hook_holds_back_counts_too() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let hold = PluginEntry::new("hold_forever").with(&format!("body-limit = \"{LIMIT}B\""));
    let odin = Odin::builder().plugin(hold).target(&backend).start().await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        let request = Request::post("/").body(body::full("x".repeat(LIMIT / 2))).unwrap();
        // The echo's answer is held as well, and it is shorter than the limit.
        assert_eq!(client.send(request).await.has_status(200).json()["length"], LIMIT / 2);
        let pieces = body::long(64 * 1024);
        let request = Request::post("/").body(pieces).unwrap();
        client.send(request).await.has_status(413);
    }
}

#[tokio::test]
async fn a_response_body_over_the_limit_is_502_while_its_head_waits() {
    for upstream in BOTH {
        let backend = HttpBackend::start(upstream, |_| async { Response::new(body::long(100_000)) }).await;
        let odin = builder(&[]).upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let script = Script::new().on("response-headers", &["read hold"]).field();
            let request = Request::get("/held").header("x-script", script).body(body::empty()).unwrap();
            let response = odin.connect_over(downstream).await.send(request).await;
            response.has_status(502).has_body("odin: response body too large\n");
        }
    }
}

#[tokio::test]
async fn a_response_body_over_the_limit_is_cut_when_its_head_has_gone() {
    for upstream in BOTH {
        let (release, released) = watch::channel(0);
        let backend = HttpBackend::start(upstream, move |_| {
            let (feed, content) = body::by_hand();
            let mut released = released.clone();
            released.mark_unchanged();
            tokio::spawn(async move {
                feed.send("some of it, ").await;
                let _ = released.changed().await;
                feed.send("x".repeat(LIMIT)).await;
            });
            async { Response::new(content) }
        })
        .await;
        let odin = builder(&[]).upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let script = Script::new().on("response-headers", &["read buffer"]).field();
            let request = Request::get("/cut").header("x-script", script).body(body::empty()).unwrap();
            let response = odin.connect_over(downstream).await.start(request).await;
            assert_eq!(response.status(), 200);
            release.send_modify(|turn| *turn += 1);
            let rest = within("the end of the response", response.into_body().collect()).await;
            assert!(rest.is_err(), "{downstream:?} from {upstream:?}: it ends well: {rest:?}");
        }
        let line = odin.logged("/cut").await;
        assert!(line["error"].as_str().is_some_and(|error| error.contains("body-limit")), "{line}");
    }
}

#[tokio::test]
async fn with_partial_a_body_over_the_limit_is_shown_in_part_and_the_rest_streams_past() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = builder(&["body-overflow = \"partial\""]).upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            for mode in ["buffer", "hold"] {
                let path = format!("/{mode}/{downstream:?}");
                let read = format!("read {mode}");
                let script = Script::new().on("request-headers", &[&read]).on("request-body", &["append +"]).field();
                let request = Request::post(&path).header("x-script", script).body(body::long(200_000)).unwrap();
                let seen = odin.connect_over(downstream).await.send(request).await.has_status(200).json();
                assert_eq!(seen["length"], 200_001, "{path}");
                let trace = odin.trace(&path).await;
                let calls: Vec<_> = trace.iter().filter(|word| word.contains("request-body")).collect();
                assert!(calls.len() == 1 && !calls[0].contains("end"), "{path}: {calls:?}");
            }
        }
    }
}

#[tokio::test]
async fn with_partial_a_response_over_the_limit_loses_nothing() {
    let backend = HttpBackend::start(Protocol::Http1, |_| async { Response::new(body::long(200_000)) }).await;
    let odin = builder(&["body-overflow = \"partial\""]).target(&backend).start().await;
    for downstream in BOTH {
        for mode in ["buffer", "hold"] {
            let script = Script::new().on("response-headers", &[&format!("read {mode}")]).field();
            let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
            let response = odin.connect_over(downstream).await.start(request).await;
            assert_eq!(response.status(), 200);
            let received = within("the body", body::digest(response.into_body())).await.unwrap();
            assert_eq!(received, (200_000, body::long_digest(200_000)), "{mode} {downstream:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_refused() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = builder(&["body-wait = \"100ms\""]).target(&backend).start().await;
    for downstream in BOTH {
        for mode in ["buffer", "hold"] {
            let (feed, content) = body::by_hand();
            let path = format!("/{mode}/{downstream:?}");
            let request = Request::post(&path).header("x-script", reading(mode)).body(content).unwrap();
            let mut client = odin.connect_over(downstream).await;
            let answer = tokio::spawn(async move { client.send(request).await });
            assert!(feed.send("some").await);
            within("the refusal", answer).await.unwrap().has_status(408);
            let line = odin.logged(&path).await;
            assert!(line["error"].as_str().is_some_and(|error| error.contains("body-wait")), "{line}");
            drop(feed);
        }
    }
}

#[tokio::test]
async fn with_partial_a_body_that_does_not_come_in_time_is_shown_in_part() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let settings = ["body-wait = \"100ms\"", "body-overflow = \"partial\""];
    let odin = builder(&settings).target(&backend).start().await;
    for (number, downstream) in BOTH.into_iter().enumerate() {
        let script = Script::new().on("request-headers", &["read hold"]);
        let script = script.on("request-body", &["request.set x-seen in-part", "upper"]).field();
        let (feed, content) = body::by_hand();
        let request = Request::post("/").header("x-script", script).body(content).unwrap();
        let mut client = odin.connect_over(downstream).await;
        let answer = tokio::spawn(async move { client.send(request).await });
        assert!(feed.send("some").await);
        // Nothing more comes, and yet the head goes on.
        backend.has_seen(number + 1).await;
        assert!(feed.send(" more").await);
        drop(feed);
        let seen = within("the response", answer).await.unwrap().has_status(200).json();
        assert_eq!((seen["body"].as_str(), echoed(&seen, "x-seen")), (Some("SOME more"), vec!["in-part".into()]));
    }
}

#[tokio::test]
async fn the_limit_is_that_of_the_plugin_that_wants_the_whole() {
    let backend = HttpBackend::start(Protocol::Http1, |request| async move {
        let content = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(body::full(content))
    })
    .await;
    let hold = Script::new().on("request-headers", &["read hold"]);
    let wide = hold.plugin("wide").with("body-limit = \"4MiB\"").with("host-allocation = \"8MiB\"");
    // `pass` looks at the same body with a smaller limit, and holds nothing.
    let narrow = PluginEntry::new("pass").with("body-limit = \"1KiB\"");
    let odin = Odin::builder().plugin(narrow).plugin(wide).target(&backend).start().await;
    for downstream in BOTH {
        let request = Request::post("/").body(body::long(3 << 20)).unwrap();
        let response = odin.connect_over(downstream).await.start(request).await;
        let received = within("the body", body::digest(response.into_body())).await.unwrap();
        assert_eq!(received, (3 << 20, body::long_digest(3 << 20)));
    }
}
