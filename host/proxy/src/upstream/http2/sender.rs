//! An HTTP/2 connection to an upstream as its exchanges see it: how many streams it may carry, and when it is left alone.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{Connection, SendRequest};
use tokio::sync::Notify;

use crate::error::{Error, Kind};
use crate::http::body::Body;
use crate::http::http2::StreamSide;
use crate::transport::hyper_io::{Io, LocalExecutor};
use crate::transport::timer::{Deadline, no_time_to_connect};
use crate::upstream::gate::Lease;

/// Upstreams close a connection on which more streams than that are given up at a time (20 in hyper, 100 in others), and
/// with it the exchanges of others.
const MOST_GIVEN_UP: u32 = 20;
/// After so many a connection is left to the exchanges that it has.
const WORN: u32 = MOST_GIVEN_UP / 2;

/// A connection to which streams can be added.
#[derive(Clone)]
pub(crate) struct Sender(Rc<Shared>);

struct Shared {
    state: RefCell<State>,
    /// Told when the state is no longer `Opening`.
    opened: Notify,
    /// The most streams by the config.
    most: usize,
    open: Cell<usize>,
    /// Streams that were given up without an answer.
    given_up: Cell<u32>,
    /// Streams without an answer yet, and with a request of which not all is here: it may turn out to be malformed.
    unsure: Cell<u32>,
    /// It has answered a request.
    proven: Cell<bool>,
    idle_since: Cell<Instant>,
    lease: Lease,
}

enum State {
    Opening,
    /// The driver is dropped when the connection has ended: that closes what sends.
    Open(SendRequest<Body>, Weak<Driver>),
    Failed(Error),
}

/// What hyper drives a connection by. It knows how many streams the upstream allows (RFC 9113, section 5.1.2).
pub(crate) type Driver = RefCell<Connection<Io, Body, LocalExecutor>>;

/// One stream of a connection. It counts until it is dropped.
pub(crate) struct Stream {
    connection: Sender,
    unsure: bool,
    /// Its request was sent, and no head has come.
    unanswered: bool,
}

impl Stream {
    pub(crate) fn new(connection: Sender, unsure: bool) -> Self {
        let shared = &connection.0;
        shared.open.set(shared.open.get() + 1);
        shared.unsure.set(shared.unsure.get() + u32::from(unsure));
        Stream { connection, unsure, unanswered: false }
    }

    /// The head of its response is there.
    pub(crate) fn answered(&mut self) {
        self.unanswered = false;
        self.connection.0.proven.set(true);
        self.settle();
    }

    /// All of its request has come, or it does not matter any more.
    fn settle(&mut self) {
        let unsure = &self.connection.0.unsure;
        unsure.set(unsure.get() - u32::from(std::mem::take(&mut self.unsure)));
    }

    /// What sends the request. From here on the upstream sees the stream given up if no head comes.
    pub(crate) fn requests(&mut self) -> Result<SendRequest<Body>, Error> {
        self.unanswered = true;
        match &*self.connection.0.state.borrow() {
            State::Open(requests, _) => Ok(requests.clone()),
            State::Opening => Err(Error::new(Kind::ConnectFailed, "not connected yet")),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// The connection has answered before: it may have been closed at any moment since.
    pub(crate) fn is_reused(&self) -> bool {
        self.connection.0.proven.get()
    }

    /// The connection that carries it.
    pub(crate) fn connection(&self) -> &Sender {
        &self.connection
    }

    /// The upstream takes no more streams than are open.
    pub(crate) fn fits(&self) -> bool {
        self.connection.0.open.get() <= self.connection.room()
    }
}

impl StreamSide for Stream {
    const BROKEN: Kind = Kind::UpstreamClosed;

    fn shares_window(&self) -> bool {
        self.connection.0.open.get() > 1
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.settle();
        let shared = &self.connection.0;
        shared.given_up.set(shared.given_up.get() + u32::from(self.unanswered));
        shared.open.set(shared.open.get() - 1);
        if shared.open.get() == 0 {
            shared.idle_since.set(Instant::now());
        }
        shared.lease.stream_ended();
    }
}

impl Sender {
    /// A connection that is being opened, with room for so many streams.
    pub(crate) fn opening(most: usize, lease: Lease) -> Sender {
        Sender(Rc::new(Shared {
            state: RefCell::new(State::Opening),
            opened: Notify::new(),
            most,
            open: Cell::new(0),
            given_up: Cell::new(0),
            unsure: Cell::new(0),
            proven: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            lease,
        }))
    }

    /// The connection was opened, or could not be.
    pub(crate) fn connected(&self, opened: Result<(SendRequest<Body>, Weak<Driver>), Error>) {
        self.0.state.replace(match opened {
            Ok((requests, driver)) => State::Open(requests, driver),
            Err(error) => State::Failed(error),
        });
        self.0.opened.notify_waiters();
    }

    /// The same connection.
    pub(crate) fn is(&self, other: &Sender) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Waits until it is open.
    pub(crate) async fn opened(&self, deadline: &mut Deadline) -> Result<(), Error> {
        loop {
            let told = self.0.opened.notified();
            match &*self.0.state.borrow() {
                State::Opening => {}
                State::Open(..) => return Ok(()),
                State::Failed(error) => return Err(error.clone()),
            }
            deadline.race_limit(told).await.map_err(no_time_to_connect)?;
        }
    }

    /// Streams that it may have at a time.
    fn room(&self) -> usize {
        match &*self.0.state.borrow() {
            State::Opening => self.0.most,
            State::Open(_, driver) => {
                let driver = driver.upgrade();
                // It cannot be asked while hyper drives it, and is not asked from there.
                let connection = driver.as_ref().and_then(|driver| driver.try_borrow().ok());
                self.0.most.min(connection.map_or(0, |connection| connection.current_max_send_streams()))
            }
            State::Failed(_) => 0,
        }
    }

    /// Whether one more stream may use it, of whose request not all is here if `unsure`.
    pub(crate) fn takes(&self, unsure: bool) -> bool {
        let sure = !unsure || self.0.given_up.get() + self.0.unsure.get() < MOST_GIVEN_UP;
        !self.is_worn() && sure && self.0.open.get() < self.room()
    }

    /// No later exchange may use it.
    pub(crate) fn is_worn(&self) -> bool {
        let closed = match &*self.0.state.borrow() {
            State::Opening => false,
            State::Open(requests, _) => requests.is_closed(),
            State::Failed(_) => true,
        };
        closed || self.0.given_up.get() >= WORN
    }

    /// How long it has had no stream.
    pub(crate) fn idle_for(&self) -> Duration {
        if self.0.open.get() > 0 { Duration::ZERO } else { self.0.idle_since.get().elapsed() }
    }
}
