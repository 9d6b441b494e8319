//! A new connection, step by step: `accept → who comes in → TLS → which protocol, and which name → serve`. All steps before
//! the last have one deadline, that of the first head: a client that says nothing gets as long as one that says little.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use odin_chain::{ConnectionInfo, TlsInfo};

use crate::counters::ListenerCounters;
use crate::downstream::Downstream;
use crate::downstream::detect::{Detected, NewConnection, Offers, detect, detect_any};
use crate::downstream::entrance::Arrival;
use crate::downstream::handle::{Door, Handle};
use crate::downstream::hello::{self, Refused};
use crate::downstream::http1::server as http1;
use crate::downstream::http2::server as http2;
use crate::downstream::local::{LocalKind, LocalListener};
use crate::downstream::secure::secure;
use crate::downstream::tcp::{self, Arrived};
use crate::downstream::worker::Worker;
use crate::http::http1::reader::Reader;
use crate::snapshot::ListenerKind;
use crate::transport::conn::Conn;
use crate::transport::drain::Drain;
use crate::transport::timer::Deadline;
use crate::transport::tls;

/// A connection has come: it is refused where there are too many, and served otherwise.
pub(crate) fn accepted(mut conn: Conn, peer: SocketAddr, door: &Door, worker: &Rc<Worker>) {
    let handle = door.handle();
    let listener = handle.current();
    let share = listener.shared.counters.share(worker.id);
    let limits = &listener.snapshot.limits;
    if worker.connections() >= limits.connections {
        share.refused.add(1);
        return;
    }
    let Some(mut arrival) = Arrival::of(peer, &listener, worker.id) else { return };
    share.accepted.add(1);
    let mut ends = conn.begin(peer);
    let (drain, on) = (handle.drain.clone(), worker.clone());
    let counted = Counted { counters: listener.shared.counters.clone(), worker: worker.id };
    // Here and not at its first step, so that a burst of accepts sees itself.
    // Where protocols are told apart it is not known yet whether there is one.
    let secured = listener.shared.tls.clone().filter(|_| !matches!(listener.kind, LocalKind::Auto(_)));
    let handshake = secured.map(|tls| (tls, worker.handshakes.begin(limits.handshakes)));
    worker.serve(drain, async move {
        let _counted = counted;
        let mut deadline = Deadline::default();
        deadline.set(listener.snapshot.timeouts.header);
        if arrival.header_due {
            let before = (&mut deadline, &*handle.drain);
            // Boxed, here and below: what few connections have must not make all of them large.
            let reading = Box::pin(arrival.read_header(&mut conn, &mut ends, &listener, before, on.id));
            if !reading.await {
                return;
            }
        }
        let (info, _guest) = arrival.finish(ends, &listener);
        let mut new = New { conn, info, deadline, started: Instant::now(), tls: None };
        if let Some((tls, handshake)) = handshake {
            // What a handshake needs is gone when it is over.
            let securing = Box::pin(secure(new, (tls, None), &listener, &handle.drain, (handshake, &on)));
            let Some(secured) = securing.await else { return };
            new = secured;
        }
        serve(new, listener, handle, on).await;
    });
}

/// A connection between two steps.
pub(crate) struct New {
    pub(crate) conn: Conn,
    pub(crate) info: ConnectionInfo,
    pub(crate) deadline: Deadline,
    pub(crate) started: Instant,
    /// By whom it is encrypted.
    pub(crate) tls: Option<Arc<tls::Server>>,
}

