//! One try of a call at one endpoint: what is sent, where to, and by which connections.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, response};
use odin_chain::ConnectionInfo;

use crate::error::{Error, Kind};
use crate::http::body::Body;
use crate::http::head::{Head, Wishes};
use crate::http::upload::Upload;
use crate::snapshot::Snapshot;
use crate::transport::conn::Conn;
use crate::transport::proxy_header::{Introduction, Origin};
use crate::transport::timer::{Deadline, Elapsed, no_time_to_connect};
use crate::upstream::candidates::Candidates;
use crate::upstream::local::LocalCluster;
use crate::upstream::pool::Pool;

/// An upstream that answered.
pub(crate) enum Reply {
    Response(response::Parts, Body),
    /// `101`: from here on the bytes are of another protocol. `early` came with the head.
    Switched {
        parts: response::Parts,
        protocol: HeaderValue,
        io: Conn,
        early: bytes::Bytes,
    },
}

/// One request to a cluster, by whomever.
pub(crate) struct Call<'a> {
    pub(crate) cluster: &'a Rc<LocalCluster>,
    pub(crate) snapshot: &'a Snapshot,
    /// The connection of the client that the call is for, if it is for one.
    pub(crate) client: Option<&'a ConnectionInfo>,
    /// Out of here while a plugin that picks has it.
    pub(crate) head: &'a mut Option<Head>,
    /// None when there is no plugin to ask or tell.
    pub(crate) caller: Option<&'a dyn Caller>,
    pub(crate) wishes: &'a Wishes,
    /// What becomes of the request's body, when it has one.
    pub(crate) upload: Option<Rc<Upload>>,
}

/// The plugins of a call: they pick the endpoint, and are told which one the call goes to.
pub(crate) trait Caller {
    /// Asks the cluster's balancer plugin. None when it failed and is passed over: the built-in balancer picks then.
    fn pick<'a>(&'a self, cluster: &'a LocalCluster, head: &'a mut Option<Head>, among: Arc<Candidates>) -> Pick<'a>;
    /// The call goes to this endpoint; `attempt` counts from 1.
    fn assigned(&self, cluster: &LocalCluster, index: usize, attempt: u32);
}

/// The index of an endpoint, or that the balancer picked none.
pub(crate) type Pick<'a> = Pin<Box<dyn Future<Output = Result<Option<Option<u32>>, Error>> + 'a>>;

impl Call<'_> {
    /// All of the request's body has been read, so a wait is not for the client.
    pub(crate) fn has_gone(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.ended.get())
    }
}

/// An endpoint, as one worker connects to it.
pub(crate) struct Place {
    pub(crate) cluster: Rc<LocalCluster>,
    pub(crate) index: usize,
    pub(crate) worker: usize,
    /// For a cluster whose connections begin with one.
    pub(crate) introduction: Option<Introduction>,
}

impl Place {
    /// The endpoint, for a connection on behalf of this client; `id` is that of its request, if there is one.
    pub(crate) fn new(
        cluster: &Rc<LocalCluster>,
        index: usize,
        worker: usize,
        client: Option<&ConnectionInfo>,
        id: Option<&HeaderValue>,
    ) -> Self {
        let introduction = cluster.shared.proxy_header.map(|version| {
            let origin = client.map(|client| {
                let (proxy, tls) = (client.proxy.as_deref(), client.tls.as_deref());
                let named = || proxy.and_then(|proxy| Some(proxy.authority.as_deref()?.as_bytes()));
                let agreed = || proxy.and_then(|proxy| proxy.alpn.as_deref());
                Origin {
                    peer: client.peer,
                    local: client.local,
                    // What Odin has seen itself before what it was told.
                    authority: tls.and_then(|tls| Some(tls.sni.as_deref()?.as_bytes())).or_else(named).map(Box::from),
                    alpn: tls.and_then(|tls| Some(tls.alpn.as_deref()?.as_bytes())).or_else(agreed).map(Box::from),
                    unique_id: id.map(|id| id.as_bytes().into()),
                }
            });
            Introduction { version, origin }
        });
        Place { cluster: cluster.clone(), index, worker, introduction }
    }
}

/// One try at one endpoint.
pub(crate) struct Attempt<'a> {
    pub(crate) call: &'a Call<'a>,
    pub(crate) head: &'a Head,
    pub(crate) index: usize,
    pub(crate) worker: usize,
}

impl Attempt<'_> {
    /// This worker's connections to the endpoint.
    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.call.cluster.pools[self.index]
    }

    pub(crate) fn place(&self) -> Place {
        let Attempt { call, head, index, worker } = *self;
        Place::new(call.cluster, index, worker, call.client, head.parts.headers.get("x-request-id"))
    }
}

/// Connects to an endpoint and keeps its health. The error is retryable: no byte was sent.
pub(crate) async fn connect(place: &Place, timeout: Duration, deadline: &mut Deadline) -> Result<Conn, Error> {
    let Place { cluster, index, worker, introduction } = place;
    let (index, worker) = (*index, *worker);
    let endpoint = &cluster.shared.endpoints[index];
    let began = cluster.shared.begin(index, worker);
    deadline.set(timeout);
    let result = match deadline.race(cluster.pools[index].peer.connect(introduction.as_ref())).await {
        Ok(result) => result,
        // The exchange's own time is over: that says nothing about the endpoint, and another would not help.
        Err(Elapsed) if deadline.is_over() => {
            return Err(no_time_to_connect(Elapsed));
        }
        Err(Elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {timeout:?}"))),
    };
    let counters = endpoint.counters(worker);
    match result {
        Ok(conn) => {
            counters.connects.add(1);
            cluster.shared.connected(index);
            Ok(conn)
        }
        Err(error) => {
            counters.connect_failures.add(1);
            cluster.shared.connect_failed(index, began);
            Err(Error::new(Kind::ConnectFailed, format!("{}: {error}", endpoint.address)).retryable(true))
        }
    }
}
