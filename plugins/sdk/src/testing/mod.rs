//! A simulated host: `cargo test` runs a plugin's hooks as Odin would, without a proxy and without WebAssembly.
//!
//! ```
//! use odin_sdk::{Decision, Plugin, Request, Result, context::Key, testing};
//!
//! static TENANT: Key<String> = Key::new("tenant");
//!
//! #[derive(Default)]
//! struct Tenants;
//!
//! #[odin_sdk::plugin]
//! impl Plugin for Tenants {
//!     fn on_request_headers(&self, request: &Request) -> Result {
//!         let Some(tenant) = request.get_str("x-tenant-id") else {
//!             return Ok(Decision::reject("no tenant"));
//!         };
//!         TENANT.set(&tenant)?;
//!         request.remove("x-tenant-id")?;
//!         Ok(Decision::Continue)
//!     }
//! }
//!
//! # fn main() {
//! let outcome = testing::Exchange::new::<Tenants>(())
//!     .request("PUT", "/something")
//!     .field("x-tenant-id", "acme")
//!     .body(["first piece, ", "second piece"])
//!     .upstream(|request| testing::Upstream::new(200).body([request.body.as_slice()]))
//!     .run();
//! assert_eq!(outcome.upstream().text(), "first piece, second piece");
//! assert!(!outcome.upstream().has("x-tenant-id"));
//! assert_eq!(outcome.client.status, Some(200));
//! assert_eq!(outcome.context_text("tenant"), Some("acme"));
//!
//! let refused = testing::Exchange::new::<Tenants>(()).run();
//! assert_eq!(refused.client.status, Some(403));
//! assert!(refused.upstream.is_none());
//! # }
//! ```
//!
//! What the host does, the simulation does: body modes and held pieces, forbidden fields, setters that come too late,
//! read-only facts, replies and cuts, limits of the context. What it does not: grants, timeouts and memory. A panic of
//! a hook stays a panic, so that the test shows it.
//!
//! Shared state, metrics and the clock belong to the test's thread: they live from one exchange to the next, until
//! [`reset`]. The clock stands still until it is moved.

mod balancer;
mod chain;
mod exchange;
pub(crate) mod host;
mod outcome;
mod run;
mod scene;
mod steer;
mod tcp;
#[cfg(test)]
mod tests;
mod world;

use std::time::Duration;

use crate::export::Exports;
use crate::outbound::{self, OutboundError};
use crate::{Level, Reply};

pub use balancer::{Endpoint, pick};
pub use exchange::Exchange;
pub use outcome::{Outcome, Received, Seen, Upstream};
pub use steer::{binding, steer};
pub use tcp::{Connection, Relayed};
pub use world::{Line, Metric};

use world::WORLD;

/// Reads a config as the plugin's `configure` would: the error's words, or nothing.
///
/// `assert!(testing::configure::<Limiter>(json!({"limits": 3})).unwrap_err().contains("limits"));`
pub fn configure<P: Exports>(config: impl serde::Serialize) -> Result<(), String> {
    chain::load::<P>(config).map(drop)
}

/// Forgets shared state, metrics and log lines, and sets the clock back.
pub fn reset() {
    WORLD.with_borrow_mut(|world| *world = world::World::default());
}

/// Sets the time since 1970-01-01T00:00:00Z; the monotonic clock does not move.
pub fn set_time(now: Duration) {
    WORLD.with_borrow_mut(|world| world.now = now);
}

/// Moves both clocks on. Shared values expire by it.
pub fn advance(time: Duration) {
    WORLD.with_borrow_mut(|world| {
        world.now += time;
        world.monotonic += time;
    });
}

/// Answers the plugins' outbound calls; without it no cluster can be reached.
///
/// `testing::outbound(|call| Ok(Reply::new(if call.path() == "/check" { 204 } else { 404 })));`
pub fn outbound(answer: impl FnMut(&outbound::Request) -> Result<Reply, OutboundError> + 'static) {
    WORLD.with_borrow_mut(|world| world.outbound = Some(Box::new(answer)));
}

/// A value that the plugin shares, or `None`.
pub fn shared_value<P: Exports>(key: &str) -> Option<Vec<u8>> {
    WORLD.with_borrow_mut(|world| world.entry(chain::id::<P>(), key).map(|entry| entry.value.clone()))
}

/// A metric of the plugin, or `None` when it was never opened.
pub fn metric<P: Exports>(name: &str) -> Option<Metric> {
    WORLD.with_borrow(|world| world.metrics.get(&(chain::id::<P>(), name.to_owned())).cloned())
}

/// The lines that were logged so far, by all plugins.
pub fn log_lines() -> Vec<Line> {
    WORLD.with_borrow(|world| world.log.clone())
}

/// Whether a line of this level holds these words.
pub fn logged(level: Level, words: &str) -> bool {
    WORLD.with_borrow(|world| world.log.iter().any(|line| line.level == level && line.message.contains(words)))
}
