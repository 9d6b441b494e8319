//! HTTP/1.1, both sides (RFC 9112). A codec of Odin's own: it refuses what could be read in two ways, and it needs no
//! task and no channel between the downstream and the upstream (docs/decisions/0001-own-http1-codec.md).
//!
//! Nothing outside this module knows what an HTTP/1 connection is: the exchange sees `http` types and a [`crate::body::Body`].

mod arrival;
mod chunk_ext;
pub(crate) mod chunked;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod encode;
pub(crate) mod framing;
pub(crate) mod halves;
pub(crate) mod head;
pub(crate) mod reader;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod server;
mod websocket;
pub(crate) mod writer;
