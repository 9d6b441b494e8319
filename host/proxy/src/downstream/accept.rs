//! A new connection, step by step: `accept → TLS → which protocol → serve`. All steps before the last have one deadline,
//! that of the first head: a client that says nothing gets as long as one that says little.
//!
//! A step that comes in front (a PROXY header) takes the connection and the deadline, and gives a connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use odin_chain::ConnectionInfo;

use crate::downstream::Downstream;
use crate::downstream::detect::{Detected, NewConnection, detect};
use crate::downstream::handle::{Door, Handle};
use crate::downstream::http1::server as http1;
use crate::downstream::http2::server as http2;
use crate::downstream::local::{LocalKind, LocalListener};
use crate::downstream::tcp;
use crate::downstream::worker::Worker;
use crate::http::http1::reader::Reader;
use crate::snapshot::ListenerCounters;
use crate::transport::conn::{Conn, Facts};
use crate::transport::drain::Drain;
use crate::transport::timer::Deadline;
use crate::transport::tls;

/// A connection has come: it is refused where there are too many, and served otherwise.
pub(crate) fn accepted(conn: Conn, peer: SocketAddr, door: &Door, worker: &Rc<Worker>) {
    let handle = door.handle();
    let listener = handle.current();
    let share = listener.shared.counters.share(worker.id);
    let limits = &listener.snapshot.limits;
    let secured = listener.shared.tls.is_some();
    if worker.connections() >= limits.connections || (secured && worker.handshakes.get() >= limits.handshakes) {
        share.refused.add(1);
        return;
    }
    share.accepted.add(1);
    let Facts { peer, local } = conn.begin(peer);
    let info = ConnectionInfo::new(peer, local, listener.name.clone());
    let drain = handle.drain.clone();
    let counted = Counted { counters: listener.shared.counters.clone(), worker: worker.id };
    if let Some(tls) = &listener.shared.tls {
        let (tls, drain, on) = (tls.clone(), drain.clone(), worker.clone());
        worker.serve(drain.clone(), async move {
            let counted = counted;
            // Boxed: what a handshake needs is gone when it is over.
            let secured = Box::pin(secure(conn, info, &tls, &listener, &drain, &on)).await;
            if let Some((conn, info, deadline)) = secured {
                serve(conn, info, deadline, listener, handle, on, Some(tls)).await;
            }
            drop(counted);
        });
    } else {
        let on = worker.clone();
        worker.serve(drain, async move {
            let _counted = counted;
            let mut deadline = Deadline::default();
            deadline.set(listener.snapshot.timeouts.header);
            serve(conn, info, deadline, listener, handle, on, None).await;
        });
    }
}

/// The TLS handshake. None when it failed, or took too long; then the listener has counted it.
async fn secure(
    conn: Conn,
    mut info: ConnectionInfo,
    tls: &tls::Server,
    listener: &LocalListener,
    drain: &Drain,
    worker: &Worker,
) -> Option<(Conn, ConnectionInfo, Deadline)> {
    let _handshake = worker.handshake();
    let mut deadline = Deadline::default();
    deadline.set(listener.snapshot.timeouts.header);
    let why = match drain.race(deadline.race(tls.accept(conn))).await {
        Some(Ok(Ok((conn, facts)))) => {
            info.tls = Some(Box::new(facts));
            return Some((conn, info, deadline));
        }
        Some(Ok(Err(why))) => why,
        Some(Err(_)) => "the handshake takes too long".to_owned(),
        None => "the drain is over".to_owned(),
    };
    listener.shared.counters.share(worker.id).handshakes_failed.add(1);
    // One line a second: anybody can make a handshake fail.
    let now = Instant::now();
    if worker.handshake_told.get().is_none_or(|told| now - told >= Duration::from_secs(1)) {
        worker.handshake_told.set(Some(now));
        tracing::info!(listener = %listener.name, peer = %info.peer, "TLS handshake failed: {why}");
    } else {
        tracing::debug!(listener = %listener.name, peer = %info.peer, "TLS handshake failed: {why}");
    }
    None
}

/// Which protocol it is, and then its server.
async fn serve(
    conn: Conn,
    info: ConnectionInfo,
    deadline: Deadline,
    listener: Rc<LocalListener>,
    handle: Rc<Handle>,
    worker: Rc<Worker>,
    tls: Option<Arc<tls::Server>>,
) {
    let (info, drain) = (Arc::new(info), handle.drain.clone());
    match &listener.kind {
        LocalKind::Tcp => Box::pin(tcp::serve(conn, info, &listener, &drain, &worker)).await,
        LocalKind::Http { .. } => {
            // Each exchange asks for what is current; the connection must not hold on to what was.
            drop(listener);
            let agreed = info.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
            let known = (agreed == Some("h2")).then_some(Detected::Http2);
            let mut new = NewConnection { conn, reader: Reader::new(), deadline };
            let downstream = Downstream::new(info, drain, tls);
            let detected = match known {
                None => detect(&mut new, &downstream.drain).await,
                agreed => agreed,
            };
            match detected {
                Some(Detected::Http1) => http1::serve(new, handle, downstream, worker).await,
                // Boxed: a few connections must not make all of them large.
                Some(Detected::Http2) => Box::pin(http2::serve(new, &handle, &downstream, &worker)).await,
                None => {}
            }
        }
    }
}

/// Counts the end of a connection, however it comes. Holds on to the counters alone: with the listener it would keep the
/// routes of a config that is gone, and free them all on the worker.
struct Counted {
    counters: Arc<ListenerCounters>,
    worker: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counters.share(self.worker).closed.add(1);
    }
}
