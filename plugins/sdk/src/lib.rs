//! Write Odin plugins in Rust. This is a whole one:
//!
//! ```
//! #[derive(Default)]
//! struct Empty;
//!
//! #[odin_sdk::plugin]
//! impl odin_sdk::Plugin for Empty {
//!     fn on_request_headers(&self, _request: &odin_sdk::Request) -> odin_sdk::Result {
//!         Ok(odin_sdk::Decision::Continue)
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! A plugin is a type and one `impl` of [`Plugin`], with a method for each hook that it wants. Only those are exported,
//! and only the host functions that are called are imported; the host reads both from the component. Small plugins may
//! be written as closures: [`hooks!`].
//!
//! | to | use |
//! |---|---|
//! | read and change the message | [`Request`], [`Response`], [`Body`], [`Trailers`] |
//! | decide | [`Decision`], [`Reply`], [`Piece`]; for TCP [`Connect`], [`Data`]; for a balancer [`Endpoints`]; for steering [`steer`] |
//! | send it elsewhere | [`Request::set_cluster`], [`Request::rematch_route`], [`routing`] |
//! | remember something about the exchange | [`context`]; what the host knows of it: [`facts`] |
//! | share state over exchanges and workers | [`SharedCounter`], [`shared`] |
//! | call another service | [`outbound`] |
//! | report | [`info!`] and its like, [`metrics`] |
//! | and | [`clock`], [`random`], [`config`] |
//! | test a plugin without a proxy | `testing` |
//!
//! Guest memory forgets: any instance may serve any call, and an instance may be thrown away between two calls. What a
//! later hook of the same exchange needs goes into [`context`]; what all workers share into [`shared`].
//!
//! The crate must never hold state of an exchange, and never import a host function for a plugin that did not call it.

// The macros write `::odin_sdk`, in this crate's own tests too.
extern crate self as odin_sdk;

#[doc(hidden)]
pub mod bindings;
mod body;
pub mod clock;
mod closures;
pub mod config;
pub mod context;
mod decisions;
mod ended;
mod endpoints;
mod error;
mod export;
pub mod facts;
mod heads;
mod host;
mod log;
pub mod metrics;
pub mod outbound;
mod panics;
mod plugin;
pub mod random;
mod refusals;
pub mod routing;
pub mod shared;
pub mod steer;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod weights;

/// What the macros name. No part of the SDK.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::*;
}

pub use body::Body;
pub use decisions::{BodyMode, Connect, Data, Decision, Field, Piece, Reply};
pub use ended::Ended;
pub use endpoints::{Endpoints, Subject};
pub use error::{Error, Result};
pub use heads::{Request, Response, Trailers};
pub use log::{Level, log};
pub use odin_sdk_macros::plugin;
pub use plugin::Plugin;
pub use refusals::FieldError;
pub use routing::RoutingError;
pub use shared::SharedCounter;
pub use weights::Weights;
