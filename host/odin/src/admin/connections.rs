//! The connections of one way in: how many there are, and how long each may take for what. One that is slow never keeps
//! another one out: when there are too many, the oldest of those that wait for nothing but their client is cut.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::Desk;
use super::answer::answer;

/// Connections at once of each way in: their descriptors are those of the data path.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may be without a whole request, be it a new one or one that has had its answer.
const HEAD: Duration = Duration::from_secs(10);

/// How long a client may leave an answer in the connection without taking any of it.
const UNREAD: Duration = Duration::from_secs(30);

/// Which way a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Tcp,
    Unix,
}

/// A socket that listens.
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Door {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Door::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Door::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// Set while an order of the connection is carried out: it is not cut then.
#[derive(Clone, Default)]
pub(super) struct Busy(Rc<Cell<bool>>);

/// While this lives, the connection is not cut to make room.
pub(super) struct BusyGuard(Busy);

impl Busy {
    pub(super) fn begin(&self) -> BusyGuard {
        self.0.set(true);
        BusyGuard(self.clone())
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.0.set(false);
    }
}

/// The open connections, oldest first.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    all: VecDeque<(AbortHandle, Busy)>,
}

impl Open {
    /// Makes room for one more; false when all of them carry out an order.
    fn make_room(&mut self) -> bool {
        while self.tasks.try_join_next().is_some() {}
        self.all.retain(|(task, _)| !task.is_finished());
        if self.all.len() < MAX_CONNECTIONS {
            return true;
        }
        let waits = self.all.iter().position(|(_, busy)| !busy.0.get());
        match waits.and_then(|at| self.all.remove(at)) {
            Some((task, _)) => {
                task.abort();
                true
            }
            None => false,
        }
    }

    fn add(&mut self, stream: Stream, desk: Rc<Desk>, stopped: watch::Receiver<()>) {
        let busy = Busy::default();
        let marked = busy.clone();
        let task = self.tasks.spawn_local(async move {
            match stream {
                Stream::Tcp(stream) => {
                    // Not set, it is a connection that the limit on their number has to do with.
                    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD));
                    let Some(tls) = desk.odin.assembly().tls.admin() else {
                        return answer_all(stream, Way::Tcp, marked, desk, stopped).await;
                    };
                    match tokio::time::timeout(HEAD, tls.accept_socket(stream)).await {
                        Ok(Ok(stream)) => answer_all(stream, Way::Tcp, marked, desk, stopped).await,
                        Ok(Err(why)) => tracing::debug!("admin: TLS handshake failed: {why}"),
                        Err(_) => tracing::debug!("admin: TLS handshake failed: it takes too long"),
                    }
                }
                Stream::Unix(stream) => answer_all(stream, Way::Unix, marked, desk, stopped).await,
            }
        });
        self.all.push_back((task, busy));
    }
}

/// Serves until `stopped`; then the answers that are due are given.
pub(super) async fn serve(door: Door, desk: Rc<Desk>, mut stopped: watch::Receiver<()>) {
    let mut open = Open::default();
    loop {
        let accepted = tokio::select! {
            // Who comes now is for the process that has taken over. The sender is gone: that is the signal.
            biased;
            _ = stopped.changed() => break,
            accepted = door.accept() => accepted,
        };
        match accepted {
            Ok(stream) if open.make_room() => open.add(stream, desk.clone(), stopped.clone()),
            Ok(stream) => drop(stream),
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(door);
    while open.tasks.join_next().await.is_some() {}
}

async fn answer_all<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    way: Way,
    busy: Busy,
    desk: Rc<Desk>,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(|request| {
        let (desk, busy) = (desk.clone(), busy.clone());
        async move { Ok::<_, Infallible>(answer(&desk, way, &busy, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // A client that breaks off is no news.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
