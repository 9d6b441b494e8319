//! The keys of the config, each written once (see `section.rs`), and the config as the rest of Odin sees it: plain
//! values, checked and complete, with every default filled in.
//! Serializes to the same keys that a config file has. Must never hold a reference that is not defined, or a line.

mod acme;
mod limits;
mod listener;
mod plugin;
mod tls;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use serde::{Serialize, Serializer};

use super::places::Kind;
use super::section::{choice, section};
use super::shapes::{self, boolean, duration, list, optional, reference, size, whole};
use super::{listeners, sections};

pub(crate) use acme::{Acme, Challenge};
pub(crate) use limits::{Limits, Timeouts};
pub(super) use listener::{AutoRules, Destination, Entrance, Protocol};
pub(crate) use listener::{Elsewhere, EncodedSlashes, HttpRules, Listener, PathNormalization, Route, Sources, Traffic};
pub(crate) use plugin::{BodyOverflow, Breaker, Grant, Isolation, OnFailure, Plugin};
pub(crate) use tls::{CertificateFiles, ClientAuth, ClientTls, Roots, ServerTls, TlsVersion};

/// Where the admin listener is unless the config says otherwise.
pub(crate) const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// The least time that is worth measuring.
const LEAST_TIME: Duration = Duration::from_millis(1);

section! {
    /// All settings of one Odin.
    pub(crate) struct Config {
        /// Threads, each with an event loop. Default: one per core.
        #[next "start or upgrade"]
        workers: Option<usize> = None, optional(whole(1..=1024)), "#2";
        /// How long open exchanges and connections may go on after SIGTERM or Ctrl-C.
        shutdown_grace: Duration = Duration::from_secs(10), duration(Duration::ZERO);
        /// How long connections may go on after their listener was removed or a new binary took over.
        drain_timeout: Duration = Duration::from_secs(600), duration(Duration::ZERO);
        /// How connections come to the workers.
        #[next "start"]
        steering: SteeringMode = SteeringMode::default(), shapes::choice();
        /// The user, a name or a number, that Odin becomes when everything is open. Default: who started it.
        #[next "start"]
        user: Option<String> = None, optional(sections::user()), r##"#"odin""##;
        /// Where the admin pages are served, which only show; or `"off"`.
        #[next "start or upgrade"]
        admin: Option<SocketAddr> = Some(DEFAULT_ADMIN), sections::admin();
        /// Speak TLS to the clients of `admin`. Default: plain text.
        admin_tls: Option<ServerTls> = None, optional(super::tls::admin()),
            r##"#{ certificates = [{ cert = "a.pem", key = "a.key" }] }"##;
        /// The unix socket that takes every order; or `"off"`. Default: PID.sock in the runtime folder.
        #[next "start or upgrade"]
        admin_socket: Location = Location::Default, sections::location(), r##"#"odin.sock""##;
        /// The file with the token that lets a client of `admin` do what the socket lets it do. Default: none.
        admin_token_file: Option<PathBuf> = None, optional(sections::file()), r##"#"token""##;
        /// The folder that keeps compiled plugins; or `"off"`. Default: `$CACHE_DIRECTORY`, or odin in the user's cache
        /// folder.
        #[next "start or upgrade"]
        compile_cache: Location = Location::Default, sections::location(), r##"#"cache""##;
        /// CPU time that compiling one plugin may take, in whole seconds.
        #[next "start or upgrade"]
        compile_timeout: Duration = Duration::from_secs(60), duration(Duration::from_secs(1));
        /// Address space that compiling one plugin may take.
        #[next "start or upgrade"]
        compile_memory: u64 = 1 << 30, size(64 << 20..=64 << 30);
        /// One line for each exchange and TCP connection, on standard output.
        access_log: AccessLog = AccessLog::default(), shapes::section();
        /// At least one; names are unique, and no two want the same port of the same network.
        listeners: Vec<Listener> = Vec::new(), listeners::shape();
        /// Each is a name with a set of endpoints.
        clusters: BTreeMap<String, Cluster> = BTreeMap::new(), sections::clusters(), "web";
        /// Each is a name with a `.wasm` file and its settings.
        plugins: BTreeMap<String, Plugin> = BTreeMap::new(), sections::plugins(), "headers";
        /// Each is a name with an authority that issues certificates.
        acme: BTreeMap<String, Acme> = BTreeMap::new(), super::acme::sections(), "letsencrypt";
        /// How long things may take.
        timeouts: Timeouts = Timeouts::default(), shapes::section();
        /// How much there may be of things.
        limits: Limits = Limits::default(), sections::limits();
    }
}

