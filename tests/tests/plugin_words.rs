//! What a plugin says is cut and counted, whichever way it says it: no plugin, and no client through one, fills the logs.

use http::Request;
use odin_tests::{BOTH, HttpBackend, Odin, PluginEntry, Protocol, Script, body};

/// A request whose script says something long in this way.
fn says(verb: &str, length: usize) -> Request<body::Body> {
    let script = Script::new().on("request-headers", &[&format!("{verb} {}", "é".repeat(length / 2))]).field();
    Request::get(format!("/{verb}")).header("x-talks", script.as_bytes()).body(body::empty()).unwrap()
}

fn talks() -> PluginEntry {
    PluginEntry::new("script").called("talks").with("config = { name = \"talks\" }")
}

#[tokio::test]
async fn errors_and_reasons_are_cut_and_say_so() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin =
        Odin::builder().plugin(talks()).target(&backend).section("[limits]\nhead-bytes = \"256KiB\"").start().await;
    for (verb, status) in [("err", 502), ("reject", 403)] {
        odin.request(says(verb, 40_000)).await.has_status(status);
        let line = odin.access_log_contains(&[&format!("/{verb} "), "(cut: 1024 of 40000 bytes)"]).await;
        assert!(line.len() < 4_096, "{verb}: {} bytes", line.len());
    }
    let line = odin.log_contains(&["talks", "request-headers failed: éé", "(cut: 1024 of 40000 bytes)"]).await;
    assert!(line.len() < 4_096, "{} bytes", line.len());
}

#[tokio::test]
async fn errors_and_reasons_count_against_the_log_rate() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    for downstream in BOTH {
        let odin = Odin::builder().plugin(talks().with("log-rate = 0")).target(&backend).start().await;
        let mut client = odin.connect_over(downstream).await;
        client.send(says("err", 20)).await.has_status(502);
        client.send(says("reject", 20)).await.has_status(403);
        odin.access_log_contains(&["/err ", "log-rate leaves out"]).await;
        odin.access_log_contains(&["/reject ", "more than 0 lines in a second"]).await;
        odin.log_contains(&["talks", "more than 0 lines in a second"]).await;
        let finished = odin.stop().await;
        assert!(!finished.stdout.contains("ééé") && !finished.stderr.contains("ééé"), "{finished:?}");
    }
}
