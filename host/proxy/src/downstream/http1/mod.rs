//! HTTP/1.1 from clients.

pub(crate) mod arrival;
pub(crate) mod halves;
pub(crate) mod server;
