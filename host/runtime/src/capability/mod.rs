//! What Odin offers to plugins: one module per interface of wit/, each with its linking, limits and state.
//! Must never block, and must never panic on what a guest passes in.

pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod endpoints;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod shared;

use crate::store::Link;

/// The interfaces that a plugin may import.
pub(crate) const INTERFACES: [&str; 7] = ["types", "context", "log", "clock", "config", "shared", "metrics"];

/// Links every interface of [`INTERFACES`].
pub(crate) fn link(linker: &mut Link) -> wasmtime::Result<()> {
    let mut types = linker.instance("odin:plugin/types@0.1.0")?;
    head::link(&mut types)?;
    connection::link(&mut types)?;
    endpoints::link(&mut types)?;
    context::link(linker)?;
    log::link(linker)?;
    clock::link(linker)?;
    config::link(linker)?;
    shared::link(linker)?;
    metrics::link(linker)
}
