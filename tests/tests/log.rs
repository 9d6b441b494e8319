//! Odin's log when nobody reads it: lines are lost, and nothing else.

use std::path::PathBuf;

use odin_tests::{Builder, HttpBackend, Odin, PluginEntry, Protocol, script};

/// An Odin whose standard error is read until it is ready; what happens to it then is `then`.
fn read_until_ready(then: &str) -> (tempfile::TempDir, PathBuf) {
    script(&format!("exec $ODIN \"$@\" 2> >(sed -u '/odin: ready/q' >&2; {then})"))
}

/// One with a plugin that logs a line for each request, and all that Odin itself can say.
async fn talkative(script: &std::path::Path, backend: &HttpBackend) -> Odin {
    let logs = PluginEntry::new("flood");
    let builder: Builder = Odin::builder().workers(2).target(backend).plugin(logs);
    builder.binary(script).environment("RUST_LOG", "trace").start().await
}

async fn serves_reloads_and_stops(odin: Odin) {
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    for turn in 0..20 {
        odin.reload(&format!("{text}[clusters.more{turn}]\nendpoints = [\"127.0.0.1:1\"]\n")).await.has_status(200);
        let mut client = odin.connect_http2().await;
        for _ in 0..20 {
            odin.get("/").await.has_status(200);
            client.get("/").await.has_status(200);
        }
    }
    assert!(odin.is_ready().await);
    odin.terminate();
    let finished = odin.finished().await;
    assert!(finished.success(), "{finished:?}");
}

#[tokio::test]
async fn a_log_whose_reader_is_gone_is_lost_and_nothing_else() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    let (_folder, script) = read_until_ready("exit");
    serves_reloads_and_stops(talkative(&script, &backend).await).await;
}

#[tokio::test]
async fn a_log_that_nobody_takes_holds_nobody_up() {
    let backend = HttpBackend::named("a", Protocol::Http1).await;
    // It keeps the pipe, and reads no more, for as long as Odin runs.
    let (_folder, script) = read_until_ready("while kill -0 $$ 2>/dev/null; do sleep 0.1; done");
    serves_reloads_and_stops(talkative(&script, &backend).await).await;
}
