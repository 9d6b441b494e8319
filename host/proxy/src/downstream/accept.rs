//! A new connection, step by step: `accept → who comes in → which protocol → serve`. All steps before the last have one
//! deadline, that of the first head: a client that says nothing gets as long as one that says little.
//!
//! A step that comes in front (TLS) takes the connection and the deadline, and gives a connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::downstream::Downstream;
use crate::downstream::detect::{Detected, NewConnection, detect};
use crate::downstream::entrance::Arrival;
use crate::downstream::handle::Door;
use crate::downstream::http1::server as http1;
use crate::downstream::http2::server as http2;
use crate::downstream::local::LocalKind;
use crate::downstream::tcp;
use crate::downstream::worker::Worker;
use crate::http::http1::reader::Reader;
use crate::snapshot::ListenerCounters;
use crate::transport::conn::Conn;
use crate::transport::timer::Deadline;

/// A connection has come: it is refused where there are too many, and served otherwise.
pub(crate) fn accepted(mut conn: Conn, peer: SocketAddr, door: &Door, worker: &Rc<Worker>) {
    let handle = door.handle();
    let listener = handle.current();
    let share = listener.shared.counters.share(worker.id);
    if worker.connections() >= listener.snapshot.limits.connections {
        share.refused.add(1);
        return;
    }
    let Some(mut arrival) = Arrival::of(peer, &listener, worker.id) else { return };
    share.accepted.add(1);
    let mut ends = conn.begin(peer);
    let (drain, on) = (handle.drain.clone(), worker.clone());
    let counted = Counted { counters: listener.shared.counters.clone(), worker: worker.id };
    worker.serve(drain.clone(), async move {
        let _counted = counted;
        let mut deadline = Deadline::default();
        if arrival.header_due {
            deadline.set(listener.snapshot.timeouts.header);
            let before = (&mut deadline, &*drain);
            // Boxed, here and below: what few connections have must not make all of them large.
            let reading = Box::pin(arrival.read_header(&mut conn, &mut ends, &listener, before, on.id));
            if !reading.await {
                return;
            }
        }
        let header_read = arrival.header_due;
        let (info, _guest) = arrival.finish(ends, &listener);
        match &listener.kind {
            LocalKind::Tcp => Box::pin(tcp::serve(conn, info, &listener, &drain, &on)).await,
            LocalKind::Http { .. } => {
                if !header_read {
                    deadline.set(listener.snapshot.timeouts.header);
                }
                let mut new = NewConnection { conn, reader: Reader::new(), deadline };
                // Each exchange asks for what is current; the connection must not hold on to what was.
                drop(listener);
                let downstream = Downstream::new(info, drain);
                match detect(&mut new, &downstream.drain).await {
                    Some(Detected::Http1) => http1::serve(new, handle, downstream, on).await,
                    Some(Detected::Http2) => Box::pin(http2::serve(new, &handle, &downstream, &on)).await,
                    None => {}
                }
            }
        }
    });
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
