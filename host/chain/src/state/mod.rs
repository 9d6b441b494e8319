//! What hooks see of one exchange or TCP connection: plain data that moves into a store for a call and out again.
//! Must be `Send`, for a call that waits holds it, and must never hold anything of a plugin.

mod context;
mod facts;
mod proxy;
mod tls;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue};

use crate::budget::{CPU_BUDGET, CpuBudget};
use crate::fields::Size;
pub use context::{Context, ContextFull, Setter, Value};
pub use facts::FACTS;
pub use proxy::{ProxyFacts, ProxyTls};
pub use tls::{ClientCertificate, TlsInfo};

/// One exchange (or one TCP connection, which has neither head) as hooks see it.
///
/// The box moves into the plugin's store for the length of a call. During an exchange `host` is not among the
/// request's fields: it is [`HookState::authority`], and the host writes `Host` or `:authority` from it.
pub struct HookState {
    /// The request's head; none for a TCP connection.
    pub request: Option<Box<http::request::Parts>>,
    /// Whether a body follows the request's head.
    pub request_has_body: bool,
    /// Whether the request's head may be changed and the cluster chosen in the next call.
    pub request_open: bool,
    /// The response's head, once there is one.
    pub response: Option<http::response::Parts>,
    /// Whether a body follows the response's head.
    pub response_has_body: bool,
    /// Whether the response's head may be changed in the next call.
    pub response_open: bool,
    /// What a body or data hook is called for, and `body.read` reads.
    pub piece: Bytes,
    /// What a trailer hook reads and changes.
    pub trailers: HeaderMap,
    /// `http` or `https`: how the client reached Odin.
    pub scheme: Scheme,
    /// The host and port that the client asked for; what goes upstream.
    pub authority: HeaderValue,
    /// The downstream connection.
    pub connection: Arc<ConnectionInfo>,
    /// What the exchange remembers.
    pub context: Context,
    /// What the host knows: the `odin.` names of the context.
    pub facts: Facts,
    /// Clusters and routes, for `routing`; none means that no cluster can be chosen.
    pub routing: Option<Arc<dyn Routing>>,
    /// What the plugins chose last; the host takes it.
    pub routed: Option<Routed>,
    /// A plugin may let a head, or trailers, grow to so many bytes.
    pub max_head_bytes: usize,
    /// Nanoseconds spent in hooks of this exchange, without waiting; the runtime adds to it.
    pub plugin_nanos: u64,
    /// What the plugins may still compute for this exchange.
    pub cpu: CpuBudget,
    /// How many calls of plugins this exchange is the result of: 0 for a client's own.
    pub outbound_depth: u8,
    /// Bytes of heads and trailers, counted when a plugin first changes one and kept up to date by the setters.
    pub(crate) request_size: Size,
    pub(crate) response_size: Size,
    pub(crate) trailers_size: Size,
}

impl HookState {
    /// The state of a new exchange or connection: scheme `http`, no authority, nothing there, nothing open.
    pub fn new(connection: Arc<ConnectionInfo>, max_head_bytes: usize) -> Box<Self> {
        let facts = Facts::default();
        Box::new(HookState {
            request: None,
            request_has_body: false,
            request_open: false,
            response: None,
            response_has_body: false,
            response_open: false,
            piece: Bytes::new(),
            trailers: HeaderMap::new(),
            scheme: Scheme::HTTP,
            authority: HeaderValue::from_static(""),
            connection,
            context: Context::new(),
            cpu: CpuBudget::new(CPU_BUDGET, facts.started),
            facts,
            routing: None,
            routed: None,
            max_head_bytes,
            plugin_nanos: 0,
            outbound_depth: 0,
            request_size: Size::default(),
            response_size: Size::default(),
            trailers_size: Size::default(),
        })
    }

    /// What an instance holds between calls.
    pub fn idle() -> Box<Self> {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        HookState::new(Arc::new(ConnectionInfo::new(nowhere, nowhere, Arc::from(""))), 0)
    }
}

/// The downstream connection.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The client.
    pub peer: SocketAddr,
    /// What the client dialled.
    pub local: SocketAddr,
    /// The listener's name in the config.
    pub listener: Arc<str>,
    /// What is known of its encryption. None for a connection in plain text.
    pub tls: Option<Box<TlsInfo>>,
    /// What its PROXY header told, if it had one.
    pub proxy: Option<Box<ProxyFacts>>,
    /// What the connection remembers for all its exchanges. Locked for a look-up at a time.
    pub context: Mutex<Context>,
}

