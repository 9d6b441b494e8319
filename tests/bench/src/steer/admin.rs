//! The admin pages of a running Odin, over its unix socket.
//!
//! Whatever is not a 200 is an error that says what came instead.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::load::response;
use crate::peers::admin_socket;

const PATIENCE: Duration = Duration::from_secs(60);

/// What `GET /listeners` says of the steering program and of the only listener.
#[derive(Debug)]
pub(super) struct Listeners {
    /// How often the program ran, and the time it took.
    pub(super) runs: u64,
    pub(super) nanos: u64,
    /// Connections that each worker accepted.
    pub(super) accepted: Vec<u64>,
}

pub(super) fn listeners(port: u16) -> Result<Listeners> {
    let page = ask(port, "GET /listeners")?;
    let number = |pointer: &str| {
        page.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("/listeners has no number {pointer}"))
    };
    let accepted = page.pointer("/listeners/0/accepted_by_worker").and_then(Value::as_array);
    Ok(Listeners {
        runs: number("/steering/program/runs")?,
        nanos: number("/steering/program/nanos")?,
        accepted: accepted
            .and_then(|workers| workers.iter().map(Value::as_u64).collect())
            .context("/listeners does not say what each worker has accepted")?,
    })
}

/// Has the config read anew, and returns when it is in force.
pub(super) fn reload(port: u16) -> Result<()> {
    ask(port, "POST /reload").map(drop)
}

fn ask(port: u16, what: &str) -> Result<Value> {
    let mut stream = UnixStream::connect(admin_socket(port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{what} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    let (mut buffer, mut body) = (vec![0; 64 << 10], Vec::new());
    response::read(&mut stream, &mut buffer, |piece| {
        body.extend_from_slice(piece);
        Ok(())
    })
    .with_context(|| format!("{what} failed"))?;
    serde_json::from_slice(&body).with_context(|| format!("{what} answered no JSON"))
}
