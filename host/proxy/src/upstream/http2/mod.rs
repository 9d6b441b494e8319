//! HTTP/2 to an endpoint, by hyper, with prior knowledge.

pub(crate) mod client;
pub(crate) mod sender;
pub(crate) mod shared;
