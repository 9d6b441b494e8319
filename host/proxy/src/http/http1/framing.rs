//! Cuts a body out of the bytes of a connection, by length, by chunks or up to its end.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::http::http1::chunked::Chunked;
use crate::http::http1::head::Framing;

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The bytes are no body: never forward the rest.
    #[error("{0}")]
    Malformed(&'static str),
    /// The connection ended inside the body.
    #[error("connection closed inside the body")]
    Truncated,
}

/// What the next bytes are.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// More bytes are needed.
    Incomplete,
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// Where in the body the connection is.
#[derive(Debug)]
pub(crate) enum Decoder {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    End,
}

impl Decoder {
    /// `max_trailers` is in bytes.
    pub(crate) fn new(framing: Framing, max_trailers: usize) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Decoder::End,
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(Chunked::new(max_trailers)),
            Framing::UntilClose => Decoder::UntilClose,
        }
    }

    /// True when the body is complete.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Decoder::End)
    }

    /// The bytes still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Decoder::Length(left) => Some(*left),
            Decoder::End => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece off the front of `buffer`. `ended` says that no more bytes will come.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut, ended: bool) -> Result<Piece, BodyError> {
        let piece = match self {
            Decoder::End => return Ok(Piece::End),
            Decoder::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                if take == 0 {
                    Piece::Incomplete
                } else {
                    *left -= take as u64;
                    if *left == 0 {
                        *self = Decoder::End;
                    }
                    Piece::Data(buffer.split_to(take).freeze())
                }
            }
            Decoder::Chunked(chunked) => {
                let piece = chunked.decode(buffer)?;
                if matches!(piece, Piece::End | Piece::Trailers(_)) {
                    *self = Decoder::End;
                }
                piece
            }
            Decoder::UntilClose if !buffer.is_empty() => Piece::Data(buffer.split().freeze()),
            Decoder::UntilClose if ended => {
                *self = Decoder::End;
                Piece::End
            }
            Decoder::UntilClose => Piece::Incomplete,
        };
        if ended && piece == Piece::Incomplete { Err(BodyError::Truncated) } else { Ok(piece) }
    }
}
