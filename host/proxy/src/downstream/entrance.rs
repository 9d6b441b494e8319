//! The first step of a new connection: whether its source may come in, and who its client is if another proxy has to say so
//! (a PROXY header). What is turned away is closed at once, counted, and told of once a second.

use std::net::SocketAddr;

use odin_chain::{ConnectionInfo, ProxyFacts};

use crate::counters::TurnedAway;
use crate::downstream::local::LocalListener;
use crate::downstream::sources::{Guest, TooMuch};
use crate::transport::conn::{Conn, Facts};
use crate::transport::drain::Drain;
use crate::transport::proxy_header::{self, Header, Unread};
use crate::transport::timer::{Deadline, Elapsed};

/// A connection that may come in, as far as is known.
pub(crate) struct Arrival {
    /// Another proxy has to say who the client is.
    pub(crate) header_due: bool,
    guest: Option<Guest>,
    proxy: Option<Box<ProxyFacts>>,
}

impl Arrival {
    /// By the address of the socket. None: it is turned away.
    pub(crate) fn of(peer: SocketAddr, listener: &LocalListener, worker: usize) -> Option<Arrival> {
        let mut arrival = Arrival { header_due: false, guest: None, proxy: None };
        let address = peer.ip().to_canonical();
        if let Some(rules) = &listener.shared.proxy_header {
            arrival.header_due = rules.from.iter().any(|network| network.contains(&address));
            if !arrival.header_due && !rules.ignore_others {
                turn_away(TurnedAway::ProxyNetwork, peer, "PROXY headers from there are not trusted", listener, worker);
                return None;
            }
        }
        (arrival.header_due || arrival.admit(peer, listener, worker)).then_some(arrival)
    }

    /// Reads the header; the client is who it says from here on. False: the connection is turned away, or has gone.
    pub(crate) async fn read_header(
        &mut self,
        conn: &mut Conn,
        ends: &mut Facts,
        listener: &LocalListener,
        (deadline, drain): (&mut Deadline, &Drain),
        worker: usize,
    ) -> bool {
        let sender = ends.peer;
        let fault = match drain.race(deadline.race(proxy_header::read(conn))).await {
            Some(Ok(Ok(Header { addresses, facts }))) => {
                if let Some((peer, local)) = addresses {
                    *ends = Facts { peer, local };
                }
                self.proxy = Some(Box::new(ProxyFacts { sender: Some(sender), ..facts }));
                return self.admit(ends.peer, listener, worker);
            }
            // A load balancer's look at the port is no fault.
            None | Some(Ok(Err(Unread::Nothing | Unread::Broken))) => return false,
            Some(Ok(Err(Unread::Malformed(fault)))) => fault,
            Some(Err(Elapsed)) => "no PROXY header in time",
        };
        conn.reset_on_drop();
        turn_away(TurnedAway::ProxyHeader, sender, fault, listener, worker);
        false
    }

    fn admit(&mut self, peer: SocketAddr, listener: &LocalListener, worker: usize) -> bool {
        let Some(sources) = &listener.shared.sources else { return true };
        let (why, words) = match sources.admit(peer.ip().to_canonical()) {
            Ok(guest) => {
                self.guest = guest;
                return true;
            }
            Err(TooMuch::Denied) => (TurnedAway::SourceDenied, "its network may not connect"),
            Err(TooMuch::Connections) => (TurnedAway::SourceConnections, "too many connections of its source"),
            Err(TooMuch::Rate) => (TurnedAway::SourceRate, "too many new connections of its source in a second"),
        };
        turn_away(why, peer, words, listener, worker);
        false
    }

    /// What is known of the connection, and what counts it for its source until it is dropped.
    pub(crate) fn finish(self, ends: Facts, listener: &LocalListener) -> (ConnectionInfo, Option<Guest>) {
        let mut info = ConnectionInfo::new(ends.peer, ends.local, listener.name.clone());
        info.proxy = self.proxy;
        (info, self.guest)
    }
}

fn turn_away(why: TurnedAway, client: SocketAddr, words: &str, listener: &LocalListener, worker: usize) {
    let counters = &listener.shared.counters;
    counters.share(worker).turned_away[why as usize].add(1);
    if counters.may_tell() {
        tracing::warn!(listener = %listener.name, %client, "connection refused: {words}");
    }
}
