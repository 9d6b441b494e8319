//! The step of a new connection in which it becomes one over TLS.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;

use crate::downstream::accept::New;
use crate::downstream::handshakes::Handshake;
use crate::downstream::local::LocalListener;
use crate::downstream::worker::Worker;
use crate::transport::drain::Drain;
use crate::transport::tls::{self, Begun};

/// The handshake. None when it failed, or took too long; then it is counted and told.
pub(crate) async fn secure(
    new: New,
    (tls, begun): (Arc<tls::Server>, Option<Begun>),
    listener: &LocalListener,
    drain: &Drain,
    (handshake, worker): (Handshake, &Worker),
) -> Option<New> {
    let New { conn, mut info, mut deadline, started, .. } = new;
    let why = match drain.race(handshake.race(deadline.race(tls.accept(conn, begun)))).await {
        Some(Some(Ok(Ok((mut conn, facts))))) => {
            if facts.alpn.as_deref() == Some(tls::CHALLENGE) {
                // The authority has seen what it asked for.
                let _ = drain.race(deadline.race(conn.shutdown())).await;
                return None;
            }
            info.tls = Some(Box::new(facts));
            return Some(New { conn, info, deadline, started, tls: Some(tls) });
        }
        Some(Some(Ok(Err(why)))) => why,
        Some(Some(Err(_))) => "it takes too long".to_owned(),
        Some(None) => "others need its place: limits.handshakes go on at a time, and it is the oldest".to_owned(),
        None => "the drain is over".to_owned(),
    };
    listener.shared.counters.share(worker.id).handshakes_failed.add(1);
    if worker.handshakes.may_tell() {
        tracing::info!(listener = %listener.name, peer = %info.peer, "TLS handshake failed: {why}");
    } else {
        tracing::debug!(listener = %listener.name, peer = %info.peer, "TLS handshake failed: {why}");
    }
    None
}
