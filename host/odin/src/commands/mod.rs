//! Commands that ask a running Odin, or compare with it. Must never serve.

mod diff;
mod steer_status;
mod swap;

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use serde_json::Value;

use crate::diff::Change;
use crate::{client, config};

pub(crate) use diff::diff;
pub(crate) use steer_status::steer_status;
pub(crate) use swap::swap;

/// `odin upgrade`: the running Odin starts its successor, and answers when that one serves or has failed.
pub(crate) async fn upgrade(socket: Option<PathBuf>) -> anyhow::Result<()> {
    print(&upgraded(&client::socket(socket).await?).await?)
}

/// `odin reload`: what the running Odin has changed, a line each.
pub(crate) async fn reload(socket: Option<PathBuf>) -> anyhow::Result<()> {
    print(&reloaded(&client::socket(socket).await?).await?)
}

async fn reloaded(socket: &Path) -> anyhow::Result<String> {
    let answer = client::good(client::post(socket, "/reload", Bytes::new()).await?)?;
    let answer: Value = serde_json::from_str(&answer).context("the answer to /reload is no JSON; is this Odin?")?;
    let changes: Vec<Change> =
        serde_json::from_value(answer["changes"].clone()).context("the answer to /reload tells no `changes`")?;
    Ok(lines(&changes))
}

/// One line for each change.
fn lines(changes: &[Change]) -> String {
    match changes {
        [] => "no changes\n".to_owned(),
        changes => changes.iter().map(|change| format!("{change}\n")).collect(),
    }
}

async fn upgraded(socket: &Path) -> anyhow::Result<String> {
    let answer = client::good(client::post(socket, "/upgrade", Bytes::new()).await?)?;
    let answer: Value = serde_json::from_str(&answer).context("the answer to /upgrade is no JSON; is this Odin?")?;
    let pid = answer.get("pid").and_then(Value::as_u64).context("the answer to /upgrade names no `pid`")?;
    Ok(format!("odin: upgraded: process {pid} serves, the old one drains\n"))
}

/// `odin schema`: what a config may have, for programs or for people.
pub(crate) fn schema(example: bool, markdown: bool) -> anyhow::Result<()> {
    print(&match (example, markdown) {
        (true, _) => config::example(),
        (_, true) => config::page(),
        _ => format!("{:#}\n", config::schema()),
    })
}

/// Prints to standard output. A reader that has seen enough, such as `head`, is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::client::tests::answering;

    #[tokio::test]
    async fn an_upgrade_tells_who_serves_or_why_not() {
        let good = answering(200, "{ \"pid\": 1234 }\n");
        let line = "odin: upgraded: process 1234 serves, the old one drains\n";
        assert_eq!(upgraded(&good).await.unwrap(), line);
        for (status, body, expected) in [
            (409, "the new process ended with exit status 1\n", "the new process ended with exit status 1"),
            (500, "", "Odin answers 500 Internal Server Error"),
            (200, "ok", "the answer to /upgrade is no JSON; is this Odin?"),
            (200, "{}", "the answer to /upgrade names no `pid`"),
        ] {
            assert_eq!(upgraded(&answering(status, body)).await.unwrap_err().to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_reload_tells_its_changes_line_by_line() {
        assert_eq!(reloaded(&answering(200, "{ \"changes\": [] }")).await.unwrap(), "no changes\n");
        let changes = r#"{ "changes": [
            { "op": "remove", "kind": "binding", "name": "web 127.0.0.1:1" },
            { "op": "change", "kind": "setting", "name": "workers", "detail": "1 -> 2" } ] }"#;
        let lines = "- binding web 127.0.0.1:1\n~ setting workers: 1 -> 2\n";
        assert_eq!(reloaded(&answering(200, changes)).await.unwrap(), lines);
        let error = reloaded(&answering(422, "odin.toml:1: bad\n")).await.unwrap_err().to_string();
        assert_eq!(error, "odin.toml:1: bad");
    }
}
