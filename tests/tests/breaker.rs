//! A plugin that fails over and over is taken out of the path, shown as such, and tried again with patience.

use http::Request;
use odin_tests::{BOTH, Builder, HttpBackend, Odin, PluginEntry, Protocol, Response, body, echoed, paths, until};
use serde_json::Value;

fn fails(settings: &[&str]) -> PluginEntry {
    settings.iter().fold(PluginEntry::new("fails"), |plugin, line| plugin.with(line))
}

fn builder(settings: &[&str]) -> Builder {
    Odin::builder().plugin(fails(settings)).plugin("headers")
}

fn failing(words: &str) -> Request<body::Body> {
    Request::get("/").header("x-fail", words).body(body::empty()).unwrap()
}

async fn fail(odin: &Odin, downstream: Protocol) -> Response {
    odin.connect_over(downstream).await.send(failing("once more")).await
}

async fn breaker(odin: &Odin) -> Value {
    odin.plugin_status("fails").await["breaker"].clone()
}

async fn calls(odin: &Odin) -> u64 {
    odin.plugin_status("fails").await["hooks"]["request-headers"]["calls"].as_u64().unwrap()
}

const LONG: &str = "breaker = { failures = 3, pause = \"60s\", max-pause = \"60s\" }";

#[tokio::test]
async fn a_closed_plugin_that_is_out_of_the_path_is_502_without_a_call() {
    for downstream in BOTH {
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let odin = builder(&[LONG]).target(&backend).start().await;
        for turn in 0..3 {
            assert_eq!(breaker(&odin).await["state"], "closed", "after {turn} failures");
            fail(&odin, downstream).await.has_status(502).has_body("odin: plugin failed\n");
        }
        let open = breaker(&odin).await;
        assert_eq!((&open["state"], &open["trips"]), (&"open".into(), &1.into()), "{open}");
        assert!(open["retry_in_seconds"].as_f64().is_some_and(|seconds| (1.0..=60.0).contains(&seconds)), "{open}");
        let before = calls(&odin).await;
        for _ in 0..10 {
            // Nothing would be wrong with this one.
            odin.connect_over(downstream).await.get("/").await.has_status(502).has_body("odin: plugin failed\n");
        }
        assert_eq!(calls(&odin).await, before, "a plugin that is out of the path was called");
        assert!(breaker(&odin).await["calls_not_made"].as_u64().unwrap() >= 10);
        assert_eq!(backend.requests(), 0);
        let metrics = odin.metrics().await;
        let of = [("plugin", "fails")];
        assert_eq!(metrics.sum("odin_plugin_breaker_state", &of), 2.0);
        assert_eq!(metrics.sum("odin_plugin_breaker_trips_total", &of), 1.0);
        assert!(metrics.sum("odin_plugin_paused_total", &of) >= 10.0);
        assert_eq!(metrics.sum("odin_plugin_refused_total", &of), 3.0);
        assert_eq!(metrics.sum("odin_plugin_failures_total", &[of[0], ("hook", "request-headers")]), 3.0);
        assert_eq!(metrics.sum("odin_plugin_breaker_state", &[("plugin", "headers")]), 0.0);
        odin.log_contains(&["fails", "once more"]).await;
    }
}

#[tokio::test]
async fn an_open_plugin_that_is_out_of_the_path_is_passed_over() {
    for downstream in BOTH {
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let odin = builder(&[LONG, "on-failure = \"open\""]).target(&backend).start().await;
        for _ in 0..3 {
            let seen = fail(&odin, downstream).await.has_status(200).json();
            assert_eq!(echoed(&seen, "x-failed-before"), ["no"], "what it changed before the failure stays");
        }
        assert_eq!(breaker(&odin).await["state"], "open");
        let before = calls(&odin).await;
        for _ in 0..10 {
            let response = fail(&odin, downstream).await.has_status(200).has_field("x-odin-response", "yes");
            assert!(echoed(&response.json(), "x-failed-before").is_empty(), "it was called: {response:?}");
        }
        assert_eq!(calls(&odin).await, before);
    }
}

