//! How long things may take, and how much there may be of them.

use std::time::Duration;

use super::super::section::section;
use super::super::shapes::{duration, size, whole};
use super::LEAST_TIME;

section! {
    /// How long things may take. `"0s"` means for ever.
    pub(crate) struct Timeouts {
        /// To connect to an endpoint.
        connect: Duration = Duration::from_secs(3), duration(Duration::ZERO);
        /// To read a whole request head.
        header: Duration = Duration::from_secs(10), duration(Duration::ZERO);
        /// Between the requests of a connection, and between two steps of a body. A response over an HTTP/2 upstream
        /// connection that others use has twice as long.
        idle: Duration = Duration::from_secs(60), duration(Duration::ZERO);
        /// For a connection to an endpoint all of whose connections are in use; then 503.
        queue: Duration = Duration::from_secs(3), duration(Duration::ZERO);
        /// Until an idle upstream connection is closed. The default is before the usual server (60 s and more) closes it
        /// under a request.
        upstream_idle: Duration = Duration::from_secs(50), duration(Duration::ZERO);
        /// Until a silent HTTP/2 upstream is asked by a ping whether it is there. The default is never: some gRPC servers
        /// close connections that ping more often than every five minutes.
        http2_ping: Duration = Duration::ZERO, duration(Duration::ZERO);
        /// From the last step of a request to the head of its response.
        response: Duration = Duration::from_secs(60), duration(Duration::ZERO);
        /// For a whole exchange, from its head to the last byte of the response.
        request: Duration = Duration::ZERO, duration(Duration::ZERO);
        /// Without a byte in either direction of a TCP connection.
        tcp_idle: Duration = Duration::from_secs(3600), duration(Duration::ZERO);
    }
}

section! {
    /// How much there may be of things.
    pub(crate) struct Limits {
        /// Bytes of a request or response head.
        head_bytes: u64 = 64 << 10, size(1 << 10..=16 << 20);
        /// Fields of a head.
        head_fields: usize = 100, whole(1..=256);
        /// Bytes of the trailers of a body.
        trailer_bytes: u64 = 8 << 10, size(0..=16 << 20);
        /// Open downstream connections of one worker.
        connections: usize = 10_000, whole(1..=10_000_000);
        /// TLS handshakes of one worker that may go on at a time; the oldest ends when one more begins.
        handshakes: usize = 1_024, whole(1..=1_000_000);
        /// Concurrent streams of one HTTP/2 connection.
        streams: u32 = 100, whole(1..=1_000_000);
        /// Connections that HTTP exchanges may have in use per endpoint and worker. More wait for `timeouts.queue`.
        upstream_connections: usize = 1_024, whole(1..=1_000_000);
        /// Concurrent streams of one HTTP/2 connection to an upstream, if that does not allow fewer.
        streams_per_upstream: usize = 100, whole(1..=1_000_000);
        /// The lowest rate of a request's body after its first 20 s, in bytes a second; 0 for any.
        body_rate: u64 = 240, size(0..=1 << 40);
        /// CPU time of all plugins together for one exchange or TCP connection: at once, and again in each second that
        /// it lasts. Bytes of bodies that plugins look at add to it.
        cpu_budget: Duration = Duration::from_millis(50), duration(LEAST_TIME);
    }
}
