//! What a hook answers: the decisions of `wit/types.wit`, with short ways to write them.
//!
//! These types say no more than their twins in the contract; the conversions move and never copy.

use crate::bindings::imports::types as wit;

pub use wit::BodyMode;

/// A field of a reply or an answer: its name and its value, which is bytes.
pub type Field = (String, Vec<u8>);

/// An answer that a plugin gives in place of the upstream. Framing fields are the host's work, and refused here.
///
/// ```
/// # use odin_sdk::Reply;
/// let hello = Reply::new(200).with_field("content-type", "text/plain").with_body("hello\n");
/// assert_eq!(hello.body, b"hello\n");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// Fields, in order.
    pub fields: Vec<Field>,
    /// The whole body; may be empty.
    pub body: Vec<u8>,
    /// Fields behind the body; usually none.
    pub trailers: Vec<Field>,
}

impl Reply {
    /// An empty reply with this status, 200 to 599.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Adds a field.
    pub fn with_field(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Replaces the body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a field behind the body.
    pub fn with_trailer(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.trailers.push((name.into(), value.into()));
        self
    }
}

/// What happens next to the exchange: the answer of header and trailer hooks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Go on to the next plugin, and in the end to the upstream (or the client).
    Continue,
    /// Go on, and see the body so. Only from a header hook; without the body hook it means `Continue`.
    Read(BodyMode),
    /// Answer the client with this.
    Reply(Reply),
    /// Refuse the exchange with 403 (or cut it, when the client has a head already). The reason goes into the access
    /// log, not to the client.
    Reject(String),
    /// End the exchange without another byte. The reason goes into the access log.
    Cut(String),
}

impl Decision {
    /// Go on, and see the body that follows in this way: `Decision::read(BodyMode::Hold)`.
    pub fn read(mode: BodyMode) -> Self {
        Self::Read(mode)
    }

    /// Refuse: `Decision::reject("no credentials")`.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }

    /// End it here: `Decision::cut("abuse")`.
    pub fn cut(reason: impl Into<String>) -> Self {
        Self::Cut(reason.into())
    }
}

/// What becomes of a piece of a body: the answer of body hooks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// It goes on as it is, with what was held back before it.
    Pass,
    /// This goes on in its place, and in place of what was held back. Empty drops it.
    Replace(Vec<u8>),
    /// It goes on, and this behind it.
    Append(Vec<u8>),
    /// Keep it back: the next call sees it again with what came since. At the end of the body it means `Pass`.
    Hold,
    /// It goes on, and so does the rest: the hook is not called for this body again.
    Skip,
    /// Answer the client with this. The exchange is cut when the client has the head of a response already.
    Reply(Reply),
    /// Refuse the exchange with 403, or cut it.
    Reject(String),
    /// End the exchange without another byte.
    Cut(String),
}

impl Piece {
    /// This goes on in place of the piece: `Piece::replace(body.bytes().to_ascii_uppercase())`.
    pub fn replace(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Replace(bytes.into())
    }

    /// It goes on, and this behind it: `Piece::append("\n")`.
    pub fn append(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Append(bytes.into())
    }

    /// The piece does not go on.
    pub fn drop() -> Self {
        Self::Replace(Vec::new())
    }

    /// Refuse the exchange.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }

    /// End it here.
    pub fn cut(reason: impl Into<String>) -> Self {
        Self::Cut(reason.into())
    }
}

/// What becomes of a piece of a TCP stream: the answer of the data hooks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Data {
    /// It goes on as it is, with what was held back before it.
    Pass,
    /// This goes on in its place, and in place of what was held back. Empty drops it.
    Replace(Vec<u8>),
    /// It goes on, and this behind it.
    Append(Vec<u8>),
    /// Keep it back: the next call sees it again with what came since.
    Hold,
    /// It goes on, and so does the rest: the hook is not called for this direction again.
    Skip,
    /// Close the connection. The reason goes into the access log.
    Cut(String),
}

impl Data {
    /// This goes on in place of the piece.
    pub fn replace(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Replace(bytes.into())
    }

    /// It goes on, and this behind it.
    pub fn append(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Append(bytes.into())
    }

    /// Close the connection: `Data::cut("not TLS")`.
    pub fn cut(reason: impl Into<String>) -> Self {
        Self::Cut(reason.into())
    }
}

/// What becomes of a TCP connection: the answer of `on_connect`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Connect {
    /// Go on to the next plugin, and in the end to the endpoint.
    Continue,
    /// Go on, and do not call this plugin's data hooks.
    SkipData,
    /// Close it. The reason goes into the access log.
    Reject(String),
}

impl Connect {
    /// Close it: `Connect::reject("not from here")`.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }
}

impl From<Reply> for Decision {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<Reply> for Piece {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<Reply> for wit::Response {
    fn from(Reply { status, fields, body, trailers }: Reply) -> Self {
        Self { status, fields, body, trailers }
    }
}

impl From<wit::Response> for Reply {
    fn from(wit::Response { status, fields, body, trailers }: wit::Response) -> Self {
        Self { status, fields, body, trailers }
    }
}

impl From<Decision> for wit::Decision {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Continue => Self::Continue,
            Decision::Read(mode) => Self::Read(mode),
            Decision::Reply(reply) => Self::Reply(reply.into()),
            Decision::Reject(reason) => Self::Reject(reason),
            Decision::Cut(reason) => Self::Cut(reason),
        }
    }
}

impl From<Piece> for wit::PieceDecision {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Pass => Self::Pass,
            Piece::Replace(bytes) => Self::Replace(bytes),
            Piece::Append(bytes) => Self::Append(bytes),
            Piece::Hold => Self::Hold,
            Piece::Skip => Self::Skip,
            Piece::Reply(reply) => Self::Reply(reply.into()),
            Piece::Reject(reason) => Self::Reject(reason),
            Piece::Cut(reason) => Self::Cut(reason),
        }
    }
}
