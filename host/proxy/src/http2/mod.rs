//! HTTP/2 by hyper, with prior knowledge, both sides. Nothing outside this module names a hyper connection.

pub(crate) mod activity;
mod bodies;
pub(crate) mod client;
pub(crate) mod io;
pub(crate) mod sender;
pub(crate) mod server;
pub(crate) mod shared;
mod stream_body;
