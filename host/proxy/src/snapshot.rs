//! One generation of the config as the data path sees it: shared by all workers, never changed, replaced whole.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use odin_runtime::Plugin;

use crate::counters::ListenerCounters;
use crate::downstream::sources::Sources;
use crate::router::names::Names;
use crate::router::route::{Route as Matched, Routes};
use crate::settings::{HttpRules, Limits, Timeouts};
use crate::transport::tls;
use crate::upstream::cluster::{Cluster, Counter};

/// Everything that a worker needs to know.
pub struct Snapshot {
    /// By name; the sockets belong to the workers.
    pub listeners: BTreeMap<String, Arc<Listener>>,
    /// By name: all of the config, for plugins may choose any.
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    /// All of the config.
    pub plugins: Vec<Arc<Plugin>>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much there may be of things.
    pub limits: Limits,
    /// Where lines of the access log go, if anywhere.
    pub access_log: AccessLog,
    /// Values of the context that every line names.
    pub access_log_context: Vec<String>,
    /// Fields of the request's head that every line names.
    pub access_log_fields: Vec<HeaderName>,
    /// Proves to an authority that names are served here (RFC 8555, section 8.3).
    pub http_challenges: Option<HttpChallenges>,
    /// Gives memory back to the system that was freed with a large snapshot, on the thread that has freed it. The allocator
    /// would leave that to whichever thread comes next, and a worker would stand still for it.
    pub give_back: fn(),
}

/// What is answered to a token, if it is one.
pub type HttpChallenges = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// More clusters and routes than this are freed by a thread of their own.
const MANY: usize = 1_000;

impl Drop for Snapshot {
    /// The last owner may be a worker, at the end of an exchange that began long ago, and must not stand still for it.
    fn drop(&mut self) {
        let routes = self.listeners.values().map(|listener| listener.kind.http().len() + listener.kind.tls().len());
        if routes.sum::<usize>() + self.clusters.len() > MANY {
            let parts = (std::mem::take(&mut self.listeners), std::mem::take(&mut self.clusters));
            let give_back = self.give_back;
            let free = move || {
                drop(parts);
                give_back();
            };
            // Without a thread to be had they are freed here.
            let _ = std::thread::Builder::new().name("freeing".to_owned()).spawn(free);
        }
    }
}

/// The shape of a line of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// No line.
    Off,
    /// One line of text for people.
    Text,
    /// One JSON object for machines.
    Json,
}

/// What a listener does with what it accepts.
pub struct Listener {
    /// The name in the config.
    pub name: String,
    /// What goes over its connections.
    pub kind: ListenerKind,
    /// How its connections are encrypted; none for plain text.
    pub tls: Option<Arc<tls::Server>>,
    /// Which peers say by a PROXY header who the client is; none for no peer.
    pub proxy_header: Option<ProxyHeader>,
    /// Who may connect; none for everybody.
    pub sources: Option<Sources>,
    /// Counters; kept over a reload that keeps the name.
    pub counters: Arc<ListenerCounters>,
}

impl Listener {
    /// Whether it matters where its connections come from.
    pub fn looks_at_sources(&self) -> bool {
        self.proxy_header.is_some() || self.sources.is_some()
    }
}

/// Which peers of a listener say by a PROXY header who the client is.
#[derive(PartialEq, Eq)]
pub struct ProxyHeader {
    /// Those in one of these networks. They must.
    pub from: Vec<IpNet>,
    /// All others are served as they are. Else they are turned away.
    pub ignore_others: bool,
}

/// What goes over the connections of a listener.
#[allow(clippy::large_enum_variant, reason = "there is one of each listener")]
pub enum ListenerKind {
    /// HTTP/1.1, and HTTP/2 with prior knowledge, told apart by the first bytes.
    Http {
        /// Where requests go.
        routes: RouteTable,
        /// How its requests are read.
        rules: HttpRules,
    },
    /// Bytes, relayed to a cluster.
    Tcp {
        /// Where connections go.
        cluster: Arc<Cluster>,
        /// In the order in which connections meet them.
        plugins: Vec<PluginUse>,
    },
    /// TLS that is not decrypted.
    Tls {
        /// Where connections go.
        routes: TlsTable,
    },
    /// Any of these, told apart by the first bytes.
    Auto(Auto),
}

/// What a listener does that tells protocols apart.
pub struct Auto {
    /// Where HTTP requests go. Without one, HTTP is a protocol as any other.
    pub http: RouteTable,
    /// How they are read.
    pub rules: HttpRules,
    /// Where TLS connections go, not decrypted. Without one, TLS is a protocol as any other.
    pub tls: TlsTable,
    /// Where everything else goes, if anywhere.
    pub tcp: Option<Arc<Cluster>>,
    /// After so long, a client that has not said what it speaks goes to `tcp`.
    pub timeout: Duration,
}

