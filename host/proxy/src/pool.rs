//! One worker's idle connections to one endpoint. Never shared between workers, never locked.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::http1::client::Connection;
use crate::http2::client::Sender;

/// Idle connections are closed after so long: before the usual server (60 s and more) closes them under a request.
const MAX_IDLE: Duration = Duration::from_secs(50);

/// Idle connections, the most recently used last.
pub(crate) struct Pool {
    limit: Cell<usize>,
    http1: RefCell<Vec<(Instant, Box<Connection>)>>,
    /// The HTTP/2 connections that all exchanges of this worker share: one, unless that has too many streams that its
    /// upstream may see given up.
    pub(crate) http2: RefCell<Vec<Sender>>,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Self {
        Pool { limit: Cell::new(limit), http1: RefCell::default(), http2: RefCell::default() }
    }

    /// Keeps so many from now on.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// A connection that is still open as far as anyone can know.
    pub(crate) fn take(&self) -> Option<Box<Connection>> {
        loop {
            let (_, mut connection) = self.http1.borrow_mut().pop()?;
            if connection.wake() {
                return Some(connection);
            }
        }
    }

    /// Gives a connection back after a whole exchange.
    pub(crate) fn put(&self, connection: Box<Connection>) {
        let mut idle = self.http1.borrow_mut();
        if idle.len() < self.limit.get() {
            idle.push((Instant::now(), connection));
        }
    }

    /// Closes what has been idle too long. For the worker's tick.
    pub(crate) fn sweep(&self) {
        self.http1.borrow_mut().retain(|(since, _)| since.elapsed() < MAX_IDLE);
        let mut first = true;
        self.http2
            .borrow_mut()
            .retain(|sender| !sender.is_worn() && (std::mem::take(&mut first) || sender.has_exchanges()));
    }
}
