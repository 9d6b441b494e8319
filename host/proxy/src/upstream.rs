//! Takes a request to an endpoint: pick, connect or reuse, send; and again with the failed endpoint excluded, as long
//! as nothing that the upstream may have acted on has left Odin.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, response};
use tokio::net::TcpStream;

use crate::balance::{Candidates, Tries};
use crate::body::Body;
use crate::cluster::Protocol;
use crate::error::{Error, Kind};
use crate::head::{Head, Wishes};
use crate::http1::client::{self as http1, Answer, Connection};
use crate::http2::client as http2;
use crate::local::LocalCluster;
use crate::pool::Pool;
use crate::settings::Timeouts;
use crate::snapshot::Snapshot;
use crate::timer::{Deadline, Elapsed};
use crate::upload::Upload;

/// Endpoints that one exchange may try.
const MAX_ATTEMPTS: usize = 4;
/// After so long without a packet the kernel asks an upstream whether it is still there.
const PROBE_AFTER: Duration = Duration::from_secs(20);

/// An upstream that answered.
pub(crate) enum Reply {
    Response(response::Parts, Body),
    Switched { parts: response::Parts, protocol: HeaderValue, io: TcpStream, early: bytes::Bytes },
}

/// One request to a cluster, by whomever.
pub(crate) struct Call<'a> {
    pub(crate) cluster: &'a Rc<LocalCluster>,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) head: &'a mut Head,
    /// None when there is no plugin to ask or tell.
    pub(crate) caller: Option<&'a dyn Caller>,
    pub(crate) wishes: &'a Wishes,
    /// What becomes of the request's body, when it has one.
    pub(crate) upload: Option<Rc<Upload>>,
}

/// What a call asks and tells whoever makes it, where plugins belong to it.
pub(crate) trait Caller {
    /// Asks the cluster's balancer plugin. None when it failed and is passed over: the built-in balancer picks then.
    fn pick<'a>(&'a self, cluster: &'a LocalCluster, head: Option<&'a mut Head>, among: Arc<Candidates>) -> Pick<'a>;
    /// The call goes to this endpoint; `attempt` counts from 1.
    fn assigned(&self, cluster: &LocalCluster, index: usize, attempt: u32);
}

/// The index of an endpoint, or that the balancer picked none.
pub(crate) type Pick<'a> = Pin<Box<dyn Future<Output = Result<Option<Option<u32>>, Error>> + 'a>>;

impl Call<'_> {
    /// All of the request's body has been read, so a wait is not for the client.
    fn has_gone(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.ended.get())
    }
}

/// The endpoint that an exchange is given to; released when this is dropped.
pub(crate) struct Assigned {
    pub(crate) worker: usize,
    pub(crate) endpoint: Option<(Rc<LocalCluster>, usize)>,
    pub(crate) attempts: u32,
}

impl Assigned {
    pub(crate) fn none(worker: usize) -> Self {
        Assigned { worker, endpoint: None, attempts: 0 }
    }

    /// Asks for the next endpoint of the cluster, and gives the exchange or connection to it. `head` is that of the
    /// request; a TCP connection has none.
    pub(crate) async fn next(
        &mut self,
        caller: Option<&dyn Caller>,
        head: Option<&mut Head>,
        cluster: &Rc<LocalCluster>,
        tries: &mut Tries,
        deadline: &mut Deadline,
    ) -> Result<usize, Error> {
        let index = match (caller, &cluster.balancer) {
            (Some(caller), Some(_)) => deadline.race_limit(tries.next(cluster, caller, head)).await.map_err(late)??,
            _ => tries.in_turn(cluster)?,
        };
        self.assign(cluster, index);
        if let Some(caller) = caller {
            caller.assigned(cluster, index, self.attempts);
        }
        Ok(index)
    }

    /// To this endpoint; one given before is released.
    fn assign(&mut self, cluster: &Rc<LocalCluster>, index: usize) {
        self.release();
        cluster.shared.endpoints[index].counters(self.worker).started.add(1);
        self.endpoint = Some((cluster.clone(), index));
        self.attempts += 1;
    }

    fn release(&mut self) {
        if let Some((cluster, index)) = self.endpoint.take() {
            cluster.shared.endpoints[index].counters(self.worker).ended.add(1);
        }
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.release();
    }
}

