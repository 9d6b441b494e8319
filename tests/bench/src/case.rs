//! What is compared: the cases, their units and the limits that Odin set itself.
//!
//! A case says what is asked of every proxy that takes part; how each of them does it is not its business.

use clap::ValueEnum;

use crate::peers::Kind;

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Case {
    /// HTTP/1.1, connections kept alive on both sides
    Http1,
    /// The same with one field read and two set, by a plugin or by Lua
    Plugin,
    /// The same with the peers adding the fields that Odin always adds (Via, Forwarded, ...)
    Forwarded,
    /// Odin with ten header plugins in the route
    Chain,
    /// Odin with a header plugin that gets a fresh instance for every call
    Fresh,
    /// A PUT through Odin with six plugins, and through Envoy with one ext_proc filter and its processor
    Digest,
    /// HTTP/2 by prior knowledge downstream, HTTP/1.1 upstream
    Http2,
    /// HTTP/1.1 keep-alive with 16, 64, 256 and 1,024 requests at once
    SweepHttp1,
    /// The same by HTTP/2 downstream, HTTP/1.1 upstream
    SweepHttp2,
    /// The same in Odin with HTTP/2 on both sides
    SweepHttp2Upstream,
    /// A new connection for every request
    Connections,
    /// Odin with responses of 64 MiB
    Download,
    /// The same with a plugin that sees every piece of the body and lets it pass
    Stream,
    /// New connections to Odin, by a socket that is bound to the port
    Bound,
    /// The same, steered by BPF
    Steered,
    /// What Odin's steering program costs a new connection, and how it shares them out, with one port
    SteeringOne,
    /// The same with 10,000 ports and a network of 65,536 addresses, for either
    Steering,
    /// Time in which Odin, bound, adds 10,000 ports by a reload and gives them up again
    PortsBound,
    /// The same for Odin, steered, and its peers
    Ports,
    /// Memory of Odin for an exchange that waits for its backend
    IdleBare,
    /// The same with six plugins in the route
    IdleMemory,
    /// One-way bulk through a TCP relay
    Bulk,
    /// 64 bytes to and fro through a TCP relay
    PingPong,
    /// HTTP/1.1 over TLS 1.3, connections kept alive on both sides
    Tls,
    /// The same with bodies of 64 KiB
    TlsLarge,
    /// A whole handshake (ECDSA, P-256) and one request for every connection
    Handshakes,
    /// The same with a handshake that is resumed
    Resumed,
    /// Memory of an open connection over TLS that has had an answer
    IdleTls,
    /// One-way bulk through Odin that routes it by its ClientHello
    Passthrough,
}

/// What the proxy has to speak downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Http1,
    Http2,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/1.1 with large responses.
    Download,
    /// Much in one direction.
    TcpBulk,
    /// Little, to and fro.
    TcpSmall,
    /// Much in one direction, of what begins as TLS.
    TlsBulk,
    /// HTTP/1.1 on ports that come and go by reloads.
    Ports,
}

impl Shape {
    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Shape::TcpBulk | Shape::TcpSmall | Shape::TlsBulk)
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
    /// `Plugin` ten times, one after the other.
    Chain,
    /// `Plugin`, each call in an instance made for it.
    Fresh,
    /// Sets a digest of the request on request and response: Odin with five plugins beside `digest`, each of which does its part.
    Digest,
    /// Sees every piece of both bodies.
    Pass,
}

/// How Odin gets its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steering {
    /// As it chooses by itself.
    Auto,
    Bpf,
    Bind,
}

/// How a case is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// What a proxy spends under a load.
    Load,
    /// What the steering program spends, and where connections go.
    Steering,
    /// How long a reload takes.
    Reload,
    /// What a proxy spends as more requests are open at once.
    Sweep,
}

