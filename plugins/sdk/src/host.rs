//! The one place that knows who the host is: Odin, by the imports of the component, or in a plugin's own tests the
//! simulated host of `testing`. Both have the same functions under the same paths.
//!
//! Every other module of the SDK asks through here and never names a backend.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::imports::{
    body, clock, config, context, endpoints, log, metrics, outbound, random, request, response, routing, shared,
    trailers,
};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::host::{
    body, clock, config, context, endpoints, log, metrics, outbound, random, request, response, routing, shared,
    trailers,
};
