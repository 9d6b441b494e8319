//! HTTP messages: heads, fields, bodies, framing. Used by both sides; knows neither connections nor plugins.

pub(crate) mod body;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod path;
pub(crate) mod upload;
