//! Bytes from and to peers, and time.

pub(crate) mod clock;
pub(crate) mod hyper_io;
pub(crate) mod timer;
