//! What is compared: the cases, their units and the limits that Odin set itself.
//!
//! A case says what is asked of every proxy alike; it must never know a proxy's name beyond the limits.

use clap::ValueEnum;

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Case {
    /// HTTP/1.1, connections kept alive on both sides
    Http1,
    /// The same with one field read and two set, by a plugin or by Lua
    Plugin,
    /// The same with the peers adding the fields that Odin always adds (Via, Forwarded, ...)
    Forwarded,
    /// HTTP/2 by prior knowledge downstream, HTTP/1.1 upstream
    Http2,
    /// A new connection for every request
    Connections,
    /// One-way bulk through a TCP relay
    Bulk,
    /// 64 bytes to and fro through a TCP relay
    PingPong,
}

/// What the proxy has to speak downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Http1,
    Http2,
    /// Much in one direction.
    TcpBulk,
    /// Little, to and fro.
    TcpSmall,
}

impl Shape {
    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Shape::TcpBulk | Shape::TcpSmall)
    }
}

/// What the proxy does with a request besides forwarding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// As little as it can be told to do.
    Bare,
    /// Reads `user-agent`, sets `x-odin` on the request and `x-odin-response` on the response.
    Plugin,
    /// Tells the upstream about the client, with the fields that Odin uses.
    Forwarded,
}

impl Case {
    /// Cases of one group share their rounds, so that they can be subtracted from each other.
    pub(crate) const GROUPS: [&[Case]; 5] = [
        &[Case::Http1, Case::Plugin, Case::Forwarded],
        &[Case::Http2],
        &[Case::Connections],
        &[Case::Bulk],
        &[Case::PingPong],
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Case::Http1 => "http1",
            Case::Plugin => "plugin",
            Case::Forwarded => "forwarded",
            Case::Http2 => "http2",
            Case::Connections => "connections",
            Case::Bulk => "bulk",
            Case::PingPong => "ping-pong",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Case::Http1 => "HTTP/1.1 keep-alive",
            Case::Plugin => "HTTP/1.1 + a header plugin",
            Case::Forwarded => "HTTP/1.1, same added fields",
            Case::Http2 => "HTTP/2 downstream",
            Case::Connections => "New connection per request",
            Case::Bulk => "TCP bulk",
            Case::PingPong => "TCP ping-pong, 64 bytes",
        }
    }

    /// The unit of the figure, CPU time per operation.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Case::Bulk => "ms/GB",
            Case::PingPong => "µs/round trip",
            _ => "µs/request",
        }
    }

    /// Nanoseconds in one unit of the figure.
    pub(crate) fn unit_nanos(self) -> f64 {
        if self == Case::Bulk { 1e6 } else { 1e3 }
    }

    /// The unit of the rate that goes with it.
    pub(crate) fn rate_unit(self) -> &'static str {
        match self {
            Case::Bulk => "GB/s",
            Case::PingPong => "round trips/s",
            _ => "requests/s",
        }
    }

    pub(crate) fn shape(self) -> Shape {
        match self {
            Case::Http2 => Shape::Http2,
            Case::Bulk => Shape::TcpBulk,
            Case::PingPong => Shape::TcpSmall,
            _ => Shape::Http1,
        }
    }

    pub(crate) fn variant(self) -> Variant {
        match self {
            Case::Plugin => Variant::Plugin,
            Case::Forwarded => Variant::Forwarded,
            _ => Variant::Bare,
        }
    }
}
