//! The relay of a TCP connection whose bytes plugins look at: a piece is read, goes through the hooks, is written, and
//! only then the next one is read. A FIN is passed on as FIN, everything else as RST.
//!
//! Must never pass on a byte that a plugin has not decided about.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::filter::Run;
use crate::filter::stream::Through;
use crate::observe::access_log::TcpReport;
use crate::transport::conn::{Conn, Half};
use crate::transport::drain::{DRAINED, Drain};
use crate::transport::timer::{Deadline, Elapsed};

/// What one read takes at most.
const PIECE: usize = 64 * 1024;

/// What has happened so far.
#[derive(Default)]
struct Progress {
    /// Grows with everything that happens.
    steps: Cell<u64>,
    delivered: Cell<u64>,
}

/// Relays until both directions ended, a connection failed, a plugin cut it, or nothing moved for the idle time.
pub(super) async fn relay(
    (client, early): (Conn, Bytes),
    server: Conn,
    run: &Run,
    (up, down): (Through, Through),
    idle: Option<Duration>,
    drain: &Drain,
) -> TcpReport {
    let (there, back) = (Progress::default(), Progress::default());
    let (client, server) = (RefCell::new(client), RefCell::new(server));
    let ended = {
        let both = async {
            tokio::try_join!(
                direction(Half(&client), Half(&server), run, (up, early), &there, ("downstream", "upstream")),
                direction(Half(&server), Half(&client), run, (down, Bytes::new()), &back, ("upstream", "downstream")),
            )
        };
        let mut both = pin!(both);
        let (mut deadline, mut seen) = (Deadline::default(), None);
        poll_fn(|cx| {
            if let Poll::Ready(ended) = both.as_mut().poll(cx) {
                return Poll::Ready(ended.map(|_| ()));
            }
            if drain.over() {
                return Poll::Ready(Err(DRAINED.to_owned()));
            }
            let steps = there.steps.get() + back.steps.get();
            if seen.replace(steps) != Some(steps) {
                deadline.set(idle.unwrap_or_default());
            }
            deadline.poll(cx).map(|Elapsed| Err("idle timeout".to_owned()))
        })
        .await
    };
    if ended.is_err() {
        // Neither peer may take a broken stream for a whole one.
        client.into_inner().reset_on_drop();
        server.into_inner().reset_on_drop();
    }
    TcpReport { received: there.delivered.get(), sent: back.delivered.get(), error: ended.err() }
}

/// One direction to its end. `early` is what was read before; `names` are those of its source and its sink.
async fn direction(
    mut from: Half<&RefCell<Conn>>,
    mut to: Half<&RefCell<Conn>>,
    run: &Run,
    (mut through, mut early): (Through, Bytes),
    progress: &Progress,
    names: (&str, &str),
) -> Result<(), String> {
    let mut buffer = BytesMut::new();
    loop {
        let mut piece = std::mem::take(&mut early);
        if piece.is_empty() {
            buffer.reserve(PIECE);
            from.read_buf(&mut buffer).await.map_err(|error| format!("{}: {error}", names.0))?;
            piece = buffer.split().freeze();
        }
        let end = piece.is_empty();
        progress.steps.set(progress.steps.get() + 1);
        let piece = through.take(run, piece, end).await.map_err(|error| error.to_string())?;
        to.write_all(&piece).await.map_err(|error| format!("{}: {error}", names.1))?;
        // A socket keeps nothing; a stream may.
        to.flush().await.map_err(|error| format!("{}: {error}", names.1))?;
        progress.steps.set(progress.steps.get() + 1);
        progress.delivered.set(progress.delivered.get() + piece.len() as u64);
        if end {
            return to.shutdown().await.map_err(|error| format!("{}: {error}", names.1));
        }
    }
}
