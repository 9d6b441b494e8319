//! The step of a new connection in which it becomes one over TLS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::downstream::accept::New;
use crate::downstream::local::LocalListener;
use crate::downstream::worker::Worker;
use crate::transport::drain::Drain;
use crate::transport::tls;

/// Anybody can make a handshake fail: the log tells of one in so long.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The handshake. None when it failed, or took too long; then it is counted and told.
pub(crate) async fn secure(
    new: New,
    tls: Arc<tls::Server>,
    listener: &LocalListener,
    drain: &Drain,
    worker: &Worker,
) -> Option<New> {
    let New { conn, mut info, mut deadline, started, .. } = new;
    let why = match drain.race(deadline.race(tls.accept(conn))).await {
        Some(Ok(Ok((conn, facts)))) => {
            info.tls = Some(Box::new(facts));
            return Some(New { conn, info, deadline, started, tls: Some(tls) });
        }
        Some(Ok(Err(why))) => why,
        Some(Err(_)) => "the handshake takes too long".to_owned(),
        None => "the drain is over".to_owned(),
    };
    listener.shared.counters.share(worker.id).handshakes_failed.add(1);
    let now = Instant::now();
    if worker.handshake_told.get().is_none_or(|told| now - told >= TOLD_EVERY) {
        worker.handshake_told.set(Some(now));
        tracing::info!(listener = %listener.name, peer = %info.peer, "TLS handshake failed: {why}");
    } else {
        tracing::debug!(listener = %listener.name, peer = %info.peer, "TLS handshake failed: {why}");
    }
    None
}
