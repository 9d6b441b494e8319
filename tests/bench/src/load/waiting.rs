//! Exchanges that all wait for a backend that does not answer, and are looked at while they do.
//!
//! In the end the backend answers, and each of them must get its answer: one that was lost would have cost no memory.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{BODY, BODY_TYPE, Done, FIELDS, response};
use crate::origin::{STALL, Stalled};

const PATIENCE: Duration = Duration::from_secs(30);
/// Opened ahead of what has reached the backend: fewer than any accept queue holds.
const AHEAD: usize = 64;
/// For the proxy to come to rest.
const SETTLE: Duration = Duration::from_millis(200);

/// Opens `count` exchanges, each on a connection of its own. `resident` is asked before, and while all are open.
pub(crate) fn run(port: u16, stalled: &Stalled, count: usize, resident: impl Fn() -> Result<u64>) -> Result<Done> {
    let before = resident()?;
    let begin = Instant::now();
    let open = open(port, stalled, count);
    thread::sleep(SETTLE);
    let during = resident();
    // Whatever happened: nobody waits for an answer beyond this.
    stalled.release();
    let mut buffer = vec![0; 16 << 10];
    for mut stream in open? {
        response::read(&mut stream, &mut buffer, |_| Ok(()))?;
    }
    let grown = during?.saturating_sub(before);
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Done { operations: count as u64, seconds, p50: None, p99: None, grown: Some(grown) })
}

fn open(port: u16, stalled: &Stalled, count: usize) -> Result<Vec<TcpStream>> {
    let request = format!(
        "PUT {STALL} HTTP/1.1\r\nhost: bench\r\n{}\r\n{BODY_TYPE}\r\ncontent-length: {}\r\n\r\n{BODY}",
        FIELDS.join("\r\n"),
        BODY.len()
    );
    let before = stalled.arrived();
    let deadline = Instant::now() + PATIENCE;
    let mut streams = Vec::with_capacity(count);
    loop {
        let arrived = stalled.arrived() - before;
        if arrived == count {
            return Ok(streams);
        }
        if streams.len() < count && streams.len() - arrived < AHEAD {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            streams.push(stream);
        } else if Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        } else {
            bail!("{} requests were sent and {arrived} reached the backend in {PATIENCE:?}", streams.len());
        }
    }
}
