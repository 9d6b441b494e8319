//! TCP load: gigabytes one way, and 64 bytes to and fro.
//!
//! Every byte is accounted for: the sink's count comes back through the proxy, and an echo must be what was sent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Done;
use crate::stats::percentile;

const MESSAGE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends `bytes` in all over a few connections at once to a sink, each behind `first`, and waits for its counts.
pub(crate) fn bulk(port: u16, connections: u64, bytes: u64, first: &[u8]) -> Result<Done> {
    let begin = Instant::now();
    thread::scope(|scope| {
        let each = || send(port, bytes / connections, first);
        let senders: Vec<_> = (0..connections).map(|_| scope.spawn(each)).collect();
        senders.into_iter().try_for_each(|sender| sender.join().map_err(|_| anyhow!("a sender panicked"))?)
    })?;
    Ok(Done { operations: bytes, seconds: begin.elapsed().as_secs_f64(), p50: None, p99: None, grown: None })
}

fn send(port: u16, bytes: u64, first: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(first)?;
    let chunk = vec![0x5a; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let n = chunk.len().min(usize::try_from(left)?);
        stream.write_all(chunk.get(..n).unwrap_or_default()).context("the relay took no more bytes")?;
        left -= n as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count).context("the sink's count did not come back after the half-close")?;
    let count = u64::from_be_bytes(count);
    let bytes = bytes + first.len() as u64;
    if count != bytes {
        bail!("{bytes} bytes were sent and {count} arrived");
    }
    Ok(())
}

/// Plays ping-pong with an echo, `round_trips` in all, shared by the connections.
pub(crate) fn ping_pong(port: u16, connections: u64, round_trips: u64) -> Result<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begin = Instant::now();
    let mut nanos = runtime.block_on(async {
        let players: Vec<_> = (0..connections).map(|_| tokio::spawn(play(port, round_trips / connections))).collect();
        let mut nanos = Vec::new();
        for player in players {
            nanos.extend(player.await??);
        }
        anyhow::Ok(nanos)
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Done {
        operations: nanos.len() as u64,
        seconds,
        p50: percentile(&mut nanos, 0.5).map(|nanos| nanos as f64 / 1e3),
        p99: percentile(&mut nanos, 0.99).map(|nanos| nanos as f64 / 1e3),
        grown: None,
    })
}

async fn play(port: u16, round_trips: u64) -> Result<Vec<u64>> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut nanos = Vec::with_capacity(usize::try_from(round_trips)?);
    let mut answer = [0; MESSAGE];
    for turn in 0..round_trips {
        let message = [turn as u8; MESSAGE];
        let begin = Instant::now();
        stream.write_all(&message).await?;
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.context("no echo came back")??;
        nanos.push(u64::try_from(begin.elapsed().as_nanos())?);
        if answer != message {
            bail!("the echo differs from what was sent");
        }
    }
    Ok(nanos)
}