/// Where something of Odin's own is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Location {
    /// At a place that follows from who runs Odin.
    #[default]
    Default,
    /// Nowhere: it is not used.
    Off,
    /// Here. In a config file the path is relative to that file's folder.
    At(PathBuf),
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Location::Default => serializer.serialize_none(),
            Location::Off => serializer.serialize_str("off"),
            Location::At(path) => path.serialize(serializer),
        }
    }
}

choice! {
    /// How new connections come to the workers.
    pub(crate) enum SteeringMode {
        /// By BPF where that is possible, else by bind.
        Auto = "auto",
        /// By a BPF program, or not at all.
        Bpf = "bpf",
        /// By a socket for each address, port and worker.
        Bind = "bind",
    }
}

section! {
    /// The access log: one line for each exchange and TCP connection, on standard output.
    pub(crate) struct AccessLog {
        /// Whether there is one.
        enabled: bool = true, boolean();
        /// How a line is written.
        format: LogFormat = LogFormat::default(), shapes::choice();
        /// Names of context values, set by plugins, that every line tells, in this order.
        context: Vec<String> = Vec::new(), list("names", sections::context_name()), r#"["tenant"]"#;
        /// Fields of the request's head that every line tells, in this order.
        fields: Vec<String> = Vec::new(), list("field names", sections::field_name()), r#"["user-agent"]"#;
    }
}

choice! {
    /// How a log line is written.
    pub(crate) enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    /// A named set of endpoints.
    pub(crate) struct Cluster {
        /// At least one.
        endpoints: Vec<Endpoint> [required r#"for example ["127.0.0.1:9000"]"#], sections::endpoints(),
            r#"["127.0.0.1:9051", { address = "127.0.0.1:9052", weight = 2 }]"#;
        /// A plugin that exports the balancer hook. Default: the built-in round robin.
        balancer: Option<String> = None, optional(reference(Kind::Plugin)), r##"#"lb_rr""##;
        /// How Odin speaks to the endpoints, for HTTP.
        protocol: UpstreamProtocol = UpstreamProtocol::default(), shapes::choice();
        /// Speak TLS to the endpoints. Default: plain text.
        tls: Option<ClientTls> = None, optional(super::tls::client()), r##"#{ roots = "ca.pem" }"##;
        /// Connections begin with a PROXY header that tells who the client is, and each serves one exchange. Default: none.
        proxy_protocol: Option<ProxyVersion> = None, optional(shapes::choice()), r##"#"v2""##;
    }
}

choice! {
    /// The `proxy-protocol` of a cluster.
    pub(crate) enum ProxyVersion {
        /// A line of text with the addresses.
        V1 = "v1",
        /// Binary, with the name, ALPN and request id as well.
        V2 = "v2",
    }
}

section! {
    /// One address of a cluster.
    pub(crate) struct Endpoint {
        /// Where it is.
        address: EndpointAddress [required r#"for example "127.0.0.1:9000""#], sections::endpoint_address();
        /// For weighted balancers.
        weight: u32 = 1, sections::weight();
    }
}

choice! {
    /// The `protocol` of a cluster.
    pub(crate) enum UpstreamProtocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 with prior knowledge.
        Http2 = "http2",
    }
}

/// Where an endpoint is; the port is never 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EndpointAddress {
    /// An address that can be used as it is.
    Ip(SocketAddr),
    /// A name to resolve.
    Name { host: String, port: u16 },
}

impl EndpointAddress {
    /// The addresses behind it, by the system's resolver: it may wait for the network. Never empty when `Ok`.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<SocketAddr> = match self {
            EndpointAddress::Ip(address) => vec![*address],
            EndpointAddress::Name { host, port } => (host.as_str(), *port).to_socket_addrs()?.collect(),
        };
        match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, format!("{self} has no address"))),
            false => Ok(addresses),
        }
    }
}

impl EndpointAddress {
    /// The name, if it is one.
    pub(crate) fn host(&self) -> Option<Arc<str>> {
        match self {
            EndpointAddress::Ip(_) => None,
            EndpointAddress::Name { host, .. } => Some(Arc::from(host.as_str())),
        }
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddress::Ip(address) => address.fmt(f),
            EndpointAddress::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Serialize for EndpointAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
