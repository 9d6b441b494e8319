//! The only crate that knows wasmtime: it loads, links, calls, limits and swaps plugins.
//!
//! A [`Runtime`] is made once per process. A [`Plugin`] is a slot that lives across swaps; what it holds is a
//! *generation*, one loaded version of the file. Each worker has a [`WorkerPlugin`] per plugin, and an exchange keeps
//! the [`PinnedPlugin`] it began with, so a swap never changes the plugin in the middle of an exchange.
//!
//! Every hook is an async function. A plugin that imports `outbound` runs on a stack of its own and may wait in the
//! middle of a call, many calls at a time; every other plugin is called like a function, and its future is ready when it
//! is first polled.
//!
//! This crate must never name a hyper type, never read a file but those of the compile cache, and never let a plugin block or end a worker.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod abi;
mod breaker;
mod call;
mod capability;
mod clock;
mod compile;
mod deadline;
mod engine;
mod error;
mod failure;
mod generation;
mod grants;
mod instance;
mod meter;
mod metrics;
mod outbound;
mod pinned;
mod plugin;
mod runtime;
mod shared;
mod slot;
mod spec;
mod stamp;
mod stats;
mod steer;
mod store;
mod waiting;
mod words;
mod worker;

pub use breaker::{BreakerState, BreakerUnit};
pub use compile::{Compile, CompileLimits, compile_child};
pub use error::{CallError, Cause, LoadError, RuntimeError};
pub use outbound::{OutboundCall, OutboundError, OutboundSender};
pub use pinned::PinnedPlugin;
pub use plugin::{Plugin, PluginStatus, Prepared, Swap};
pub use runtime::{Granting, Runtime, RuntimeOptions};
pub use spec::{BreakerPolicy, Capability, Grants, Isolation, Limits, PluginSpec};
pub use stats::{BUCKETS_NANOS, CustomMetric, CustomValue, HookStats, StatsSnapshot};
pub use worker::WorkerPlugin;
