//! A hook that fails too often on a route is taken out of the path there, shown as such, and tried again with patience.
//! What clients can cause without the plugin being at fault costs them their own exchange, and nobody else anything.

use http::Request;
use odin_tests::{BOTH, Builder, HttpBackend, Odin, PluginEntry, Protocol, Response, body, paths, until};
use serde_json::Value;

/// The plugin `guest` with these lines in its section.
fn entry(guest: &str, settings: &[&str]) -> PluginEntry {
    settings.iter().fold(PluginEntry::new(guest), |plugin, line| plugin.with(line))
}

fn builder(settings: &[&str]) -> Builder {
    Odin::builder().plugin(entry("trap", settings)).plugin("headers")
}

fn trapping(path: &str) -> Request<body::Body> {
    Request::get(path).header("x-trap", "now").body(body::empty()).unwrap()
}

async fn fail(odin: &Odin, downstream: Protocol) -> Response {
    odin.connect_over(downstream).await.send(trapping("/")).await
}

async fn breaker(odin: &Odin) -> Value {
    odin.plugin_status("trap").await["breaker"].clone()
}

async fn calls(odin: &Odin) -> u64 {
    odin.plugin_status("trap").await["hooks"]["request-headers"]["calls"].as_u64().unwrap()
}

const LONG: &str = "breaker = { calls = 3, pause = \"60s\", max-pause = \"60s\" }";

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
        let unit = &open["units"][0];
        assert_eq!(
            (&unit["listener"], &unit["route"], &unit["hook"], &unit["failures"], &unit["calls"]),
            (&"web".into(), &"*".into(), &"request-headers".into(), &3.into(), &3.into()),
            "{open}"
        );
        assert!(unit["retry_in_seconds"].as_f64().is_some_and(|seconds| (1.0..=60.0).contains(&seconds)), "{open}");
        let before = calls(&odin).await;
        for _ in 0..10 {
            // Nothing would be wrong with this one.
            odin.connect_over(downstream).await.get("/").await.has_status(502).has_body("odin: plugin failed\n");
        }
        assert_eq!(calls(&odin).await, before, "a hook that is out of the path was called");
        assert!(breaker(&odin).await["calls_not_made"].as_u64().unwrap() >= 10);
        assert_eq!(backend.requests(), 0);
        let metrics = odin.metrics().await;
        let of = [("plugin", "trap")];
        assert_eq!(metrics.sum("odin_plugin_breaker_state", &of), 2.0);
        assert_eq!(metrics.sum("odin_plugin_breaker_trips_total", &of), 1.0);
        assert!(metrics.sum("odin_plugin_paused_total", &of) >= 10.0);
        assert_eq!(metrics.sum("odin_plugin_failures_total", &[of[0], ("hook", "request-headers")]), 3.0);
        assert_eq!(metrics.sum("odin_plugin_breaker_state", &[("plugin", "headers")]), 0.0);
        odin.log_contains(&["trap", "request-headers paused for 60s", "\"web\"", "3 of its last 3 calls failed"]).await;
    }
}

#[tokio::test]
async fn an_open_plugin_that_is_out_of_the_path_is_passed_over() {
    for downstream in BOTH {
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let odin = builder(&[LONG, "on-failure = \"open\""]).target(&backend).start().await;
        for _ in 0..3 {
            fail(&odin, downstream).await.has_status(200);
        }
        assert_eq!(breaker(&odin).await["state"], "open");
        let before = calls(&odin).await;
        for _ in 0..10 {
            fail(&odin, downstream).await.has_status(200).has_field("x-odin-response", "yes");
        }
        assert_eq!(calls(&odin).await, before, "it was called");
    }
}

#[tokio::test]
async fn it_is_tried_again_and_comes_back() {
    for downstream in BOTH {
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let short = "breaker = { calls = 3, pause = \"100ms\", max-pause = \"200ms\" }";
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
        // With nothing wrong it comes back, by and by, and stays.
        until("all of its calls are made again", async || {
            odin.connect_over(downstream).await.get("/").await;
            (breaker(&odin).await["state"] == "closed").then_some(())
        })
        .await;
        for _ in 0..10 {
            odin.connect_over(downstream).await.get("/").await.has_status(200);
        }
        assert_eq!(odin.metrics().await.sum("odin_plugin_breaker_state", &[("plugin", "trap")]), 0.0);
        // And it takes as many failures as before.
        for _ in 0..2 {
            fail(&odin, downstream).await.has_status(502);
        }
        odin.get("/").await.has_status(200);
    }
}

#[tokio::test]
async fn a_row_of_failures_among_calls_that_go_well_does_not_take_it_out() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = builder(&["breaker = { pause = \"60s\" }"]).target(&backend).start().await;
    // The first failure begins the count.
    fail(&odin, Protocol::Http1).await.has_status(502);
    let mut connection = odin.connect().await;
    for _ in 0..30 {
        connection.get("/").await.has_status(200);
    }
    for turn in 0..25 {
        fail(&odin, BOTH[turn % 2]).await.has_status(502);
    }
    odin.get("/").await.has_status(200);
    let closed = breaker(&odin).await;
    assert_eq!((&closed["state"], &closed["trips"]), (&"closed".into(), &0.into()));
}

#[tokio::test]
async fn with_zero_percent_it_is_never_taken_out() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = builder(&["breaker = { percent = 0, calls = 1 }"]).target(&backend).start().await;
    for turn in 0..50 {
        fail(&odin, BOTH[turn % 2]).await.has_status(502);
    }
    odin.get("/").await.has_status(200);
    assert_eq!(odin.plugin_status("trap").await["traps"], 50);
}

