//! What hooks see of one exchange or TCP connection, and what they answer.
//! Must hold plain data only: it moves into a store for a call and out again.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use http::HeaderValue;

use crate::capability::context::Context;

/// One exchange (or one TCP connection, which has neither head) as hooks see it.
///
/// The box moves into the plugin's store for the length of a call. During an exchange `host` is not among the
/// request's fields: it is [`HookState::authority`], and the host writes `Host` or `:authority` from it.
pub struct HookState {
    /// The request's head; none for a TCP connection.
    pub request: Option<http::request::Parts>,
    /// The response's head, once there is one.
    pub response: Option<http::response::Parts>,
    /// `http` or `https`: how the client reached Odin.
    pub scheme: &'static str,
    /// The host and port that the client asked for; what goes upstream.
    pub authority: HeaderValue,
    /// The downstream connection.
    pub connection: Rc<ConnectionInfo>,
    /// What the exchange remembers.
    pub context: Context,
    /// A plugin may let a head grow to so many bytes.
    pub max_head_bytes: usize,
    /// Nanoseconds spent in hooks of this exchange; the runtime adds to it.
    pub plugin_nanos: u64,
    /// Bytes of the heads, counted when a plugin first changes one and kept up to date by the setters.
    pub(crate) request_bytes: Option<usize>,
    pub(crate) response_bytes: Option<usize>,
}

impl HookState {
    /// The state of a new exchange or connection. Set `request` for an exchange.
    pub fn new(
        scheme: &'static str,
        authority: HeaderValue,
        connection: Rc<ConnectionInfo>,
        max_head_bytes: usize,
    ) -> Box<Self> {
        Box::new(HookState {
            request: None,
            response: None,
            scheme,
            authority,
            connection,
            context: Context::new(),
            max_head_bytes,
            plugin_nanos: 0,
            request_bytes: None,
            response_bytes: None,
        })
    }

    /// What an instance holds between calls.
    pub(crate) fn idle() -> Box<Self> {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let connection = ConnectionInfo { peer: nowhere, local: nowhere, listener: Rc::from("") };
        HookState::new("", HeaderValue::from_static(""), Rc::new(connection), 0)
    }
}

/// The downstream connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The client.
    pub peer: SocketAddr,
    /// What the client dialled.
    pub local: SocketAddr,
    /// The listener's name in the config.
    pub listener: Rc<str>,
}

/// The endpoints of one cluster as a balancer sees them, by index.
///
/// What is eligible (healthy, and not failed for this exchange) is the implementor's to say. The runtime checks every
/// index that a plugin gives against [`Endpoints::len`] before it asks.
#[allow(clippy::len_without_is_empty, reason = "a mirror of the resource in wit/types.wit")]
pub trait Endpoints {
    /// How many there are.
    fn len(&self) -> u32;
    /// How many are eligible.
    fn eligible_len(&self) -> u32;
    /// The index of the `n`-th eligible endpoint, from zero.
    fn nth_eligible(&self, n: u32) -> Option<u32>;
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
    /// False after a failed connect, until it may be tried again.
    fn healthy(&self, index: u32) -> bool;
    /// Exchanges and connections open to it, from all workers.
    fn active_requests(&self, index: u32) -> u32;
}

/// What a header hook decided.
#[derive(Debug)]
pub enum Decision {
    /// Go on.
    Continue,
    /// Answer with this. Status and fields were checked; no framing field is in it, and `content-length` is the host's work.
    Reply(http::Response<Bytes>),
    /// Refuse with 403; the reason is for the access log only.
    Reject(String),
}
