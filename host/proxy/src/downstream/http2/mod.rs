//! HTTP/2 from clients, by hyper, with prior knowledge.

pub(crate) mod activity;
pub(crate) mod server;
pub(crate) mod stream_body;
