//! What hooks answer, in the host's own words: checked, so that the host can act without asking again.
//! Plain data only.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use crate::fields::{Refused, checked};

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

/// Fields as a filter gives them: names and values.
type List = [(String, Vec<u8>)];

impl Reply {
    /// A reply by what a filter says, or what is wrong with it: it must not break the framing of the receiver's connection.
    #[cold]
    pub fn checked(code: u16, fields: &List, body: Bytes, trailers: &List, max_bytes: usize) -> Result<Self, String> {
        let status = match StatusCode::from_u16(code) {
            Ok(status) if (200..=599).contains(&code) => status,
            _ => return Err(format!("a reply with status {code}, which is not 200 to 599")),
        };
        if matches!(code, 204 | 205 | 304) && !(body.is_empty() && trailers.is_empty()) {
            return Err(format!("a reply with status {code} and a body"));
        }
        let in_words = |what: Refused<'_>| match what {
            Refused::Field(name, error) => format!("a reply whose field {name:?} is refused: {}", error.in_words()),
            Refused::TooLarge => format!("a reply with a head over {max_bytes} bytes"),
        };
        let headers = checked(fields, max_bytes).map_err(in_words)?;
        let trailers = checked(trailers, max_bytes).map_err(in_words)?;
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = status;
        head.headers = headers;
        Ok(Reply { head, body, trailers })
    }
}

/// What becomes of a piece of a body, or of a TCP stream: `piece-decision` of wit/types.wit and `data-decision` of
/// wit/tcp-data.wit, which has some of it.
#[derive(Debug)]
pub enum PieceDecision {
    /// It goes on, with what was held back before it.
    Pass,
    /// This goes on in its place, and in place of what was held back.
    Replace(Bytes),
    /// It goes on, and this behind it.
    Append(Bytes),
    /// Keep it back for the next call. At the end it means `Pass`.
    Hold,
    /// It goes on, and so does the rest: no further call for this body or direction.
    Skip,
    /// As in [`Decision`].
    Reply(Box<Reply>),
    /// As in [`Decision`].
    Reject(String),
    /// As in [`Decision`].
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
