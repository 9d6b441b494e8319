//! What Odin offers to plugins: one module per interface of wit/, each with its linking, limits and state.
//! Must never block, and must never panic on what a guest passes in.

pub(crate) mod body;
pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod endpoints;
pub(crate) mod log;
pub(crate) mod message;
pub(crate) mod metrics;
pub(crate) mod outbound;
pub(crate) mod panic;
pub(crate) mod random;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod routing;
pub(crate) mod shared;
pub(crate) mod trailers;

use crate::store::Link;

/// The interfaces of the exchange, and a guest's last words: every plugin may import them. The others must be granted (see `grants`).
pub(crate) const ALWAYS: [&str; 10] =
    ["types", "tcp", "request", "response", "body", "trailers", "endpoints", "routing", "context", "panic"];

/// Links every interface but `outbound`, which alone waits.
pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    request::link(linker)?;
    response::link(linker)?;
    body::link(linker)?;
    trailers::link(linker)?;
    endpoints::link(linker)?;
    routing::link(linker)?;
    context::link(linker)?;
    panic::link(linker)?;
    log::link(linker)?;
    clock::link(linker)?;
    random::link(linker)?;
    config::link(linker)?;
    metrics::link(linker)?;
    shared::link(linker)
}
