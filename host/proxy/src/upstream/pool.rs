//! One worker's connections to one peer: an address of an endpoint and what is spoken there. Idle HTTP/1 ones, and the
//! HTTP/2 ones that its exchanges share. Never shared between workers, never locked.
//!
//! No count bounds the idle ones: a pool that throws away what the next moment needs opens connections all the time.
//! They are closed by age, and by what has been needed of late.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::settings::{Limits, Timeouts};
use crate::transport::connector::Peer;
use crate::upstream::gate::Gate;
use crate::upstream::http1::connection::Connection;
use crate::upstream::http2::sender::Sender;

/// How often more idle connections are closed than were needed since the last time.
const PURGE_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Pool {
    pub(crate) peer: Peer,
    /// Connections in use, of either version.
    pub(crate) gate: Rc<Gate>,
    /// The most recently used last.
    idle: RefCell<Vec<(Instant, Box<Connection>)>>,
    /// The first is used before the second, so that the last ones fall idle.
    pub(crate) http2: RefCell<Vec<Sender>>,
    max_idle: Cell<Duration>,
    purged: Cell<Instant>,
}

impl Pool {
    pub(crate) fn new(peer: Peer, limits: &Limits, timeouts: &Timeouts) -> Self {
        Pool {
            peer,
            gate: Gate::new(limits.upstream_connections),
            idle: RefCell::default(),
            http2: RefCell::default(),
            max_idle: Cell::new(timeouts.upstream_idle),
            purged: Cell::new(Instant::now()),
        }
    }

    /// Goes on with these limits.
    pub(crate) fn configure(&self, limits: &Limits, timeouts: &Timeouts) {
        self.gate.set_limit(limits.upstream_connections);
        self.max_idle.set(timeouts.upstream_idle);
    }

    /// An HTTP/1 connection that is still open as far as anyone can know.
    pub(crate) fn take(&self) -> Option<Box<Connection>> {
        loop {
            let (_, mut connection) = self.idle.borrow_mut().pop()?;
            if connection.wake() {
                return Some(connection);
            }
        }
    }

    /// Gives a connection back after a whole exchange.
    pub(crate) fn put(&self, connection: Box<Connection>) {
        self.idle.borrow_mut().push((Instant::now(), connection));
    }

    /// Closes what has been idle too long, or was not needed of late. For the worker's tick. Answers how many connections
    /// that was.
    pub(crate) fn sweep(&self) -> usize {
        let max_idle = if self.max_idle.get().is_zero() { Duration::MAX } else { self.max_idle.get() };
        let mut idle = self.idle.borrow_mut();
        let mut http2 = self.http2.borrow_mut();
        let before = idle.len() + http2.len();
        idle.retain(|(since, _)| since.elapsed() < max_idle);
        http2.retain(|sender| !sender.is_worn() && sender.idle_for() < max_idle);
        if self.purged.get().elapsed() >= PURGE_EVERY {
            self.purged.set(Instant::now());
            // Half of the surplus each time: a wave that comes again finds most of its connections.
            let surplus = (self.gate.used() + idle.len()).saturating_sub(self.gate.take_peak());
            let closed = surplus.div_ceil(2).min(idle.len());
            idle.drain(..closed);
            // What a wave made large is given back.
            if idle.capacity() > 4 * idle.len().max(16) {
                idle.shrink_to_fit();
            }
        }
        before - idle.len() - http2.len()
    }
}
