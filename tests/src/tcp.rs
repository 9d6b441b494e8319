//! TCP peers: an echo, a port where nobody answers, a port that never completes a connect.
//!
//! All listen on 127.0.0.1 with a port that the system chose and keeps for them until they are dropped.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Target;

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A listener whose every connection is served by one task; all of them end when it is dropped.
pub struct TcpPeer {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _task: AbortOnDrop,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) async fn listen() -> TcpListener {
    TcpListener::bind(ANY_PORT).await.expect("a port is free")
}

impl TcpPeer {
    /// Serves each connection with `serve(stream, number of the connection)`.
    pub async fn start<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> TcpPeer {
        TcpPeer::on(listen().await, serve)
    }

    /// As [`TcpPeer::start`], on a port that listens already.
    pub fn on<F: Future<Output = ()> + Send + 'static>(
        listener: TcpListener,
        serve: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> TcpPeer {
        let address = listener.local_addr().expect("a listener has an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        let _ = stream.set_nodelay(true);
                        serving.spawn(serve(stream, count.fetch_add(1, Ordering::SeqCst)));
                    }
                    Some(_) = serving.join_next() => {}
                }
            }
        });
        TcpPeer { address, accepted, _task: AbortOnDrop(task) }
    }

    /// Sends back what it receives, after a greeting line, and ends when the client ends.
    pub async fn echo(greeting: &'static str) -> TcpPeer {
        TcpPeer::start(move |mut stream, _| async move {
            if stream.write_all(greeting.as_bytes()).await.is_err() {
                return;
            }
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        })
        .await
    }

    /// Reads and forgets everything.
    pub async fn sink() -> TcpPeer {
        TcpPeer::start(|mut stream, _| async move {
            let mut buffer = vec![0; 64 * 1024];
            while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
        })
        .await
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Target for TcpPeer {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A port that refuses every connection. It is bound but does not listen, so nobody else can get it.
pub struct DeadPort {
    _bound: Socket,
    address: SocketAddr,
}

impl DeadPort {
    /// Reserves a port.
    pub fn reserve() -> DeadPort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(ANY_PORT).into()).expect("a port is free");
        let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("a bound socket has an address");
        DeadPort { _bound: socket, address }
    }

    /// Begins to listen at the same address.
    pub fn revive(self) -> TcpListener {
        self._bound.listen(128).expect("a bound socket can listen");
        self._bound.set_nonblocking(true).expect("a socket can be non-blocking");
        TcpListener::from_std(self._bound.into()).expect("a listener")
    }
}

impl Target for DeadPort {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A port where a connect is neither accepted nor refused: its queue is full and nobody takes from it.
pub struct BlackHole {
    _listener: Socket,
    _queued: Vec<Socket>,
    address: SocketAddr,
}

impl BlackHole {
    /// Listens with the shortest queue and fills it.
    pub fn open() -> BlackHole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(ANY_PORT).into()).expect("a port is free");
        listener.listen(0).expect("a bound socket can listen");
        let address = listener.local_addr().ok().and_then(|a| a.as_socket()).expect("a bound socket has an address");
        let mut queued = Vec::new();
        loop {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            // The queue is full when a connect over loopback does not succeed at once.
            match client.connect_timeout(&address.into(), std::time::Duration::from_millis(250)) {
                Ok(()) => queued.push(client),
                Err(_) => break,
            }
        }
        BlackHole { _listener: listener, _queued: queued, address }
    }
}

impl Target for BlackHole {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A port that nobody listens on yet, kept for one who binds it with SO_REUSEPORT, as Odin does.
pub struct ReservedPort(Socket);

impl ReservedPort {
    /// Reserves a port on all addresses.
    pub fn reserve() -> ReservedPort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("a socket can share its port");
        // Who looks first whether somebody listens shares nothing but an address that nobody listens on.
        socket.set_reuse_address(true).expect("a socket can share its address");
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("a port is free");
        ReservedPort(socket)
    }

    /// The number of the port.
    pub fn number(&self) -> u16 {
        let address = self.0.local_addr().ok().and_then(|address| address.as_socket());
        address.expect("a bound socket has an address").port()
    }
}
