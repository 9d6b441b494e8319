//! Connections, how they end, bytes from and to peers, and time.

pub(crate) mod clock;
pub(crate) mod conn;
pub(crate) mod connector;
pub(crate) mod drain;
pub(crate) mod hyper_io;
#[cfg(test)]
pub(crate) mod pair;
pub(crate) mod proxy_header;
pub(crate) mod timer;
pub mod tls;
