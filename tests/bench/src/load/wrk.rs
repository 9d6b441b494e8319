//! HTTP/1.1 load by wrk, one thread.
//!
//! wrk runs for a time, not for a number of requests: the figure divides by what it counted.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{BODY, BODY_TYPE, Done, FIELDS, number};

/// What wrk is asked for.
pub(crate) struct Wrk {
    pub(crate) port: u16,
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
    /// Ask for the connection to be closed after each response.
    pub(crate) close: bool,
    /// `PUT` with the small body instead of `GET`.
    pub(crate) put: bool,
    /// Over TLS.
    pub(crate) tls: bool,
    pub(crate) path: &'static str,
}

impl Wrk {
    pub(crate) fn run(&self, dir: &Path) -> Result<Done> {
        let script = dir.join("wrk.lua");
        let method = if self.put { format!("wrk.method = \"PUT\"\nwrk.body = [[{BODY}]]\n") } else { String::new() };
        fs::write(&script, method + include_str!("wrk.lua"))?;
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{}", self.connections), &format!("-d{}s", self.seconds), "--timeout", "5s"]);
        command.arg("-s").arg(script);
        for field in FIELDS {
            command.args(["-H", field]);
        }
        if self.put {
            command.args(["-H", BODY_TYPE]);
        }
        if self.close {
            command.args(["-H", "connection: close"]);
        }
        let scheme = if self.tls { "https" } else { "http" };
        command.arg(format!("{scheme}://127.0.0.1:{}{}", self.port, self.path));
        let output = command.output().context("cannot run wrk: `apt-get install wrk`")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text
            .lines()
            .find(|line| line.starts_with("odin-bench "))
            .with_context(|| format!("wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
        let done = Done {
            operations: number(line, "requests")? as u64,
            seconds: number(line, "micros")? / 1e6,
            p50: Some(number(line, "p50")?),
            p99: Some(number(line, "p99")?),
            grown: None,
        };
        if number(line, "bad")? > 0.0 || done.operations == 0 {
            bail!("wrk saw failed requests:\n{text}");
        }
        Ok(done)
    }
}
