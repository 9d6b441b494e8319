//! How long things may take, and how much there may be of them.

use std::time::Duration;

use serde::Serialize;

use super::{duration, size};

/// How long things may take. Zero means for ever.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Timeouts {
    /// To connect to an endpoint. Default 3 s.
    #[serde(serialize_with = "duration")]
    pub(crate) connect: Duration,
    /// To read a whole request head. Default 10 s.
    #[serde(serialize_with = "duration")]
    pub(crate) header: Duration,
    /// Between the requests of a connection, and between two steps of a body. Default 60 s.
    #[serde(serialize_with = "duration")]
    pub(crate) idle: Duration,
    /// For a connection to an endpoint all of whose connections are in use. Default 3 s.
    #[serde(serialize_with = "duration")]
    pub(crate) queue: Duration,
    /// Until an idle upstream connection is closed. Default 50 s: before the usual server (60 s and more) closes it
    /// under a request.
    #[serde(serialize_with = "duration")]
    pub(crate) upstream_idle: Duration,
    /// Until a silent HTTP/2 upstream is asked by a ping whether it is there. Default zero: never, for some gRPC servers
    /// close connections that ping more often than every five minutes.
    #[serde(serialize_with = "duration")]
    pub(crate) http2_ping: Duration,
    /// From the last step of a request to the head of its response. Default 60 s.
    #[serde(serialize_with = "duration")]
    pub(crate) response: Duration,
    /// For a whole exchange, from its head to the last byte of the response. Default zero: for ever.
    #[serde(serialize_with = "duration")]
    pub(crate) request: Duration,
    /// Without a byte in either direction of a TCP connection. Default 1 h.
    #[serde(serialize_with = "duration")]
    pub(crate) tcp_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(3),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            queue: Duration::from_secs(3),
            upstream_idle: Duration::from_secs(50),
            http2_ping: Duration::ZERO,
            response: Duration::from_secs(60),
            request: Duration::ZERO,
            tcp_idle: Duration::from_secs(3600),
        }
    }
}

/// How much there may be of things.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Limits {
    /// Bytes of a request or response head. Default 64 KiB.
    #[serde(serialize_with = "size")]
    pub(crate) head_bytes: u64,
    /// Fields of a head, at most 256. Default 100.
    pub(crate) head_fields: usize,
    /// Bytes of the trailers of a body. Default 8 KiB.
    #[serde(serialize_with = "size")]
    pub(crate) trailer_bytes: u64,
    /// Open downstream connections of one worker. Default 10,000.
    pub(crate) connections: usize,
    /// Concurrent streams of one HTTP/2 connection. Default 100.
    pub(crate) streams: u32,
    /// Connections that HTTP exchanges may have in use per endpoint and worker. Default 1,024.
    pub(crate) upstream_connections: usize,
    /// Concurrent streams of one HTTP/2 connection to an upstream, if that does not allow fewer. Default 100.
    pub(crate) streams_per_upstream: usize,
    /// The lowest rate of a request's body after its first 20 s, in bytes a second; 0 for any. Default 240.
    pub(crate) body_rate: u64,
    /// CPU time of all plugins together for one exchange or TCP connection: at once, and again in each second that it
    /// lasts. Bytes of bodies that plugins look at add to it. At least 1 ms. Default 50 ms.
    #[serde(serialize_with = "duration")]
    pub(crate) cpu_budget: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes: 64 << 10,
            head_fields: 100,
            trailer_bytes: 8 << 10,
            connections: 10_000,
            streams: 100,
            upstream_connections: 1_024,
            streams_per_upstream: 100,
            body_rate: 240,
            cpu_budget: Duration::from_millis(50),
        }
    }
}
