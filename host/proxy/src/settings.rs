//! Timeouts and limits of the data path. Plain data: who enforces one reads it from here; the defaults are the config's.

use std::time::Duration;

use crate::http::path::PathRules;

/// How long things may take. Zero means for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct Timeouts {
    /// To connect to an endpoint.
    pub connect: Duration,
    /// To read a whole request head, from its first byte (and the first head of a connection from the accept).
    pub header: Duration,
    /// Between two requests of a connection, and between two steps of a body.
    pub idle: Duration,
    /// For a connection to an endpoint all of whose connections are in use.
    pub queue: Duration,
    /// Until an idle upstream connection is closed.
    pub upstream_idle: Duration,
    /// Until a silent HTTP/2 upstream is asked by a ping whether it is there, and as long again for its answer.
    pub http2_ping: Duration,
    /// From the last step of the request to the head of the response.
    pub response: Duration,
    /// For a whole exchange, from its head to the last byte of the response.
    pub request: Duration,
    /// Without a byte in either direction of a TCP relay or a tunnel.
    pub tcp_idle: Duration,
    /// From the removal of a listener until what is left of its connections is cut.
    pub drain: Duration,
}

/// How much there may be of things.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct Limits {
    /// Bytes of a request or response head.
    pub head_bytes: usize,
    /// Fields of a head; at most 256.
    pub head_fields: usize,
    /// Bytes of the trailers of a chunked body.
    pub trailer_bytes: usize,
    /// The lowest rate of a request's body after its first 20 s, in bytes a second; zero for any.
    pub body_rate: u64,
    /// Open downstream connections of one worker.
    pub connections: usize,
    /// TLS handshakes of one worker that may go on at a time.
    pub handshakes: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub streams: u32,
    /// Connections that HTTP exchanges of one worker may have in use at one endpoint.
    pub upstream_connections: usize,
    /// Concurrent streams of one HTTP/2 connection to an upstream, if that does not allow fewer.
    pub streams_per_upstream: usize,
    /// CPU time of all plugins for one exchange or TCP connection: at once, and again in each second that it lasts.
    pub cpu_budget: Duration,
}

/// How the requests of an HTTP listener are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpRules {
    /// Believe `Forwarded`, `X-Forwarded-*` and `X-Request-Id` of the client.
    pub trust_forwarded: bool,
    /// A client that has ended its sending side still waits for its answer.
    pub half_close: bool,
    /// What becomes of paths before they are matched.
    pub paths: PathRules,
}
