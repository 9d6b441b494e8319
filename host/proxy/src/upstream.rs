//! Takes a request to an endpoint: pick, connect or reuse, send; and again with the failed endpoint excluded, as long
//! as nothing that the upstream may have acted on has left Odin.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, response};
use odin_runtime::HookState;
use tokio::net::TcpStream;

use crate::balance::{self, Candidates};
use crate::body::Body;
use crate::cluster::Protocol;
use crate::error::{Error, Kind};
use crate::exchange::Wishes;
use crate::http1::client::{self as http1, Answer, Connection, Outgoing};
use crate::http2::client as http2;
use crate::local::LocalCluster;
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
    let mut failed: Vec<u32> = Vec::new();
    let mut last = None;
    while failed.len() < MAX_ATTEMPTS.min(cluster.shared.endpoints.len()) {
        let candidates = match failed.as_slice() {
            [] => cluster.all.clone(),
            failed => Rc::new(Candidates::without(cluster.shared.clone(), failed)),
        };
        let index = match balance::pick(cluster.balancer.as_ref(), candidates, state) {
            Ok(index) => index,
            // The first failure says more than that nobody is left.
            Err(error) => return Err(last.filter(|_| error.kind == Kind::NoEndpoint).unwrap_or(error)),
        };
        record.assign(cluster, index);
        let worker = record.worker.id;
        match attempt(cluster, index, worker, snapshot, state, wishes, body, deadline).await {
            Ok(reply) => return Ok(reply),
            Err(error) if error.retryable => {
                failed.push(index as u32);
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(Kind::NoEndpoint, "the cluster has no endpoint")))
}

/// One endpoint: first a connection that is kept, then a new one.
#[allow(clippy::too_many_arguments, reason = "one caller; a struct would be built and taken apart in two lines")]
async fn attempt(
    cluster: &Rc<LocalCluster>,
    index: usize,
    worker: usize,
    snapshot: &Snapshot,
    state: &HookState,
    wishes: &Wishes,
    body: &mut Body,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let Some(head) = &state.request else { return Err(Error::new(Kind::NoEndpoint, "no request")) };
    let pool = &cluster.pools[index];
    if cluster.shared.protocol == Protocol::Http2 {
        // An Upgrade may be ignored (RFC 9110, section 7.8); HTTP/2 has none.
        return http2::send(cluster, index, worker, snapshot, state, wishes.trailers, body, deadline).await;
    }
    loop {
        let kept = pool.take();
        let reused = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => Connection::new(connect(cluster, index, worker, snapshot.timeouts.connect).await?),
        };
        let request = Outgoing { head, authority: &state.authority, wishes };
        match http1::send(connection, request, body, snapshot, deadline, pool).await {
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

/// Connects to an endpoint and keeps its health. The error is retryable: no byte was sent.
pub(crate) async fn connect(
    cluster: &LocalCluster,
    index: usize,
    worker: usize,
    timeout: Duration,
) -> Result<TcpStream, Error> {
    let endpoint = &cluster.shared.endpoints[index];
    let mut deadline = Deadline::default();
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
