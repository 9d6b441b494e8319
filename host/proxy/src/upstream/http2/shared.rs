//! The HTTP/2 connections to an upstream, shared by the exchanges of one worker: opened, chosen, and left alone.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioTimer;

use crate::error::{Error, Kind};
use crate::http::body::Body;
use crate::http::http2::STREAM_WINDOW;
use crate::settings::Timeouts;
use crate::transport::hyper_io::{Io, LocalExecutor};
use crate::transport::timer::Deadline;
use crate::upstream::attempt::{self, Attempt, Place};
use crate::upstream::gate::Lease;
use crate::upstream::http2::sender::{Driver, Sender, Stream};
use crate::upstream::pool::Pool;

/// Bytes that an upstream may send on all streams of a connection before they are read. Slow clients make Odin keep as many.
///
/// * Not more: a client with 100 slow streams occupies about one upstream connection, and may cost 2 MiB with all that
///   belongs to it. tests/tests/slow_readers.rs measures it.
/// * Not much less: the h2 crate lets small DATA frames wait to be read only until 256 bytes for each of them, less their
///   own, are half of this window. With the next one it ends the connection. So at least 1280 messages of any size can
///   wait for slow clients (gRPC).
const CONNECTION_WINDOW: u32 = 640 * 1024;

/// How long a new connection waits for the upstream's settings, which limit its streams (RFC 9113, section 3.4).
const SETTINGS_WAIT: Duration = Duration::from_secs(1);

/// A stream for a request of which not all is here if `unsure`: on a connection that has room, on one that is being
/// opened, or on a new one.
pub(crate) async fn reserve(attempt: &Attempt<'_>, unsure: bool, deadline: &mut Deadline) -> Result<Stream, Error> {
    let pool = attempt.pool();
    let patience = attempt.call.snapshot.timeouts.queue;
    let began = Instant::now();
    loop {
        // None is there where each connection is one client's.
        let found = pool.http2.borrow().iter().find(|sender| sender.takes(unsure)).cloned();
        let lease = if found.is_some() { None } else { pool.gate.try_lease() };
        let sender = match (found, lease) {
            (Some(sender), _) => sender,
            (None, Some(lease)) => open(attempt, lease),
            (None, None) => {
                let ended = pool.gate.stream_ended();
                let left = patience.saturating_sub(began.elapsed()).max(Duration::from_nanos(1));
                let left = if patience.is_zero() { patience } else { left };
                tokio::select! {
                    lease = pool.gate.lease(left, deadline) => open(attempt, lease?),
                    () = ended => continue,
                }
            }
        };
        let stream = Stream::new(sender, unsure);
        let opened = stream.connection().opened(deadline).await;
        if opened.is_err() {
            retire(&stream, pool);
        }
        opened?;
        // The upstream allows fewer than were waiting for it.
        if stream.fits() {
            return Ok(stream);
        }
    }
}

/// No later exchange uses the stream's connection.
pub(crate) fn retire(stream: &Stream, pool: &Pool) {
    pool.http2.borrow_mut().retain(|kept| !kept.is(stream.connection()));
}

/// Opens a connection, in a task of its own: others can use it even if the exchange that needed it ends before it is open.
fn open(attempt: &Attempt<'_>, lease: Lease) -> Sender {
    let limits = &attempt.call.snapshot.limits;
    let sender = Sender::opening(limits.streams_per_upstream, lease);
    if attempt.pool().peer.proxy_header.is_none() {
        attempt.pool().http2.borrow_mut().push(sender.clone());
    }
    let (place, timeouts) = (attempt.place(), attempt.call.snapshot.timeouts.clone());
    let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
    let opening = sender.clone();
    tokio::task::spawn_local(async move {
        opening.connected(connect(&place, &timeouts, head_bytes).await);
    });
    sender
}

async fn connect(
    place: &Place,
    timeouts: &Timeouts,
    head_bytes: u32,
) -> Result<(SendRequest<Body>, Weak<Driver>), Error> {
    let stream = attempt::connect(place, timeouts.connect, &mut Deadline::default()).await?;
    let failed = |error: hyper::Error| Error::new(Kind::ConnectFailed, error.to_string()).retryable(true);
    let (io, heard) = Io::telling(stream);
    let mut builder = Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(head_bytes);
    if !timeouts.http2_ping.is_zero() {
        builder.keep_alive_interval(timeouts.http2_ping).keep_alive_timeout(timeouts.http2_ping);
    }
    let (requests, connection) = builder.handshake(io).await.map_err(failed)?;
    let driver = Rc::new(RefCell::new(connection));
    let known = Rc::downgrade(&driver);
    tokio::task::spawn_local(async move {
        if let Err(error) = poll_fn(|cx| Pin::new(&mut *driver.borrow_mut()).poll(cx)).await {
            tracing::debug!(%error, "HTTP/2 upstream connection ended");
        }
    });
    // How many streams the upstream takes is unknown until its settings are here. One that sends none is used after this.
    let _ = tokio::time::timeout(SETTINGS_WAIT, heard.notified()).await;
    Ok((requests, known))
}
