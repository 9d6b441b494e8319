//! Listening sockets and accept loops. Every worker has sockets of its own for every listener: the kernel, or the
//! steering program, spreads the connections, and no worker waits for another.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::downstream::accept::accepted;
use crate::downstream::handle::Door;
use crate::downstream::orders::{Applied, Closing};
use crate::downstream::worker::Worker;
use crate::transport::conn::Conn;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// From the last answer to a client that wants to connect until its connection is there.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// How often a socket is looked at that somebody else may be accepting from.
const LOOK: Duration = Duration::from_millis(50);
/// After an accept failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Opens a socket that others of this process may share the address with, and that does not listen yet. With port zero
/// the system chooses.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Lets connections come to a socket. One that listens already stays as it is.
pub fn listen(socket: &StdListener) -> io::Result<()> {
    if !rustix::net::sockopt::socket_acceptconn(socket)? {
        rustix::net::listen(socket, BACKLOG)?;
    }
    Ok(())
}

/// Accepts until it is told to stop, and then whatever is waiting already, and what comes while it lingers.
pub(crate) async fn accept(socket: Arc<StdListener>, door: Rc<Door>, worker: Rc<Worker>, stop: Rc<Stop>) {
    let name = door.handle().current().name.clone();
    let socket = match watched(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(listener = %name, %error, "cannot listen"),
    };
    let accepting = async {
        loop {
            match socket.async_io(Interest::READABLE, |socket| Conn::accept(socket)).await {
                Ok((conn, peer)) => accepted(conn, peer, &door, &worker),
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    tracing::warn!(listener = %name, %error, "accept failed; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.over() => {}
    }
    if !stop.moved.get() {
        accept_waiting(socket.get_ref(), &door, &worker);
    }
    while stop.lingers() {
        tokio::time::sleep(LOOK).await;
        accept_waiting(socket.get_ref(), &door, &worker);
    }
    // First: who came to it after the last look would be reset, and nobody shall come once it is told.
    drop(socket);
    stop.accepts_no_more.take();
}

#[allow(unsafe_code, reason = "tokio cannot see that a shared listener stays open")]
fn watched(socket: Arc<StdListener>) -> io::Result<AsyncFd<Arc<StdListener>>> {
    // SAFETY: the descriptor belongs to the listener, which nobody can take out of its `Arc`, and the `AsyncFd` holds a
    // share of that: it stays open, and the same, for as long as the driver watches it.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

/// Takes what is in the queue. Asks the system and not the driver, which may not have heard of it yet.
fn accept_waiting(socket: &StdListener, door: &Rc<Door>, worker: &Rc<Worker>) {
    loop {
        match Conn::accept(socket) {
            Ok((conn, peer)) => accepted(conn, peer, door, worker),
            Err(error) if is_connection_error(&error) => {}
            // Nothing is waiting, or nothing can be done about it.
            Err(_) => return,
        }
    }
}

/// The connection was gone before it was accepted; the socket is fine.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Tells an accept loop that its socket is to be closed. A later word can only hurry.
#[derive(Default)]
pub(crate) struct Stop {
    told: Notify,
    /// When it accepts no more.
    over: Cell<Option<Instant>>,
    /// Until then it takes what nobody else does.
    lingers: Cell<Option<Instant>>,
    /// Another loop accepts from the socket.
    moved: Cell<bool>,
    /// Whoever wants to know that it accepts no more.
    accepts_no_more: Cell<Option<UnboundedSender<Applied>>>,
}

impl Stop {
    /// Accept for as long as it says: who was steered to the socket before the steering changed may still be on the way.
    pub(crate) fn close(&self, Closing { linger, moved, .. }: Closing, applied: &UnboundedSender<Applied>) {
        self.moved.set(moved);
        if linger.is_zero() {
            self.accepts_no_more.set(Some(applied.clone()));
        }
        let over = Instant::now() + linger;
        self.tell(over, over);
    }

    /// Accept no more. When somebody else serves (`leaving`), the socket may be his as well, and then the connections
    /// are; or he may not have it, and who is on the way to it would come to a closed door.
    pub(crate) fn leave(&self, leaving: bool) {
        let now = Instant::now();
        self.tell(now, if leaving { now + UNDER_WAY } else { now });
    }

    fn tell(&self, over: Instant, lingers: Instant) {
        let earlier = |cell: &Cell<Option<Instant>>, at| cell.set(Some(cell.get().map_or(at, |before| at.min(before))));
        earlier(&self.over, over);
        earlier(&self.lingers, lingers);
        self.told.notify_one();
    }

    fn lingers(&self) -> bool {
        self.lingers.get().is_some_and(|until| Instant::now() < until)
    }

    async fn over(&self) {
        loop {
            match self.over.get() {
                None => self.told.notified().await,
                Some(over) => match tokio::time::timeout_at(over.into(), self.told.notified()).await {
                    Ok(()) => {}
                    Err(_) => return,
                },
            }
        }
    }
}
