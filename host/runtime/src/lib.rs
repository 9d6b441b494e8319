//! The only crate that knows wasmtime: it loads, links, calls, limits and swaps plugins.
//!
//! A [`Runtime`] is made once per process. A [`Plugin`] is a slot that lives across swaps; what it holds is a
//! *generation*, one loaded version of the file. Each worker has a [`WorkerPlugin`] per plugin, and an exchange keeps
//! the [`PinnedPlugin`] it began with, so a swap never changes the plugin in the middle of an exchange.
//!
//! This crate must never name a hyper type, never read a file, and never let a plugin block or end a worker.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod answer;
mod capability;
mod deadline;
mod error;
mod failure;
mod generation;
mod instance;
mod meter;
mod plugin;
mod runtime;
mod slot;
mod spec;
mod state;
mod stats;
mod store;
mod worker;

pub use capability::context::{Context, ContextFull, Value};
pub use error::{CallError, Cause, LoadError, RuntimeError};
pub use plugin::{Plugin, PluginStatus, Swap};
pub use runtime::{Runtime, RuntimeOptions};
pub use spec::{Hook, Hooks, Isolation, Limits, OnFailure, PluginSpec};
pub use state::{ConnectionInfo, Decision, Endpoints, HookState};
pub use stats::{BUCKETS_NANOS, HookStats, StatsSnapshot};
pub use worker::{PinnedPlugin, WorkerPlugin};
