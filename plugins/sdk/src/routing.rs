//! Where the exchange or the connection goes. Allowed where the head of the request may be changed, and in
//! `on_connect`.
//!
//! ```
//! # use odin_sdk::{Connect, Result, facts, routing};
//! fn on_connect() -> Result<Connect> {
//!     if facts::local_address().is_some_and(|address| address.port() == 7001) {
//!         routing::set_cluster("canary")?;
//!     }
//!     Ok(Connect::Continue)
//! }
//! ```

pub use crate::refusals::RoutingError;

/// Sends the exchange or the connection to this cluster. The last call counts.
pub fn set_cluster(name: &str) -> Result<(), RoutingError> {
    Ok(crate::host::routing::set_cluster(name)?)
}

/// Matches the routes of the listener again, with authority and path as they are now, and takes the cluster of what
/// matches. In a TCP connection the answer is [`RoutingError::NoRoute`].
pub fn rematch() -> Result<(), RoutingError> {
    Ok(crate::host::routing::rematch()?)
}
