//! What plugins may compute for one exchange, and that a hook which computes for long keeps nobody else waiting.

use bytes::Bytes;
use http::Request;
use odin_tests::{BOTH, HttpBackend, Odin, PluginEntry, Protocol, Script, body, until};

/// Counts so far in about this many milliseconds of a slow machine, or a few more of them.
fn burn(milliseconds: u32) -> String {
    format!("burn {}", u64::from(milliseconds) * 300_000)
}

#[tokio::test]
async fn others_are_served_while_a_hook_never_returns() {
    for downstream in BOTH {
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let forever = PluginEntry::new("loop_forever").with("timeout = \"3s\"").with("breaker = { percent = 0 }");
        let odin = Odin::builder().plugin(forever).only_under("/loop").section("[limits]\ncpu-budget = \"30s\"");
        let odin = odin.target(&backend).start().await;
        // The first one cannot give way: nobody knew.
        let (mut loops, mut others) = (odin.connect_over(downstream).await, odin.connect_over(downstream).await);
        loops.patient().get("/loop").await.has_status(502);
        let looping = tokio::spawn(async move { loops.get("/loop").await });
        let of = [("plugin", "loop_forever")];
        until("it loops", async || (odin.metrics().await.sum("odin_plugin_waiting_calls", &of) == 1.0).then_some(()))
            .await;
        for _ in 0..20 {
            others.get("/").await.has_status(200);
            assert!(!looping.is_finished(), "the worker did nothing else until the loop was over");
        }
        looping.await.unwrap().has_status(502);
        odin.log_contains(&["loop_forever", "overran its time limit of 3s"]).await;
    }
}

#[tokio::test]
async fn a_body_in_many_pieces_has_one_budget() {
    for on_failure in ["closed", "open"] {
        let backend = HttpBackend::echo(Protocol::Http1).await;
        let script = Script::new().on("request-body", &[&burn(1), "pass"]);
        let plugin = script.plugin("script").with(&format!("on-failure = \"{on_failure}\""));
        let odin = Odin::builder().plugin(plugin).section("[limits]\ncpu-budget = \"20ms\"");
        let odin = odin.logging(&[]).target(&backend).start().await;
        let mut client = odin.connect_raw().await;
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..300 {
            // Refused once it is cut off; each piece goes alone.
            if client.try_send("1\r\nx\r\n").await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _ = client.try_send("0\r\n\r\n").await;
        assert_eq!(client.head().await.expect("an answer").status(), 502, "{on_failure}");
        odin.access_log_contains(&["have used up its cpu-budget of 20ms"]).await;
        let status = odin.plugin_status("script").await;
        assert_eq!((&status["timeouts"], &status["breaker"]["state"]), (&1.into(), &"closed".into()), "{status}");
    }
}

#[tokio::test]
async fn outbound_calls_give_a_hook_no_new_time() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let (burn, call) = (burn(8), "call web /");
    let lines: Vec<&str> = (0..16).flat_map(|_| [burn.as_str(), call]).chain(["continue"]).collect();
    let script = Script::new().on("request-headers", &lines);
    let plugin = script.plugin_of_calls("script", "web").with("timeout = \"5ms\"");
    let odin = Odin::builder().plugin(plugin).target(&backend).start().await;
    odin.get("/").await.has_status(502);
    odin.log_contains(&["script", "overran its time limit of 5ms"]).await;
    // Waiting is no computing.
    let patient = Script::new().on("request-headers", &[call, call, call, call, "continue"]);
    let odin = Odin::builder().plugin(patient.plugin_of_calls("script", "web")).target(&backend).start().await;
    odin.get("/").await.has_status(200);
}

#[tokio::test]
async fn a_long_body_that_is_looked_at_is_served() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin =
        Odin::builder().plugin("digest").section("[limits]\ncpu-budget = \"10ms\"").target(&backend).start().await;
    let long = Bytes::from(vec![b'x'; 900 << 10]);
    let request = Request::post("/").header("x-tenant-id", "acme").body(body::full(long)).unwrap();
    odin.request(request).await.has_status(200);
}
