//! What hooks answer, in the host's own words: checked, so that the host can act without asking again.
//! Must hold plain data only.

use bytes::Bytes;
use http::HeaderMap;

/// What a header or trailer hook decided.
#[derive(Debug)]
pub enum Decision {
    /// Go on.
    Continue,
    /// Go on, and see the body so. Only from a header hook of a plugin that exports the body hook.
    Read(BodyMode),
    /// Answer with this.
    Reply(Box<Reply>),
    /// Refuse with 403; the reason is for the access log only.
    Reject(String),
    /// End the exchange without another byte; the reason is for the access log only.
    Cut(String),
}

/// What a header hook wants of the body that follows: `body-mode` of wit/types.wit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyMode {
    /// Nothing.
    Skip,
    /// Each piece as it comes.
    Stream,
    /// The whole body in one call, while the head goes on.
    Buffer,
    /// The whole body in one call, and the head waits for it.
    Hold,
}

/// A whole response from a plugin (or, from `outbound`, for one). Status and fields were checked and frame nothing:
/// `content-length` is the host's work.
#[derive(Debug)]
pub struct Reply {
    /// Status and fields.
    pub head: http::response::Parts,
    /// The whole body; may be empty.
    pub body: Bytes,
    /// Fields behind the body; usually none.
    pub trailers: HeaderMap,
}

/// What becomes of a piece of a body: `piece-decision` of wit/types.wit.
#[derive(Debug)]
pub enum PieceDecision {
    /// It goes on, with what was held back before it.
    Pass,
    /// This goes on in its place, and in place of what was held back.
    Replace(Bytes),
    /// It goes on, and this behind it.
    Append(Bytes),
    /// Keep it back for the next call. Never at the end.
    Hold,
    /// It goes on, and so does the rest: no further call for this body.
    Skip,
    /// As in [`Decision`].
    Reply(Box<Reply>),
    /// As in [`Decision`].
    Reject(String),
    /// As in [`Decision`].
    Cut(String),
}

/// What becomes of a piece of a TCP stream: `data-decision` of wit/tcp-data.wit.
#[derive(Debug, PartialEq, Eq)]
pub enum DataDecision {
    /// It goes on, with what was held back before it.
    Pass,
    /// This goes on in its place, and in place of what was held back.
    Replace(Bytes),
    /// It goes on, and this behind it.
    Append(Bytes),
    /// Keep it back for the next call. Never at the end.
    Hold,
    /// It goes on, and so does the rest: no further call for this direction.
    Skip,
    /// Close the connection; the reason is for the access log.
    Cut(String),
}

/// What becomes of a TCP connection: `connect-decision` of wit/connection.wit.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectDecision {
    /// Go on.
    Continue,
    /// Go on, and do not call this plugin's data hooks.
    SkipData,
    /// Close it; the reason is for the access log.
    Reject(String),
}