/// Which protocol it is, and then its server.
async fn serve(new: New, listener: Rc<LocalListener>, handle: Rc<Handle>, on: Rc<Worker>) {
    let New { conn, info, deadline, started, tls } = new;
    let drain = handle.drain.clone();
    let mut new = NewConnection { conn, reader: Reader::new(), deadline };
    // An exchange asks for what is current; its connection must not hold on to what was.
    let kept = (!matches!(listener.kind, LocalKind::Http(_))).then(|| listener.clone());
    let kind = listener.kind;
    drop(listener);
    let agreed = info.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    let detected = match (kind, &kept) {
        (LocalKind::Tls, _) => Some(Detected::Tls),
        (LocalKind::Tcp, _) => Some(Detected::Other),
        _ if agreed == Some("h2") => Some(Detected::Http2),
        (LocalKind::Auto(_), Some(listener)) if agreed.is_none() => {
            detect_any(&mut new, offers(listener, tls.is_some()), &drain).await
        }
        _ => detect(&mut new, &drain).await,
    };
    // Boxed, but for the first: a few connections must not make all of them large.
    match (detected, kept) {
        (Some(Detected::Http1), kept) => {
            drop(kept);
            http1::serve(new, handle, Downstream::new(info.into(), drain, tls), on).await;
        }
        (Some(Detected::Http2), kept) => {
            drop(kept);
            Box::pin(http2::serve(new, &handle, &Downstream::new(info.into(), drain, tls), &on)).await;
        }
        (Some(Detected::Tls), Some(listener)) => {
            Box::pin(encrypted(new, info, started, (listener, handle), on)).await;
        }
        (Some(Detected::Other), Some(listener)) => {
            Box::pin(relayed(new, info, started, (&listener, &drain), &on)).await;
        }
        _ => {}
    }
}

/// What a listener serves that tells protocols apart; inside of TLS there is no more TLS.
fn offers(listener: &LocalListener, decrypted: bool) -> Offers {
    let (other, timeout) = match &listener.shared.kind {
        ListenerKind::Auto(auto) => (auto.tcp.is_some(), auto.timeout),
        _ => (false, Duration::ZERO),
    };
    let kind = &listener.shared.kind;
    let tls = !decrypted && (listener.shared.tls.is_some() || !kind.tls().is_empty());
    Offers { http: !kind.http().is_empty(), tls, other, timeout }
}

/// A connection of TLS goes where its ClientHello says: relayed by a route, or decrypted here.
async fn encrypted(
    mut new: NewConnection,
    mut info: ConnectionInfo,
    started: Instant,
    (listener, handle): (Rc<LocalListener>, Rc<Handle>),
    on: Rc<Worker>,
) {
    let drain = handle.drain.clone();
    let refused = match hello::read(&mut new, &drain).await {
        Ok((hello, begun)) => match (listener.tls_target(hello.sni.as_deref(), &hello.alpn), &listener.shared.tls) {
            (Some(target), _) => {
                info.tls = Some(Box::new(TlsInfo { sni: hello.sni, ..TlsInfo::default() }));
                let early = new.reader.buffer.freeze();
                let arrived = Arrived { conn: new.conn, early, info: info.into(), started };
                return tcp::serve(arrived, target, &listener, &drain, &on).await;
            }
            (None, Some(tls)) => {
                let handshake = on.handshakes.begin(listener.snapshot.limits.handshakes);
                let new = New { conn: new.conn, info, deadline: new.deadline, started, tls: None };
                let tls = (tls.clone(), Some(begun));
                let secured = Box::pin(secure(new, tls, &listener, &drain, (handshake, &on))).await;
                if let Some(new) = secured {
                    Box::pin(serve(new, listener, handle, on)).await;
                }
                return;
            }
            (None, None) => {
                info.tls = Some(Box::new(TlsInfo { sni: hello.sni.clone(), ..TlsInfo::default() }));
                Refused::unknown(&hello)
            }
        },
        Err(refused) => refused,
    };
    tcp::not_served(&info, started, refused.error.clone(), &listener, &on);
    refused.tell(new.conn).await;
}

/// Relays a connection of any protocol.
async fn relayed(
    mut new: NewConnection,
    info: ConnectionInfo,
    started: Instant,
    (listener, drain): (&LocalListener, &Rc<Drain>),
    on: &Worker,
) {
    let info = Arc::new(info);
    match listener.tcp_target() {
        Some(target) => {
            let arrived = Arrived { conn: new.conn, early: new.reader.buffer.freeze(), info, started };
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
