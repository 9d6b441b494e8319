//! The data path: listeners, the HTTP exchange, the TCP relay, upstream pools, health and balancing.
//!
//! A [`Proxy`] owns the workers; a [`Snapshot`] tells them what to serve. This crate never reads a file or a flag and
//! never names a wasmtime type; policy is asked of `odin_runtime`.

mod access_log;
mod attempt;
mod balance;
mod body;
mod call;
mod candidates;
mod clock;
mod cluster;
mod drain;
mod eligible;
mod error;
mod exchange;
mod fields;
mod finished;
#[cfg(test)]
mod fuzz;
mod gate;
mod head;
mod health;
mod hooks;
mod http1;
mod http2;
mod listener;
mod local;
mod log_text;
mod orders;
mod outbound;
mod path;
mod pool;
mod proxy;
mod record;
mod relay;
mod route;
mod serving;
mod settings;
mod snapshot;
mod stride;
mod sums;
mod tcp;
mod timer;
mod trim;
mod upload;
mod worker;

pub use candidates::{candidates, take_turn};
pub use cluster::{Began, Cluster, Endpoint, EndpointTotals, Protocol};
pub use listener::{bind, listen};
pub use orders::{Closing, Draining, Opened, SocketId};
pub use path::{EncodedSlashes, PathRules, check_route_path};
pub use proxy::{Applying, Hurry, Proxy};
pub use settings::{HttpRules, Limits, Timeouts};
pub use snapshot::{
    AccessLog, CpuTime, DURATION_BUCKETS_MS, Listener, ListenerCounters, ListenerKind, ListenerTotals, PluginUse,
    Route, RouteTable, Snapshot,
};
