//! Takes a request to an endpoint: pick, connect or reuse, send; and again with the failed endpoint excluded, as long
//! as nothing that the upstream may have acted on has left Odin.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, response};
use odin_runtime::HookState;
use tokio::net::TcpStream;

use crate::balance::Tries;
use crate::body::Body;
use crate::cluster::Protocol;
use crate::error::{Error, Kind};
use crate::exchange::Wishes;
use crate::http1::client::{self as http1, Answer, Connection};
use crate::http2::client as http2;
use crate::local::LocalCluster;
use crate::pool::Pool;
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::timer::{Deadline, Elapsed};

/// Endpoints that one exchange may try.
const MAX_ATTEMPTS: usize = 4;

/// An upstream that answered.
pub(crate) enum Reply {
    Response(response::Parts, Body),
    Switched { parts: response::Parts, protocol: HeaderValue, io: TcpStream, early: bytes::Bytes },
}

/// Sends the request of `state` and returns the head of the response.
pub(crate) async fn send(
    cluster: &Rc<LocalCluster>,
    snapshot: &Snapshot,
    state: &mut Box<HookState>,
    wishes: &Wishes,
    body: &mut Body,
    record: &mut Record,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let mut tries = Tries::up_to(MAX_ATTEMPTS);
    loop {
        let index = tries.next(cluster, state)?;
        record.assign(cluster, index);
        let attempt = Attempt { cluster, index, worker: record.worker.id, snapshot, state, wishes };
        match attempt.send(body, deadline).await {
            Ok(reply) => return Ok(reply),
            Err(error) if error.retryable => tries.failed(index, error),
            Err(error) => return Err(error),
        }
    }
}

/// One try at one endpoint.
pub(crate) struct Attempt<'a> {
    cluster: &'a LocalCluster,
    index: usize,
    worker: usize,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) state: &'a HookState,
    pub(crate) wishes: &'a Wishes,
}

impl Attempt<'_> {
    /// This worker's connections to the endpoint.
    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.cluster.pools[self.index]
    }

    /// A new connection to the endpoint.
    pub(crate) async fn connect(&self, deadline: &mut Deadline) -> Result<TcpStream, Error> {
        connect(self.cluster, self.index, self.worker, self.snapshot.timeouts.connect, deadline).await
    }

    async fn send(&self, body: &mut Body, deadline: &mut Deadline) -> Result<Reply, Error> {
        match self.cluster.shared.protocol {
            Protocol::Http1 => self.send_http1(body, deadline).await,
            // An Upgrade may be ignored (RFC 9110, section 7.8); HTTP/2 has none.
            Protocol::Http2 => http2::send(self, body, deadline).await,
        }
    }

    /// First on a connection that is kept, then on a new one.
    async fn send_http1(&self, body: &mut Body, deadline: &mut Deadline) -> Result<Reply, Error> {
        loop {
            let kept = self.pool().take();
            let reused = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => Connection::new(self.connect(deadline).await?),
            };
            match http1::send(connection, self, body, deadline).await {
                Ok(Answer::Response(parts, body)) => return Ok(Reply::Response(parts, body)),
                Ok(Answer::Switched { parts, protocol, io, early }) => {
                    return Ok(Reply::Switched { parts, protocol, io, early });
                }
                // Closed while it lay idle: not the endpoint's failure.
                Err(error) if reused && error.retryable => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Connects to an endpoint and keeps its health. The error is retryable: no byte was sent.
pub(crate) async fn connect(
    cluster: &LocalCluster,
    index: usize,
    worker: usize,
    timeout: Duration,
    deadline: &mut Deadline,
) -> Result<TcpStream, Error> {
    let endpoint = &cluster.shared.endpoints[index];
    deadline.set(timeout);
    let result = match deadline.race(TcpStream::connect(endpoint.address)).await {
        Ok(result) => result,
        Err(Elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {timeout:?}"))),
    };
    let counters = endpoint.counters(worker);
    match result {
        Ok(stream) => {
            counters.connects.add(1);
            cluster.shared.connected(index);
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Err(error) => {
            counters.connect_failures.add(1);
            cluster.shared.connect_failed(index);
            Err(Error::new(Kind::ConnectFailed, format!("{}: {error}", endpoint.address)).retryable(true))
        }
    }
}