/// Sends the request and returns the head of the response.
pub(crate) async fn send(
    call: &mut Call<'_>,
    body: &mut Body,
    assigned: &mut Assigned,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let mut tries = Tries::up_to(MAX_ATTEMPTS);
    loop {
        let index = assigned.next(call.caller, Some(call.head), call.cluster, &mut tries, deadline).await?;
        let call = &*call;
        let (shared, worker) = (&call.cluster.shared, assigned.worker);
        let began = shared.begin(index, worker);
        let attempt = Attempt { call, index, worker };
        match attempt.send(body, deadline).await {
            Ok(reply) => {
                shared.answered(index, worker);
                return Ok(reply);
            }
            Err(error) if error.retryable => tries.failed(index, error),
            Err(error) => {
                if error.kind == Kind::UpstreamTimeout && call.has_gone() && !deadline.is_over() {
                    shared.timed_out(index, worker, began);
                }
                return Err(error);
            }
        }
    }
}

/// Hooks waited for so long that the exchange's time is over.
pub(crate) fn late(Elapsed: Elapsed) -> Error {
    Error::new(Kind::UpstreamTimeout, "plugins took all of the exchange's time")
}

/// Lets the kernel find out that a connection which lies idle leads nowhere any more.
fn keep_alive(stream: &TcpStream) {
    let probes = socket2::TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AFTER / 4).with_retries(4);
    // Without it such a connection is noticed by the exchange that uses it next.
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&probes);
}

/// The exchange's own time was over before there was a connection.
pub(crate) fn no_time_to_connect(Elapsed: Elapsed) -> Error {
    Error::new(Kind::UpstreamTimeout, "no time left to connect")
}

/// An endpoint, as one worker connects to it.
pub(crate) struct Place {
    pub(crate) cluster: Rc<LocalCluster>,
    pub(crate) index: usize,
    pub(crate) worker: usize,
}

/// One try at one endpoint.
pub(crate) struct Attempt<'a> {
    pub(crate) call: &'a Call<'a>,
    index: usize,
    worker: usize,
}

impl Attempt<'_> {
    /// This worker's connections to the endpoint.
    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.call.cluster.pools[self.index]
    }

    pub(crate) fn place(&self) -> Place {
        Place { cluster: self.call.cluster.clone(), index: self.index, worker: self.worker }
    }

    async fn send(&self, body: &mut Body, deadline: &mut Deadline) -> Result<Reply, Error> {
        match self.call.cluster.shared.protocol {
            Protocol::Http1 => self.send_http1(body, deadline).await,
            // An Upgrade may be ignored (RFC 9110, section 7.8); HTTP/2 has none.
            Protocol::Http2 => http2::send(self, body, deadline).await,
        }
    }

    /// First on a connection that is kept, then on a new one.
    async fn send_http1(&self, body: &mut Body, deadline: &mut Deadline) -> Result<Reply, Error> {
        let Timeouts { connect, queue, .. } = self.call.snapshot.timeouts;
        let mut lease = Some(self.pool().gate.lease(queue, deadline).await?);
        loop {
            let kept = self.pool().take();
            let reused = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => Connection::new(self::connect(&self.place(), connect, deadline).await?),
            };
            match http1::send(connection, &mut lease, self, body, deadline).await {
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
pub(crate) async fn connect(place: &Place, timeout: Duration, deadline: &mut Deadline) -> Result<TcpStream, Error> {
    let Place { cluster, index, worker } = place;
    let (index, worker) = (*index, *worker);
    let endpoint = &cluster.shared.endpoints[index];
    let began = cluster.shared.begin(index, worker);
    deadline.set(timeout);
    let result = match deadline.race(TcpStream::connect(endpoint.address)).await {
        Ok(result) => result,
        // The exchange's own time is over: that says nothing about the endpoint, and another would not help.
        Err(Elapsed) if deadline.is_over() => {
            return Err(no_time_to_connect(Elapsed));
        }
        Err(Elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {timeout:?}"))),
    };
    let counters = endpoint.counters(worker);
    match result {
        Ok(stream) => {
            counters.connects.add(1);
            cluster.shared.connected(index);
            let _ = stream.set_nodelay(true);
            keep_alive(&stream);
            Ok(stream)
        }
        Err(error) => {
            counters.connect_failures.add(1);
            cluster.shared.connect_failed(index, began);
            Err(Error::new(Kind::ConnectFailed, format!("{}: {error}", endpoint.address)).retryable(true))
        }
    }
}
