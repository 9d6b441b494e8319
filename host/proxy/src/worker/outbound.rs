//! HTTP calls that plugins make: run on the plugin's worker, over the same pools and balancers as exchanges, and gathered
//! whole, up to a limit, before the plugin goes on.
//!
//! A call that nobody waits for any more is dropped, and its connection with it.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;
use odin_chain::{ConnectionInfo, HookState, Reply as Answer};
use odin_runtime::{OutboundCall, OutboundError};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::downstream::worker::Worker;
use crate::error::{Error, Kind};
use crate::filter::Run;
use crate::http::body::Body;
use crate::http::head::{Head, Wishes};
use crate::snapshot::Snapshot;
use crate::transport::timer::{Deadline, Elapsed};
use crate::upstream::attempt::{Call, Caller, Reply};
use crate::upstream::call::{self, Assigned};
use crate::upstream::local::LocalCluster;

/// Serves the calls of a worker's plugins, each in a task of its own.
pub(crate) async fn serve(worker: Rc<Worker>, mut calls: UnboundedReceiver<OutboundCall>) {
    while let Some(call) = calls.recv().await {
        match worker.cluster(&call.cluster) {
            Some((snapshot, cluster)) => {
                tokio::task::spawn_local(one(call, snapshot, cluster, worker.id));
            }
            None => {
                let _ = call.answer.send(Err(OutboundError::NotGranted));
            }
        }
    }
}

async fn one(call: OutboundCall, snapshot: Arc<Snapshot>, cluster: Rc<LocalCluster>, worker: usize) {
    let OutboundCall { request, authority, timeout, max_body_bytes, depth, mut answer, .. } = call;
    let started = Instant::now();
    let mut deadline = Deadline::default();
    deadline.begin(timeout);
    let answered = {
        let (parts, body) = request.into_parts();
        let mut head = Some(Head::new(Box::new(parts), authority.unwrap_or_else(|| named(&cluster.name))));
        // A balancer that is a plugin sees a request without a client.
        let run = cluster.balancer.is_some().then(|| {
            let mut state = HookState::new(nowhere(), snapshot.limits.head_bytes);
            state.request_has_body = !body.is_empty();
            state.outbound_depth = depth;
            Run::new(&[], state)
        });
        let mut call = Call {
            cluster: &cluster,
            snapshot: &snapshot,
            client: None,
            head: &mut head,
            caller: run.as_deref().map(|run| run as &dyn Caller),
            wishes: &Wishes::default(),
            upload: None,
        };
        let body = if body.is_empty() { Body::Empty } else { Body::Full(body, None) };
        let mut asking = pin!(ask(&mut call, body, worker, max_body_bytes, &mut deadline));
        tokio::select! {
            answered = &mut asking => answered,
            () = answer.closed() => return,
        }
    };
    let late = started.elapsed() >= timeout;
    let _ = answer.send(answered.map_err(|error| if late { OutboundError::Timeout } else { in_words(&error) }));
}

async fn ask(
    call: &mut Call<'_>,
    mut body: Body,
    worker: usize,
    max_body_bytes: usize,
    deadline: &mut Deadline,
) -> Result<Answer, Error> {
    let mut assigned = Assigned::none(worker);
    let Reply::Response(head, body) = call::send(call, &mut body, &mut assigned, deadline).await? else {
        return Err(Error::new(Kind::MalformedResponse, "101 that nobody asked for"));
    };
    let gathered = deadline.race_limit(gather(body, max_body_bytes)).await;
    let (body, trailers) = gathered.map_err(|Elapsed| Error::new(Kind::UpstreamTimeout, "the body stalled"))??;
    Ok(Answer { head, body, trailers })
}

/// The whole of a body.
async fn gather(mut body: Body, limit: usize) -> Result<(Bytes, HeaderMap), Error> {
    let (mut whole, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.transpose()? {
        match frame.into_data() {
            Ok(data) if whole.len() + data.len() > limit => {
                return Err(Error::new(Kind::ResponseTooLarge, format!("over {limit} bytes")));
            }
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((whole.freeze(), trailers))
}

fn in_words(error: &Error) -> OutboundError {
    match error.kind {
        Kind::UpstreamTimeout => OutboundError::Timeout,
        Kind::ResponseTooLarge => OutboundError::TooLarge,
        Kind::UpstreamClosed | Kind::MalformedResponse => OutboundError::Broken(error.to_string()),
        _ => OutboundError::Unreachable(error.to_string()),
    }
}

/// A call has no downstream connection.
fn nowhere() -> Arc<ConnectionInfo> {
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Arc::new(ConnectionInfo::new(unknown, unknown, Arc::from("outbound")))
}

/// The name of a cluster as an authority.
fn named(cluster: &str) -> HeaderValue {
    HeaderValue::from_str(cluster).unwrap_or_else(|_| HeaderValue::from_static("upstream"))
}
