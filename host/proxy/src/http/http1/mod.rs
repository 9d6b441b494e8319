//! HTTP/1.1 as bytes, for both sides (RFC 9112). A codec of Odin's own: it refuses what could be read in two ways
//! (docs/decisions/0001-own-http1-codec.md).

pub(crate) mod chunk_ext;
pub(crate) mod chunked;
pub(crate) mod encode;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod reader;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod websocket;
pub(crate) mod writer;
