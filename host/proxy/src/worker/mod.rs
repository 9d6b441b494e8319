//! The workers: started, told what to serve, drained.

pub(crate) mod outbound;
pub(crate) mod proxy;
pub(crate) mod serving;
