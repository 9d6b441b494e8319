//! The data path: listeners, the HTTP exchange, the TCP relay, upstream pools, health and balancing.
//!
//! A [`Proxy`] owns the workers; a [`Snapshot`] tells them what to serve. This crate never reads a file or a flag and
//! never names a wasmtime type; policy is asked of `odin_runtime`.

mod counters;
mod downstream;
mod error;
mod filter;
#[cfg(test)]
mod fuzz;
mod http;
mod observe;
mod relay;
mod router;
mod settings;
mod snapshot;
mod transport;
mod upstream;
mod worker;

pub use crate::http::path::{EncodedSlashes, PathRules, check_route_path};
pub use counters::{DURATION_BUCKETS_MS, ListenerCounters, ListenerTotals, TURNED_AWAY};
pub use downstream::listener::{bind, listen};
pub use downstream::orders::{Closing, Draining, Opened, SocketId};
pub use downstream::sources::{SourceTable, Sources};
pub use settings::{HttpRules, Limits, Timeouts};
pub use snapshot::{
    AccessLog, Auto, CpuTime, HttpChallenges, Listener, ListenerKind, PluginUse, ProxyHeader, Route, RouteTable,
    Snapshot, TlsRoute, TlsTable,
};
pub use transport::connector::Protocol;
pub use transport::proxy_header::ProxyVersion;
pub use transport::tls;
pub use upstream::candidates::{candidates, take_turn};
pub use upstream::cluster::{Began, Cluster, Endpoint, EndpointTotals, NewEndpoint};
pub use worker::proxy::{Applying, Hurry, Proxy};
