//! Calls to clusters: endpoints and their health, balancing, pools, retries, and the connections of either version.

pub(crate) mod attempt;
pub(crate) mod balance;
pub(crate) mod call;
pub(crate) mod candidates;
pub(crate) mod cluster;
pub(crate) mod eligible;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod local;
pub(crate) mod pool;
pub(crate) mod stride;
pub(crate) mod sums;
