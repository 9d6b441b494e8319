//! Timeouts and limits of the data path. Plain data: who enforces one reads it from here; the defaults are the config's.

use std::time::Duration;

/// How long things may take. Zero means for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect to an endpoint.
    pub connect: Duration,
    /// To read a whole request head, from its first byte (and the first head of a connection from the accept).
    pub header: Duration,
    /// Between two requests of a connection, and between two steps of a body.
    pub idle: Duration,
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
pub struct Limits {
    /// Bytes of a request or response head.
    pub head_bytes: usize,
    /// Fields of a head; at most 256.
    pub head_fields: usize,
    /// Bytes of the trailers of a chunked body.
    pub trailer_bytes: usize,
    /// Open downstream connections of one worker.
    pub connections: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub streams: u32,
    /// Idle upstream connections kept per endpoint and worker.
    pub idle_upstream_connections: usize,
    /// CPU time of all plugins for one exchange or TCP connection: at once, and again in each second that it lasts.
    pub cpu_budget: Duration,
}