#[tokio::test]
async fn what_traps_on_one_route_is_paused_there_and_nowhere_else() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let config = format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[listeners.routes]]\npath = \"/a\"\ncluster = \"web\"\nplugins = [\"trap\"]\n\
         [[listeners.routes]]\npath = \"/b\"\ncluster = \"web\"\nplugins = [\"trap\"]\n\
         [clusters.web]\nendpoints = [\"{}\"]\n",
        odin_tests::Target::address(&backend)
    );
    let odin = Odin::builder().with_config(config).plugin_file(entry("trap", &[LONG])).start().await;
    for _ in 0..3 {
        odin.request(trapping("/a")).await.has_status(502);
    }
    odin.get("/a").await.has_status(502);
    odin.get("/b").await.has_status(200);
    odin.request(trapping("/b")).await.has_status(502);
    odin.get("/b").await.has_status(200);
    let units = breaker(&odin).await["units"].clone();
    let states: Vec<(&Value, &Value)> =
        units.as_array().unwrap().iter().map(|unit| (&unit["route"], &unit["state"])).collect();
    assert_eq!(states, [(&"*/a".into(), &"open".into()), (&"*/b".into(), &"closed".into())]);
}

/// The attack: one connection that has the plugin answer `err`, ten times each turn, among the requests of others.
async fn ten_errors_a_turn(settings: &[&str]) -> (Odin, usize, Vec<u16>) {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin(entry("fails", settings)).target(&backend).start().await;
    let mut attacker = odin.connect_raw().await;
    let mut others = odin.connect().await;
    let (mut refused, mut statuses) = (0, Vec::new());
    for _ in 0..20 {
        attacker.send("GET / HTTP/1.1\r\nhost: a\r\nx-fail: a missing field\r\n\r\n".repeat(10)).await;
        for _ in 0..10 {
            let answer = attacker.response("GET").await.expect("an answer to each");
            refused += usize::from(answer.head.status() == 502);
        }
        for _ in 0..100 {
            statuses.push(others.get("/").await.status.as_u16());
        }
    }
    (odin, refused, statuses)
}

#[tokio::test]
async fn errors_that_a_client_causes_cost_that_client_alone() {
    let (odin, refused, statuses) = ten_errors_a_turn(&[]).await;
    assert_eq!(refused, 200, "each `err` costs its own exchange");
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(served, statuses.len(), "of 2,000 requests of others");
    let status = odin.plugin_status("fails").await;
    assert_eq!((&status["refused"], &status["breaker"]["trips"]), (&200.into(), &0.into()), "{status}");
    assert_eq!(odin.metrics().await.sum("odin_plugin_refused_total", &[("plugin", "fails")]), 200.0);
}

#[tokio::test]
async fn errors_that_a_client_causes_open_the_door_to_no_other() {
    // A door that does what the request says: refuse it, or answer `err`, which lets it in.
    let door = PluginEntry::new("script").called("door").with("config = { name = \"door\" }");
    let door = door.with("on-failure = \"open\"");
    let script = |line| odin_tests::Script::new().on("request-headers", &[line]).field();
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin(door).target(&backend).start().await;
    let mut attacker = odin.connect_raw().await;
    let failing = format!("GET / HTTP/1.1\r\nhost: a\r\nx-door: {}\r\n\r\n", script("err a missing field"));
    for _ in 0..20 {
        attacker.send(failing.repeat(10)).await;
        for _ in 0..10 {
            assert_eq!(attacker.response("GET").await.expect("an answer to each").head.status(), 200);
        }
        let request = Request::get("/").header("x-door", script("reject no")).body(body::empty()).unwrap();
        odin.request(request).await.has_status(403);
    }
}

#[tokio::test]
async fn overruns_count_like_traps() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin(entry("loop_forever", &[LONG])).target(&backend).start().await;
    for turn in 0..5 {
        odin.connect_over(BOTH[turn % 2]).await.get("/").await.has_status(502);
    }
    let status = odin.plugin_status("loop_forever").await;
    assert_eq!(status["breaker"]["state"], "open", "{status}");
    assert_eq!(status["hooks"]["request-headers"]["failures"], 3, "{status}");
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
        let other = [paths::plugin_bytes("trap"), section].concat();
        odin.post_plugin("trap", other).await.has_status(200);
        odin.connect_over(downstream).await.get("/").await.has_status(200);
        assert_eq!(breaker(&odin).await["state"], "closed");
    }
}

#[tokio::test]
async fn a_balancer_that_is_out_of_the_path_leaves_it_to_the_built_in_one() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    for (settings, status) in [(&[LONG][..], 502), (&[LONG, "on-failure = \"open\""], 200)] {
        let odin = Odin::builder().balancer(entry("bad_index", settings)).target(&backend).start().await;
        for turn in 0..10 {
            odin.connect_over(BOTH[turn % 2]).await.get("/").await.has_status(status);
        }
        let status = odin.plugin_status("bad_index").await;
        assert_eq!(status["breaker"]["state"], "open", "{status}");
        assert_eq!(status["hooks"]["balancer"]["failures"], 3, "{status}");
    }
}

#[tokio::test]
async fn check_warns_of_a_door_that_is_left_open() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let open = |guest| Odin::builder().plugin(entry(guest, &["on-failure = \"open\""])).target(&backend).check();
    let warned = open("fails").await;
    assert!(warned.success());
    warned.says(&["warning: plugin \"fails\" can refuse requests", "remove `on-failure`", "ok (1 listener"]);
    let closed = Odin::builder().plugin("fails").target(&backend).check().await;
    assert!(!closed.stdout.contains("warning"), "{closed:?}");
    // One that only picks endpoints refuses nobody.
    let picks = Odin::builder().balancer(entry("lb_first", &["on-failure = \"open\""])).target(&backend).check().await;
    assert!(!picks.stdout.contains("warning"), "{picks:?}");
}
