//! A call: takes a request to an endpoint of a cluster. Pick, connect or reuse, send; and again with the failed endpoint
//! excluded, as long as nothing that the upstream may have acted on has left Odin. Knows no plugin: see [`Caller`].

use std::rc::Rc;

use crate::error::{Error, Kind};
use crate::http::body::Body;
use crate::http::head::Head;
use crate::settings::Timeouts;
use crate::transport::connector::Protocol;
use crate::transport::timer::{Deadline, Elapsed};
use crate::upstream::attempt::{self, Attempt, Call, Caller, Reply};
use crate::upstream::balance::Tries;
use crate::upstream::http1::client as http1;
use crate::upstream::http1::connection::Connection;
use crate::upstream::http2::client as http2;
use crate::upstream::local::LocalCluster;

/// Endpoints that one exchange may try.
const MAX_ATTEMPTS: usize = 4;

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
    /// request, if there is one and no plugin has it.
    pub(crate) async fn next(
        &mut self,
        caller: Option<&dyn Caller>,
        head: &mut Option<Head>,
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
        let index = assigned.next(call.caller, call.head, call.cluster, &mut tries, deadline).await?;
        let call = &*call;
        let head = call.head.as_ref().ok_or_else(no_head)?;
        let (shared, worker) = (&call.cluster.shared, assigned.worker);
        let began = shared.begin(index, worker);
        let attempt = Attempt { call, head, index, worker };
        match send_to(&attempt, body, deadline).await {
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

async fn send_to(attempt: &Attempt<'_>, body: &mut Body, deadline: &mut Deadline) -> Result<Reply, Error> {
    match attempt.call.cluster.shared.protocol {
        Protocol::Http1 => send_http1(attempt, body, deadline).await,
        // An Upgrade may be ignored (RFC 9110, section 7.8); HTTP/2 has none.
        Protocol::Http2 => http2::send(attempt, body, deadline).await,
    }
}

/// First on a connection that is kept, then on a new one.
async fn send_http1(attempt: &Attempt<'_>, body: &mut Body, deadline: &mut Deadline) -> Result<Reply, Error> {
    let Timeouts { connect, queue, .. } = attempt.call.snapshot.timeouts;
    let mut lease = Some(attempt.pool().gate.lease(queue, deadline).await?);
    loop {
        let kept = attempt.pool().take();
        let reused = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => Connection::new(attempt::connect(&attempt.place(), connect, deadline).await?),
        };
        match http1::send(connection, &mut lease, attempt, body, deadline).await {
            // Closed while it lay idle: not the endpoint's failure.
            Err(error) if reused && error.retryable => {}
            result => return result,
        }
    }
}

/// The head is missing although no hook runs. That is a bug in Odin; it fails one exchange and not the worker.
pub(crate) fn no_head() -> Error {
    Error::new(Kind::PluginFailed, "the request's head is gone")
}