impl ConnectionInfo {
    /// A connection that remembers nothing yet.
    pub fn new(peer: SocketAddr, local: SocketAddr, listener: Arc<str>) -> Self {
        ConnectionInfo { peer, local, listener, tls: None, proxy: None, context: Mutex::new(Context::new()) }
    }

    /// What it remembers.
    pub fn context(&self) -> MutexGuard<'_, Context> {
        self.context.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the host knows of an exchange or connection so far. Plugins read it as the `odin.` names of wit/context.wit.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `odin.request-id`
    pub request_id: Option<HeaderValue>,
    /// `odin.route`
    pub route: Option<Arc<str>>,
    /// `odin.cluster`
    pub cluster: Option<Arc<str>>,
    /// `odin.endpoint`
    pub endpoint: Option<SocketAddr>,
    /// `odin.attempt`: 1 for the first endpoint; 0, which plugins see as none, before.
    pub attempt: u32,
    /// `odin.started`, and the beginning of `odin.elapsed`.
    pub started: Instant,
    /// `odin.bytes-received`: bytes of the bodies from the client so far.
    pub bytes_received: u64,
    /// `odin.bytes-sent`: bytes of the bodies to the client so far.
    pub bytes_sent: u64,
    /// `odin.status`: what the client got. None: that of the response that is there.
    pub status: Option<u16>,
    /// `odin.error`
    pub error: Option<String>,
    /// What `odin.started` was told as: the system's clock may be set meanwhile, and the answer must stay.
    pub(crate) since_1970: OnceCell<Duration>,
}

impl Default for Facts {
    /// Nothing is known, but that it begins now.
    fn default() -> Self {
        Facts {
            request_id: None,
            route: None,
            cluster: None,
            endpoint: None,
            attempt: 0,
            started: Instant::now(),
            bytes_received: 0,
            bytes_sent: 0,
            status: None,
            error: None,
            since_1970: OnceCell::new(),
        }
    }
}

/// What `routing` chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// This cluster, which [`Routing::has_cluster`].
    Cluster(Box<str>),
    /// The routes are to be matched again, as the request is now; [`Routing::matches`] said that one does.
    Rematch,
}

/// `routing-error` of wit/routing.wit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it; the contract is wit/routing.wit")]
pub enum RoutingError {
    UnknownCluster,
    NoRoute,
    TooLate,
}

/// Clusters and routes, as `routing` of wit/routing.wit asks for them.
pub trait Routing: Send + Sync {
    /// Whether the config has a cluster of this name.
    fn has_cluster(&self, name: &str) -> bool;
    /// Whether a route of the listener matches such a request.
    fn matches(&self, authority: &str, uri: &http::Uri) -> bool;
}

/// The endpoints of one cluster as a balancer sees them, by index.
///
/// What is eligible (healthy, and not failed for this exchange) is the implementor's to say. The runtime checks every
/// index that a plugin gives against [`Endpoints::len`] before it asks.
#[allow(clippy::len_without_is_empty, reason = "a mirror of wit/endpoints.wit")]
pub trait Endpoints: Send + Sync {
    /// How many there are.
    fn len(&self) -> u32;
    /// How many are eligible.
    fn eligible_len(&self) -> u32;
    /// The index of the `n`-th eligible endpoint, from zero.
    fn nth_eligible(&self, n: u32) -> Option<u32>;
    /// The weights of the eligible ones, summed up.
    fn eligible_weight(&self) -> u64;
    /// The eligible endpoint that holds `point` when their weights are laid end to end; none when they do not reach so far.
    fn nth_by_weight(&self, point: u64) -> Option<u32>;
    /// Takes the cluster's next turn: no two callers get the same.
    fn turn(&self) -> u64;
    /// Whether all endpoints have the same weight.
    fn uniform(&self) -> bool;
    /// Whether the endpoint may be picked now.
    fn eligible(&self, index: u32) -> bool;
    /// `192.0.2.1:80`
    fn address(&self, index: u32) -> Cow<'_, str>;
    /// The weight from the config.
    fn weight(&self, index: u32) -> u32;
    /// False after it failed, until it may be tried again.
    fn healthy(&self, index: u32) -> bool;
    /// Exchanges and connections open to it, from all workers.
    fn active_requests(&self, index: u32) -> u32;
}
