//! HTTP/1.1 to an endpoint.

pub(crate) mod client;
pub(crate) mod connection;
