//! Write Odin plugins in Rust.
//!
//! A plugin is a type, and one `impl` block for each hook that it wants. Only those hooks are exported, and only the
//! host functions that are called are imported; the host reads both from the component. This is a whole plugin:
//!
//! ```
//! use odin_sdk::{Decision, RequestHead, RequestHeaders};
//!
//! struct Guard;
//!
//! #[odin_sdk::plugin]
//! impl RequestHeaders for Guard {
//!     fn on_request_headers(head: &RequestHead) -> Decision {
//!         if head.has("authorization") { Decision::Continue } else { Decision::reject("no credentials") }
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! Hooks have no `self`: any instance may serve any call, and an instance may be thrown away between two calls. What a
//! later hook of the same exchange needs goes into [`context`]; what all workers share into a [`SharedCounter`].
//! Values of an instance's own (parsed config, tables) live in a `static OnceLock` that [`Lifecycle::configure`] fills.
//!
//! The crate must never hold state of an exchange, and never import a host function for a plugin that did not call it.

#[doc(hidden)]
pub mod bindings;
pub mod clock;
pub mod config;
pub mod context;
mod counters;
mod endpoints;
mod heads;
mod hooks;
mod log;
mod response;
mod weights;

pub use bindings::balancer_world::balancer::Subject;
pub use bindings::imports::types::{
    Connection, Decision, Endpoints, Field, FieldError, RequestHead, Response, ResponseHead,
};
pub use counters::{MetricCounter, SharedCounter};
pub use hooks::{Balancer, Lifecycle, RequestHeaders, ResponseHeaders};
pub use log::{Level, log};
pub use odin_sdk_macros::plugin;
pub use weights::Weights;