impl Case {
    /// Cases of one group share their rounds, so that they can be subtracted from each other.
    pub(crate) const GROUPS: [&[Case]; 15] = [
        &[Case::Http1, Case::Plugin, Case::Forwarded, Case::Chain, Case::Fresh],
        &[Case::Digest],
        &[Case::Http2],
        &[Case::SweepHttp1],
        &[Case::SweepHttp2, Case::SweepHttp2Upstream],
        &[Case::Connections],
        &[Case::Bound, Case::Steered],
        &[Case::PortsBound, Case::Ports],
        &[Case::SteeringOne, Case::Steering],
        &[Case::Download, Case::Stream],
        &[Case::IdleBare, Case::IdleMemory],
        &[Case::Tls, Case::TlsLarge, Case::Handshakes, Case::Resumed],
        &[Case::IdleTls],
        &[Case::Bulk, Case::Passthrough],
        &[Case::PingPong],
    ];

    /// The case without what this one adds, measured in the same rounds.
    pub(crate) fn base(self) -> Option<Case> {
        match self {
            Case::Plugin | Case::Forwarded | Case::Chain | Case::Fresh => Some(Case::Http1),
            Case::Stream => Some(Case::Download),
            Case::Steered => Some(Case::Bound),
            Case::Steering => Some(Case::SteeringOne),
            Case::Ports => Some(Case::PortsBound),
            Case::IdleMemory => Some(Case::IdleBare),
            Case::Passthrough => Some(Case::Bulk),
            _ => None,
        }
    }

    /// Whether this proxy takes part.
    pub(crate) fn takes(self, kind: Kind) -> bool {
        match self {
            Case::Digest => matches!(kind, Kind::Odin | Kind::Envoy),
            Case::Ports | Case::SweepHttp1 | Case::SweepHttp2 => kind != Kind::Envoy,
            Case::SweepHttp2Upstream => kind == Kind::Odin,
            Case::Chain | Case::Fresh | Case::Download | Case::Stream | Case::IdleBare | Case::IdleMemory => {
                kind == Kind::Odin
            }
            Case::Passthrough => kind == Kind::Odin,
            Case::Bound | Case::Steered | Case::SteeringOne | Case::Steering | Case::PortsBound => kind == Kind::Odin,
            _ => true,
        }
    }