impl ListenerKind {
    /// The routes of HTTP requests.
    pub fn http(&self) -> &[Route] {
        match self {
            ListenerKind::Http { routes, .. } | ListenerKind::Auto(Auto { http: routes, .. }) => routes,
            ListenerKind::Tcp { .. } | ListenerKind::Tls { .. } => &[],
        }
    }

    /// The routes of TLS connections that are not decrypted.
    pub fn tls(&self) -> &[TlsRoute] {
        match self {
            ListenerKind::Tls { routes } | ListenerKind::Auto(Auto { tls: routes, .. }) => routes,
            ListenerKind::Http { .. } | ListenerKind::Tcp { .. } => &[],
        }
    }
}

/// A route of TLS connections that are not decrypted.
pub struct TlsRoute {
    /// None, `name` or `*.name`.
    pub sni: Option<String>,
    /// The client must offer one of them; empty for any client.
    pub alpn: Vec<String>,
    /// Where the connections go.
    pub cluster: Arc<Cluster>,
    /// In the order in which connections meet them.
    pub plugins: Vec<PluginUse>,
}

impl TlsRoute {
    /// For people: `sni a.example alpn h2`, `*`.
    pub fn name(&self) -> String {
        let sni = self.sni.iter().map(|name| format!("sni {name}"));
        let alpn = (!self.alpn.is_empty()).then(|| format!("alpn {}", self.alpn.join(",")));
        let parts: Vec<String> = sni.chain(alpn).collect();
        if parts.is_empty() { "*".to_owned() } else { parts.join(" ") }
    }
}

/// Such routes in config order, ready to be matched.
pub struct TlsTable {
    routes: Vec<TlsRoute>,
    names: Names,
}

impl TlsTable {
    /// For these routes; of two that match the same the first counts.
    pub fn new(routes: Vec<TlsRoute>) -> Self {
        TlsTable { names: Names::new(routes.iter().map(|route| (route.sni.as_deref(), &route.alpn[..]))), routes }
    }

    /// The index of the route for a connection.
    pub(crate) fn find(&self, sni: Option<&str>, alpn: &[Box<[u8]>]) -> Option<usize> {
        self.names.find(sni, alpn)
    }
}

impl Deref for TlsTable {
    type Target = [TlsRoute];

    fn deref(&self) -> &[TlsRoute] {
        &self.routes
    }
}

/// A route of HTTP requests.
pub struct Route {
    /// None, `name` or `*.name`.
    pub host: Option<String>,
    /// A prefix that ends at a path segment; none for any.
    pub path: Option<String>,
    /// Where the requests go.
    pub cluster: Arc<Cluster>,
    /// In route order.
    pub plugins: Vec<PluginUse>,
}

impl Route {
    /// Host and path as in the config, for people: `api.example.com/v1`, `*`.
    pub fn name(&self) -> String {
        format!("{}{}", self.host.as_deref().unwrap_or("*"), self.path.as_deref().unwrap_or(""))
    }
}

/// Such routes in config order, ready to be matched.
pub struct RouteTable {
    routes: Vec<Route>,
    by_host_and_path: Routes<usize>,
}

impl RouteTable {
    /// For these routes; of two that match the same the first counts.
    pub fn new(routes: Vec<Route>) -> Self {
        let matched = (0..).zip(&routes);
        let matched = matched.map(|(at, route)| Matched::new(route.host.as_deref(), route.path.as_deref(), at));
        RouteTable { by_host_and_path: Routes::new(matched), routes }
    }

    /// The index of the route for a request, see [`Routes`]: the exact host wins, then the longest path.
    pub(crate) fn find(&self, authority: &str, path: &str) -> Option<usize> {
        self.by_host_and_path.find(authority, path).copied()
    }
}

impl Deref for RouteTable {
    type Target = [Route];

    fn deref(&self) -> &[Route] {
        &self.routes
    }
}

/// A plugin at its place in a route or a TCP listener, with what it costs there.
#[derive(Clone)]
pub struct PluginUse {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// Kept over a reload that keeps the route.
    pub cpu: Arc<CpuTime>,
}

/// CPU time in nanoseconds, one share per worker.
pub struct CpuTime(Box<[CpuShare]>);

#[derive(Default)]
#[repr(align(64))]
struct CpuShare(Counter);

impl CpuTime {
    /// For so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(CpuTime((0..workers.max(1)).map(|_| CpuShare::default()).collect()))
    }

    /// Only the owning worker may call this.
    pub(crate) fn add(&self, worker: usize, nanos: u64) {
        self.0[worker].0.add(nanos);
    }

    /// Nanoseconds over all workers.
    pub fn nanos(&self) -> u64 {
        self.0.iter().map(|share| share.0.get()).sum()
    }
}
