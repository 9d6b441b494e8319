//! What is told about exchanges and connections.

pub(crate) mod access_log;
pub(crate) mod finished;
pub(crate) mod log_text;
mod log_tls;
