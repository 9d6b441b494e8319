//! A new connection, step by step: `accept → which protocol → serve`. All steps before the last have one deadline, that of
//! the first head: a client that says nothing gets as long as one that says little.
//!
//! A step that comes in front (a PROXY header, TLS) takes the connection and the deadline, and gives a connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use odin_chain::ConnectionInfo;

use crate::downstream::Downstream;
use crate::downstream::detect::{Detected, NewConnection, detect};
use crate::downstream::handle::Door;
use crate::downstream::http1::server as http1;
use crate::downstream::http2::server as http2;
use crate::downstream::local::LocalKind;
use crate::downstream::tcp;
use crate::downstream::worker::Worker;
use crate::http::http1::reader::Reader;
use crate::snapshot::ListenerCounters;
use crate::transport::conn::{Conn, Facts};
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
        match &listener.kind {
            LocalKind::Tcp => Box::pin(tcp::serve(conn, info, &listener, &drain, &on)).await,
            LocalKind::Http { .. } => {
                let mut new = NewConnection { conn, reader: Reader::new(), deadline: Deadline::default() };
                new.deadline.set(listener.snapshot.timeouts.header);
                // Each exchange asks for what is current; the connection must not hold on to what was.
                drop(listener);
                let downstream = Downstream::new(info, drain);
                match detect(&mut new, &downstream.drain).await {
                    Some(Detected::Http1) => http1::serve(new, handle, downstream, on).await,
                    // Boxed: a few connections must not make all of them large.
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
