//! Commands that ask a running Odin, or compare with it. Must never serve.

mod diff;
mod steer_status;

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;

use anyhow::Context;
use serde_json::Value;

use crate::client;

pub(crate) use diff::diff;
pub(crate) use steer_status::steer_status;

/// `odin upgrade`: the running Odin starts its successor, and answers when that one serves or has failed.
pub(crate) async fn upgrade(admin: SocketAddr) -> anyhow::Result<()> {
    print(&upgraded(admin).await?)
}

async fn upgraded(admin: SocketAddr) -> anyhow::Result<String> {
    let answer = client::good(client::post(admin, "/upgrade").await?)?;
    let answer: Value = serde_json::from_str(&answer).context("the answer to /upgrade is no JSON; is this Odin?")?;
    let pid = answer.get("pid").and_then(Value::as_u64).context("the answer to /upgrade names no `pid`")?;
    Ok(format!("odin: upgraded: process {pid} serves, the old one drains\n"))
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
        let good = answering(200, "{ \"pid\": 1234 }\n").await;
        let line = "odin: upgraded: process 1234 serves, the old one drains\n";
        assert_eq!(upgraded(good).await.unwrap(), line);
        for (status, body, expected) in [
            (409, "the new process ended with exit status 1\n", "the new process ended with exit status 1"),
            (500, "", "Odin answers 500 Internal Server Error"),
            (200, "ok", "the answer to /upgrade is no JSON; is this Odin?"),
            (200, "{}", "the answer to /upgrade names no `pid`"),
        ] {
            assert_eq!(upgraded(answering(status, body).await).await.unwrap_err().to_string(), expected);
        }
    }
}
