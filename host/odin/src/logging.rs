//! Odin's own log, on standard error. The access log is another thing and goes to standard output.
//!
//! Must never keep anybody waiting, or fail: whoever reads standard error may be slow, stopped or gone.

use std::io::{self, IsTerminal, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Lines that may wait for the thread that writes; more are dropped, and counted.
const WAITING: usize = 4096;
/// How long the last lines may take.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// To the thread that writes, once there is one.
static WRITER: OnceLock<SyncSender<Order>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Order {
    Write(Vec<u8>),
    /// Let go of this when all that came before is written.
    Tell(SyncSender<()>),
}

/// Starts the log. `RUST_LOG` chooses what is logged; `info` and above unless it says otherwise.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Line);
    // A second start (there is none) would be refused; the first one's settings stay.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Lets a thread write from here on. Not before privileges are dropped: a thread keeps those that it was started with.
pub(crate) fn detach() -> io::Result<()> {
    let (sender, orders) = sync_channel(WAITING);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write(orders))?;
    // There is one already, if this is called twice.
    let _ = WRITER.set(sender);
    Ok(())
}

/// Writes one line, or several: whole, or not at all.
pub(crate) fn line(line: &[u8]) {
    match WRITER.get() {
        Some(writer) => {
            if writer.try_send(Order::Write(line.to_vec())).is_err() {
                DROPPED.fetch_add(1, Relaxed);
            }
        }
        None => put(line),
    }
}

/// Waits until everything is written, if anybody reads it.
pub(crate) fn finish() {
    let (written, told) = sync_channel(0);
    if let Some(writer) = WRITER.get()
        && writer.try_send(Order::Tell(written)).is_ok()
    {
        // Never answered: the thread lets go of its end.
        let _ = told.recv_timeout(LAST_WRITE);
    }
}

fn write(orders: Receiver<Order>) {
    for order in orders {
        match order {
            Order::Write(line) => put(&line),
            Order::Tell(written) => drop(written),
        }
        let dropped = DROPPED.swap(0, Relaxed);
        if dropped > 0 {
            put(format!("odin: {dropped} lines of the log were dropped: nobody took them in time\n").as_bytes());
        }
    }
}

fn put(line: &[u8]) {
    // Nobody reads standard error, then.
    let _ = io::stderr().write_all(line);
}

/// What tracing writes a line to, in one piece.
struct Line;

impl io::Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        line(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
