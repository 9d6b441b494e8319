//! A new connection, step by step: `accept → which protocol, and which name → serve`. All steps before the last have one deadline, that of
//! the first head: a client that says nothing gets as long as one that says little.
//!
//! A step that comes in front (a PROXY header, TLS) takes the connection and the deadline, and gives a connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use odin_chain::ConnectionInfo;

use crate::downstream::Downstream;
use crate::downstream::detect::{Detected, NewConnection, Offers, detect, detect_any};
use crate::downstream::handle::Door;
use crate::downstream::hello::{self, Refused};
use crate::downstream::http1::server as http1;
use crate::downstream::http2::server as http2;
use crate::downstream::local::{LocalKind, LocalListener};
use crate::downstream::tcp::{self, Arrived};
use crate::downstream::worker::Worker;
use crate::http::http1::reader::Reader;
use crate::snapshot::{ListenerCounters, ListenerKind};
use crate::transport::conn::{Conn, Facts};
use crate::transport::drain::Drain;
use crate::transport::timer::Deadline;

/// A connection has come: it is refused where there are too many, and served otherwise.
pub(crate) fn accepted(conn: Conn, peer: SocketAddr, door: &Door, worker: &Rc<Worker>) {
    let handle = door.handle();
    let listener = handle.current();
    let share = listener.shared.counters.share(worker.id);
    if worker.connections() >= listener.snapshot.limits.connections {
        share.refused.add(1);
        return;
    }
    share.accepted.add(1);
    let Facts { peer, local } = conn.begin(peer);
    let info = Arc::new(ConnectionInfo::new(peer, local, listener.name.clone()));
    let (drain, on) = (handle.drain.clone(), worker.clone());
    let counted = Counted { counters: listener.shared.counters.clone(), worker: worker.id };
    worker.serve(drain.clone(), async move {
        let _counted = counted;
        let started = Instant::now();
        let mut new = NewConnection { conn, reader: Reader::new(), deadline: Deadline::default() };
        new.deadline.set(listener.snapshot.timeouts.header);
        // An exchange asks for what is current; its connection must not hold on to what was.
        let kept = (!matches!(listener.kind, LocalKind::Http(_))).then(|| listener.clone());
        let kind = listener.kind;
        drop(listener);
        let detected = match (kind, &kept) {
            (LocalKind::Tls, _) => Some(Detected::Tls),
            (LocalKind::Tcp, _) => Some(Detected::Other),
            (LocalKind::Auto(_), Some(listener)) => detect_any(&mut new, offers(listener), &drain).await,
            _ => detect(&mut new, &drain).await,
        };
        // Boxed, but for the first: a few connections must not make all of them large.
        match (detected, kept) {
            (Some(Detected::Http1), kept) => {
                drop(kept);
                http1::serve(new, handle, Downstream::new(info, drain), on).await;
            }
            (Some(Detected::Http2), kept) => {
                drop(kept);
                Box::pin(http2::serve(new, &handle, &Downstream::new(info, drain), &on)).await;
            }
            (Some(Detected::Tls), Some(listener)) => {
                Box::pin(not_decrypted(new, info, started, (&listener, &drain), &on)).await;
            }
            (Some(Detected::Other), Some(listener)) => {
                Box::pin(relayed(new, info, started, (&listener, &drain), &on)).await;
            }
            _ => {}
        }
    });
}

/// What a listener serves that tells protocols apart.
fn offers(listener: &LocalListener) -> Offers {
    let (other, timeout) = match &listener.shared.kind {
        ListenerKind::Auto(auto) => (auto.tcp.is_some(), auto.timeout),
        _ => (false, Duration::ZERO),
    };
    let kind = &listener.shared.kind;
    Offers { http: !kind.http().is_empty(), tls: !kind.tls().is_empty(), other, timeout }
}

/// Relays a connection of TLS to where its ClientHello says.
async fn not_decrypted(
    mut new: NewConnection,
    mut info: Arc<ConnectionInfo>,
    started: Instant,
    (listener, drain): (&LocalListener, &Rc<Drain>),
    on: &Worker,
) {
    let served = hello::read(&mut new, drain).await.and_then(|hello| {
        // Nobody else has it yet.
        if let Some(info) = Arc::get_mut(&mut info) {
            info.sni.clone_from(&hello.sni);
        }
        listener.tls_target(hello.sni.as_deref(), &hello.alpn).ok_or_else(|| Refused::unknown(&hello))
    });
    match served {
        Ok(target) => {
            let arrived = Arrived { conn: new.conn, early: new.reader.buffer.freeze(), info, tls: true, started };
            tcp::serve(arrived, target, listener, drain, on).await;
        }
        Err(refused) => {
            tcp::not_served(&info, started, refused.error.clone(), listener, on);
            refused.tell(new.conn).await;
        }
    }
}

/// Relays a connection of any protocol.
async fn relayed(
    mut new: NewConnection,
    info: Arc<ConnectionInfo>,
    started: Instant,
    (listener, drain): (&LocalListener, &Rc<Drain>),
    on: &Worker,
) {
    match listener.tcp_target() {
        Some(target) => {
            let arrived = Arrived { conn: new.conn, early: new.reader.buffer.freeze(), info, tls: false, started };
            tcp::serve(arrived, target, listener, drain, on).await;
        }
        None => {
            let error = "neither HTTP nor TLS, and there is no `tcp-cluster`".to_owned();
            tcp::not_served(&info, started, error, listener, on);
            new.conn.reset_on_drop();
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