#[tokio::test]
async fn it_is_tried_again_and_comes_back() {
    for downstream in BOTH {
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let short = "breaker = { failures = 3, pause = \"200ms\", max-pause = \"400ms\" }";
        let odin = builder(&[short]).target(&backend).start().await;
        for _ in 0..3 {
            fail(&odin, downstream).await.has_status(502);
        }
        // Tried again while it still fails, it goes out again.
        until("the second trip", async || {
            fail(&odin, downstream).await.has_status(502);
            (breaker(&odin).await["trips"].as_u64().unwrap() >= 2).then_some(())
        })
        .await;
        // With nothing wrong it comes back, and stays.
        until("it is in the path again", async || {
            (odin.connect_over(downstream).await.get("/").await.status == 200).then_some(())
        })
        .await;
        for _ in 0..10 {
            odin.connect_over(downstream).await.get("/").await.has_status(200);
        }
        assert_eq!(breaker(&odin).await["state"], "closed");
        assert_eq!(odin.metrics().await.sum("odin_plugin_breaker_state", &[("plugin", "fails")]), 0.0);
        // And it takes as many failures as before.
        for _ in 0..2 {
            fail(&odin, downstream).await.has_status(502);
        }
        odin.get("/").await.has_status(200);
    }
}

#[tokio::test]
async fn failures_with_successes_in_between_do_not_take_it_out() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = builder(&[LONG]).target(&backend).start().await;
    for turn in 0..20 {
        let downstream = BOTH[turn % 2];
        fail(&odin, downstream).await.has_status(502);
        fail(&odin, downstream).await.has_status(502);
        odin.connect_over(downstream).await.get("/").await.has_status(200);
    }
    let closed = breaker(&odin).await;
    assert_eq!((&closed["state"], &closed["trips"]), (&"closed".into(), &0.into()));
}

#[tokio::test]
async fn with_zero_failures_it_is_never_taken_out() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = builder(&["breaker = { failures = 0 }"]).target(&backend).start().await;
    for turn in 0..50 {
        fail(&odin, BOTH[turn % 2]).await.has_status(502);
    }
    odin.get("/").await.has_status(200);
    assert_eq!(odin.plugin_status("fails").await["refused"], 50);
}

#[tokio::test]
async fn traps_and_overruns_count_like_words() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    for guest in ["trap", "loop_forever"] {
        let plugin = PluginEntry::new(guest).with(LONG);
        let odin = Odin::builder().plugin(plugin).target(&backend).start().await;
        for turn in 0..5 {
            let request = Request::get("/").header("x-trap", "now").body(body::empty()).unwrap();
            odin.connect_over(BOTH[turn % 2]).await.send(request).await.has_status(502);
        }
        let status = odin.plugin_status(guest).await;
        assert_eq!(status["breaker"]["state"], "open", "{status}");
        assert_eq!(status["hooks"]["request-headers"]["failures"], 3, "{status}");
    }
}

#[tokio::test]
async fn a_swap_puts_it_back_at_once() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = builder(&[LONG]).target(&backend).start().await;
    for downstream in BOTH {
        for _ in 0..4 {
            fail(&odin, downstream).await.has_status(502);
        }
        assert_eq!(breaker(&odin).await["state"], "open");
        // The same file with one custom section more, so that it is another one.
        let section = [b"\0\x06\x04turn".to_vec(), vec![downstream as u8]].concat();
        let other = [paths::plugin_bytes("fails"), section].concat();
        odin.post_plugin("fails", other).await.has_status(200);
        odin.connect_over(downstream).await.get("/").await.has_status(200);
        assert_eq!(breaker(&odin).await["state"], "closed");
    }
}

#[tokio::test]
async fn a_balancer_that_is_out_of_the_path_leaves_it_to_the_built_in_one() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    for (settings, status) in [(&[LONG][..], 502), (&[LONG, "on-failure = \"open\""], 200)] {
        let balancer = settings.iter().fold(PluginEntry::new("bad_index"), |plugin, line| plugin.with(line));
        let odin = Odin::builder().balancer(balancer).target(&backend).start().await;
        for turn in 0..10 {
            odin.connect_over(BOTH[turn % 2]).await.get("/").await.has_status(status);
        }
        let status = odin.plugin_status("bad_index").await;
        assert_eq!(status["breaker"]["state"], "open", "{status}");
        assert_eq!(status["hooks"]["balancer"]["failures"], 3, "{status}");
    }
}