    /// Whether it has its place in the table and the picture of all proxies. Cases of Odin alone have a table of their own.
    pub(crate) fn compares(self) -> bool {
        self.takes(Kind::Envoy)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Case::Http1 => "http1",
            Case::Plugin => "plugin",
            Case::Forwarded => "forwarded",
            Case::Chain => "chain",
            Case::Fresh => "fresh",
            Case::Digest => "digest",
            Case::Http2 => "http2",
            Case::SweepHttp1 => "sweep-http1",
            Case::SweepHttp2 => "sweep-http2",
            Case::SweepHttp2Upstream => "sweep-http2-upstream",
            Case::Connections => "connections",
            Case::Bound => "bound",
            Case::Steered => "steered",
            Case::SteeringOne => "steering-one",
            Case::Steering => "steering",
            Case::PortsBound => "ports-bound",
            Case::Ports => "ports",
            Case::Download => "download",
            Case::Stream => "stream",
            Case::IdleBare => "idle-bare",
            Case::IdleMemory => "idle-memory",
            Case::Bulk => "bulk",
            Case::PingPong => "ping-pong",
            Case::Tls => "tls",
            Case::TlsLarge => "tls-large",
            Case::Handshakes => "handshakes",
            Case::Resumed => "resumed",
            Case::IdleTls => "idle-tls",
            Case::Passthrough => "passthrough",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Case::Http1 => "HTTP/1.1 keep-alive",
            Case::Plugin => "HTTP/1.1 + a header plugin",
            Case::Forwarded => "HTTP/1.1, same added fields",
            Case::Chain => "HTTP/1.1 + ten header plugins",
            Case::Fresh => "HTTP/1.1 + a header plugin, fresh",
            Case::Digest => "PUT + a digest of the request",
            Case::Http2 => "HTTP/2 downstream",
            Case::SweepHttp1 => "HTTP/1.1",
            Case::SweepHttp2 => "HTTP/2 downstream",
            Case::SweepHttp2Upstream => "HTTP/2 on both sides",
            Case::Connections => "New connection per request",
            Case::Bound => "New connection per request, bound",
            Case::Steered => "New connection per request, steered",
            Case::SteeringOne => "Steering, one port",
            Case::Steering => "Steering, 10,000 ports and a /16",
            Case::PortsBound => "Reload for 10,000 ports, bound",
            Case::Ports => "Reload for 10,000 ports",
            Case::Download => "Download of 64 MiB",
            Case::Stream => "Download through a stream hook",
            Case::IdleBare => "Waiting exchange",
            Case::IdleMemory => "Waiting exchange + six plugins",
            Case::Bulk => "TCP bulk",
            Case::PingPong => "TCP ping-pong, 64 bytes",
            Case::Tls => "TLS 1.3 keep-alive",
            Case::TlsLarge => "TLS 1.3 keep-alive, 64 KiB",
            Case::Handshakes => "TLS 1.3 handshake and a request",
            Case::Resumed => "TLS 1.3 handshake, resumed, and a request",
            Case::IdleTls => "Idle TLS connection",
            Case::Passthrough => "Bulk by SNI",
        }
    }

    /// Whether its operations are bytes.
    pub(crate) fn counts_bytes(self) -> bool {
        matches!(self, Case::Bulk | Case::Passthrough | Case::Download | Case::Stream)
    }

    /// Whether its figure is memory instead of CPU time.
    pub(crate) fn is_memory(self) -> bool {
        matches!(self, Case::IdleBare | Case::IdleMemory | Case::IdleTls)
    }

    /// The unit of the figure: CPU time per operation, or memory per open exchange.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Case::PingPong => "µs/round trip",
            Case::SteeringOne | Case::Steering => "ns/connection",
            Case::PortsBound | Case::Ports => "ms",
            _ if self.counts_bytes() => "ms/GB",
            _ if self.is_memory() => "KB",
            _ => "µs/request",
        }
    }

    /// Nanoseconds, or bytes of memory, in one unit of the figure.
    pub(crate) fn unit_size(self) -> f64 {
        if self.counts_bytes() { 1e6 } else { 1e3 }
    }

    /// The unit of the rate that goes with it.
    pub(crate) fn rate_unit(self) -> &'static str {
        match self {
            Case::PingPong => "round trips/s",
            _ if self.counts_bytes() => "GB/s",
            _ => "requests/s",
        }
    }

    pub(crate) fn shape(self) -> Shape {
        match self {
            Case::Http2 | Case::SweepHttp2 | Case::SweepHttp2Upstream => Shape::Http2,
            Case::Download | Case::Stream => Shape::Download,
            Case::Bulk => Shape::TcpBulk,
            Case::Passthrough => Shape::TlsBulk,
            Case::Tls | Case::TlsLarge | Case::Handshakes | Case::Resumed | Case::IdleTls => Shape::Https,
            Case::PingPong => Shape::TcpSmall,
            Case::PortsBound | Case::Ports => Shape::Ports,
            _ => Shape::Http1,
        }
    }

    /// How Odin gets its connections; that of the peers is theirs.
    pub(crate) fn steering(self) -> Steering {
        match self {
            Case::Steered | Case::SteeringOne | Case::Steering | Case::Ports => Steering::Bpf,
            Case::Bound | Case::PortsBound => Steering::Bind,
            _ => Steering::Auto,
        }
    }

    pub(crate) fn measure(self) -> Measure {
        match self {
            Case::SteeringOne | Case::Steering => Measure::Steering,
            Case::PortsBound | Case::Ports => Measure::Reload,
            Case::SweepHttp1 | Case::SweepHttp2 | Case::SweepHttp2Upstream => Measure::Sweep,
            _ => Measure::Load,
        }
    }

    pub(crate) fn variant(self) -> Variant {
        match self {
            Case::Plugin => Variant::Plugin,
            Case::Forwarded => Variant::Forwarded,
            Case::Chain => Variant::Chain,
            Case::Fresh => Variant::Fresh,
            Case::Digest | Case::IdleMemory => Variant::Digest,
            Case::Stream => Variant::Pass,
            _ => Variant::Bare,
        }
    }
}
