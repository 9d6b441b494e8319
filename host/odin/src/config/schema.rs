//! The config as the rest of Odin sees it: plain values, checked and complete, with every default filled in.
//! Serializes to the same keys that a config file has. Must never hold a reference that is not defined, or a line.

mod limits;
mod plugin;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use odin_steer::Binding;
use serde::{Serialize, Serializer};

use super::units;

pub(crate) use limits::{Limits, Timeouts};
pub(crate) use plugin::{BodyOverflow, Breaker, Grant, Isolation, OnFailure, Plugin};

/// Where the admin listener is unless the config says otherwise.
pub(crate) const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// All settings of one Odin.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Threads, each with an event loop. Default: none, which means one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<usize>,
    /// How long open exchanges and connections may go on after SIGTERM. Default 10 s.
    #[serde(serialize_with = "duration")]
    pub(crate) shutdown_grace: Duration,
    /// How long connections may go on after their listener was removed or a new binary took over. Default 10 min.
    #[serde(serialize_with = "duration")]
    pub(crate) drain_timeout: Duration,
    /// How connections come to the workers. Default auto.
    pub(crate) steering: SteeringMode,
    /// The user, a name or a number, that Odin becomes when everything is open. Default: none, which stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Where the admin pages are served; none for `"off"`. Default 127.0.0.1:9901.
    #[serde(serialize_with = "address_or_off")]
    pub(crate) admin: Option<SocketAddr>,
    /// The unix socket that takes every order. Default: one in the runtime folder (`runtime_folder.rs`).
    #[serde(skip_serializing_if = "Location::is_default")]
    pub(crate) admin_socket: Location,
    /// The file with the token that lets a client of `admin` do what the socket lets it do. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// The folder that keeps compiled plugins. Default: see `compile_cache.rs`.
    #[serde(skip_serializing_if = "Location::is_default")]
    pub(crate) compile_cache: Location,
    /// CPU time that compiling one plugin may take, in whole seconds. Default 60 s.
    #[serde(serialize_with = "duration")]
    pub(crate) compile_timeout: Duration,
    /// Address space that compiling one plugin may take. Default 1 GiB.
    #[serde(serialize_with = "size")]
    pub(crate) compile_memory: u64,
    /// One line for each exchange and connection.
    pub(crate) access_log: AccessLog,
    /// At least one; names are unique, and no two want the same port of the same network.
    pub(crate) listeners: Vec<Listener>,
    /// By name. Each has at least one endpoint (the command line's demo clusters get theirs at start).
    pub(crate) clusters: BTreeMap<String, Cluster>,
    /// By name.
    pub(crate) plugins: BTreeMap<String, Plugin>,
    /// How long things may take.
    pub(crate) timeouts: Timeouts,
    /// How much there may be of things.
    pub(crate) limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            workers: None,
            shutdown_grace: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(600),
            steering: SteeringMode::Auto,
            user: None,
            admin: Some(DEFAULT_ADMIN),
            admin_socket: Location::Default,
            admin_token_file: None,
            compile_cache: Location::Default,
            compile_timeout: Duration::from_secs(60),
            compile_memory: 1 << 30,
            access_log: AccessLog::default(),
            listeners: Vec::new(),
            clusters: BTreeMap::new(),
            plugins: BTreeMap::new(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
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

impl Location {
    fn is_default(&self) -> bool {
        *self == Location::Default
    }
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

/// How new connections come to the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SteeringMode {
    /// By BPF where that is possible, else by bind.
    #[default]
    Auto,
    /// By a BPF program, or not at all.
    Bpf,
    /// By a socket for each address, port and worker.
    Bind,
}

/// The access log, which goes to standard output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct AccessLog {
    /// Default true.
    pub(crate) enabled: bool,
    /// Default text.
    pub(crate) format: LogFormat,
    /// Names of context values that every line tells, in this order. Default none.
    pub(crate) context: Vec<String>,
    /// Fields of the request's head that every line tells, in lower case and in this order. Default none.
    pub(crate) fields: Vec<String>,
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog { enabled: true, format: LogFormat::Text, context: Vec::new(), fields: Vec::new() }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What accepts connections at some addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Listener {
    /// In logs and metrics. Default: the first address.
    pub(crate) name: String,
    /// At least one. In a file, one text or a list of them. Port 0: the system chooses one.
    #[serde(rename = "address", serialize_with = "one_or_many")]
    pub(crate) addresses: Vec<Binding>,
    /// A key of `plugins`, which chooses who gets new connections. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steer: Option<String>,
    /// What arrives, and where it goes.
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
}

/// The `protocol` of a listener with what belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "protocol", rename_all = "lowercase")]
pub(crate) enum Traffic {
    /// HTTP/1.1 and HTTP/2 with prior knowledge. The default.
    Http {
        /// How its requests are read.
        #[serde(flatten)]
        rules: HttpRules,
        /// At least one; no two match the same host and path. The listener's own `cluster` and `plugins` are the
        /// last one, without host and path.
        routes: Vec<Route>,
    },
    /// Bytes.
    Tcp {
        /// A key of `clusters`.
        cluster: String,
        /// Keys of `plugins`, in the order in which connections meet them. Default none.
        plugins: Vec<String>,
    },
}

/// How the requests of an HTTP listener are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct HttpRules {
    /// Believe `Forwarded`, `X-Forwarded-*` and `X-Request-Id` of the client. Default false.
    pub(crate) trust_forwarded: bool,
    /// A client that has ended its sending side still waits for its answer. Default false.
    pub(crate) half_close: bool,
    /// What becomes of paths before they are matched. Default strict.
    pub(crate) path_normalization: PathNormalization,
    /// What becomes of `%2F` in a normalised path. Default refuse.
    pub(crate) encoded_slashes: EncodedSlashes,
}

/// The `path-normalization` of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PathNormalization {
    /// One spelling for each path; what has no safe one is refused.
    #[default]
    Strict,
    /// Paths stay as they came.
    Off,
}

/// The `encoded-slashes` of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodedSlashes {
    /// 400.
    #[default]
    Refuse,
    /// They stay as they are.
    Keep,
    /// They separate segments.
    Decode,
}

/// What an HTTP request must match to go to a cluster; exact host first, then the longest path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Route {
    /// `api.example.com` or `*.example.com`, in lower case, without port. None matches every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// A prefix of whole segments that starts with `/`, without a `/` at the end. None matches every path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// A key of `clusters`.
    pub(crate) cluster: String,
    /// Keys of `plugins`, in the order in which requests meet them. Default none.
    pub(crate) plugins: Vec<String>,
}

/// A named set of endpoints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Cluster {
    /// In the order of the file.
    pub(crate) endpoints: Vec<Endpoint>,
    /// A key of `plugins`. Default: none, which means the built-in round robin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) balancer: Option<String>,
    /// How Odin speaks to the endpoints, for HTTP. Default http1.
    pub(crate) protocol: UpstreamProtocol,
}

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) address: EndpointAddress,
    /// For weighted balancers, from 1. Default 1.
    pub(crate) weight: u32,
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

/// The `protocol` of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&units::format_duration(*value))
}

fn size<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&units::format_size(*value))
}

fn one_or_many<S: Serializer>(values: &[Binding], serializer: S) -> Result<S::Ok, S::Error> {
    match values {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}

fn address_or_off<S: Serializer>(value: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(address) => serializer.collect_str(address),
        None => serializer.serialize_str("off"),
    }
}
