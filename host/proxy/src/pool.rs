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
    /// The one HTTP/2 connection that all exchanges of this worker share.
    pub(crate) http2: RefCell<Option<Sender>>,
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
        let closed = self.http2.borrow().as_ref().is_some_and(Sender::is_closed);
        if closed {
            self.http2.borrow_mut().take();
        }
    }
}
