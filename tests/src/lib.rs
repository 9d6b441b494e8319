//! The harness that the end-to-end tests are written in: it starts the real binary with real plugins between real peers.
//!
//! A test reads as a sentence: `Odin::builder().balancer("lb_rr").target(&backend).start().await.get("/").await
//! .has_status(200)`. Nothing here names a crate of Odin, builds anything, sleeps for a fixed time or uses a fixed port:
//! what is waited for is an event, and every wait has a deadline that fails the test with what was seen so far.

mod assert;
pub mod backend;
pub mod body;
mod builder;
mod client;
mod company;
pub mod dial;
mod entry;
mod grpc;
pub mod h2raw;
pub mod half_open;
pub mod load;
mod metrics;
pub mod netns;
mod odin;
mod output;
pub mod paths;
pub mod pebble;
pub mod peers;
pub mod process;
mod program;
pub mod raw;
pub mod schema;
mod script;
mod skipped;
pub mod steered;
mod succession;
pub mod tcp;
pub mod tls;
mod wait;

pub use assert::Response;
pub use backend::{BOTH, HttpBackend, OnConnection, Protocol, RawBackend, echoed};
pub use builder::Builder;
pub use client::{Connection, collect};
pub use company::Company;
pub use entry::PluginEntry;
pub use grpc::{GrpcServer, grpc_client};
pub use metrics::{Metrics, Sample};
pub use odin::{Listening, Odin};
pub use output::Lines;
pub use process::resident_bytes;
pub use program::{Finished, Launch, Program, script};
pub use raw::{BodyEnd, Ending, Head, Raw, RawResponse};
pub use script::Script;
pub use skipped::skipped;
pub use steered::Steering;
pub use succession::By;
pub use tcp::{BlackHole, DeadPort, ReservedPort, TcpPeer};
pub use wait::{DEADLINE, until, within};

use std::net::SocketAddr;

/// Something that a cluster can have as an endpoint.
pub trait Target {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
}

impl Target for SocketAddr {
    fn address(&self) -> SocketAddr {
        *self
    }
}
