//! Listening sockets and accept loops. Every worker has a socket of its own for every listener (SO_REUSEPORT): the
//! kernel spreads the connections, and no worker waits for another.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use odin_runtime::ConnectionInfo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::fields::Downstream;
use crate::local::{LocalKind, LocalListener};
use crate::worker::Worker;
use crate::{http1, tcp};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// After an accept failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Opens one socket per worker. With port zero the system chooses once and all sockets share the choice.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    let mut sockets: Vec<StdListener> = Vec::with_capacity(workers);
    for _ in 0..workers {
        let address = sockets.first().map_or(Ok(address), StdListener::local_addr)?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

/// A listener by name, whatever the config says about it at the moment.
pub(crate) struct Handle(RefCell<Rc<LocalListener>>);

impl Handle {
    pub(crate) fn new(listener: Rc<LocalListener>) -> Rc<Self> {
        Rc::new(Handle(RefCell::new(listener)))
    }

    /// What the config says now. An exchange asks once.
    pub(crate) fn current(&self) -> Rc<LocalListener> {
        self.0.borrow().clone()
    }

    pub(crate) fn replace(&self, listener: Rc<LocalListener>) {
        *self.0.borrow_mut() = listener;
    }
}

/// Accepts until it is dropped.
pub(crate) async fn accept(socket: StdListener, handle: Rc<Handle>, worker: Rc<Worker>) {
    let name: Arc<str> = Arc::from(handle.current().shared.name.as_str());
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(listener = %name, %error, "cannot listen"),
    };
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => accepted(stream, peer, &name, &handle, &worker),
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                tracing::warn!(listener = %name, %error, "accept failed; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accepted(stream: TcpStream, peer: SocketAddr, name: &Arc<str>, handle: &Rc<Handle>, worker: &Rc<Worker>) {
    let listener = handle.current();
    let share = listener.shared.counters.share(worker.id);
    if worker.connections() >= listener.snapshot.limits.connections {
        share.refused.add(1);
        return;
    }
    share.accepted.add(1);
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().unwrap_or(peer);
    let info = Arc::new(ConnectionInfo::new(peer, local, name.clone()));
    let (handle, on, shared) = (handle.clone(), worker.clone(), listener.shared.clone());
    worker.serve(async move {
        match &listener.kind {
            LocalKind::Tcp => Box::pin(tcp::serve(stream, info, &listener, &on)).await,
            LocalKind::Http { .. } => {
                // Each exchange asks for what is current; the connection must not hold on to what was.
                drop(listener);
                http1::server::serve(stream, handle, Downstream::new(info), on.clone()).await;
            }
        }
        shared.counters.share(on.id).closed.add(1);
    });
}
