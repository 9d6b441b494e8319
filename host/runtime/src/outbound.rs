//! What a plugin's HTTP call looks like to the host that makes it. Must never make one: this crate knows no network.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use odin_chain::Reply;

/// Where the calls of a worker's plugins go. The receiver makes them, on the same worker.
pub type OutboundSender = tokio::sync::mpsc::UnboundedSender<OutboundCall>;

/// One call. The receiver drops it when `answer` is closed: then nobody waits for it any more.
#[derive(Debug)]
pub struct OutboundCall {
    /// The plugin's name in the config.
    pub plugin: Arc<str>,
    /// A cluster that the plugin's config grants; whether there is one of this name the receiver knows.
    pub cluster: String,
    /// Checked; the target is in origin form, and no field of it frames the message.
    pub request: http::Request<Bytes>,
    /// What the upstream sees as `Host`; none means the cluster's name.
    pub authority: Option<HeaderValue>,
    /// The whole call, to the last byte of the answer.
    pub timeout: Duration,
    /// An answer with a longer body is `TooLarge`.
    pub max_body_bytes: usize,
    /// The `outbound_depth` of the exchange that this call becomes; 1 for a call from a client's own exchange.
    pub depth: u8,
    /// Takes the answer.
    pub answer: tokio::sync::oneshot::Sender<Result<Reply, OutboundError>>,
}

/// Why a call has no answer: `outbound-error` of wit/outbound.wit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The config does not grant this cluster, or there is none of this name.
    #[error("the plugin's config does not grant this cluster")]
    NotGranted,
    /// The request is not one that HTTP allows.
    #[error("the request is invalid: {0}")]
    Invalid(String),
    /// No endpoint could be reached.
    #[error("no endpoint was reached: {0}")]
    Unreachable(String),
    /// The endpoint was reached and the answer did not come whole.
    #[error("the answer did not come whole: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer's body is over the plugin's `body-limit`.
    #[error("the answer is over the plugin's body-limit")]
    TooLarge,
    /// Too many calls in one hook, too many at once on this worker, or a call from inside a call four deep.
    #[error("too many calls")]
    TooMany,
    /// There is nobody to make the call: in `configure` and `weigh`, and in tests.
    #[error("no calls can be made here")]
    Unavailable,
}
