//! What comes next on a client's connection: a head, another protocol, or something that has to be refused.

use super::head::{HeadError, HeadScanner};
use super::reader::Reader;
use super::request::{self, RequestHead};
use crate::error::{Error, Kind};
use crate::settings::Limits;

/// What begins every HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What came next on the connection.
pub(super) enum Arrival {
    Head(Box<RequestHead>),
    Http2,
    Refused(Error),
    Closed,
}

/// What the buffer begins with, once that is known.
pub(super) fn next_head(
    scanner: &mut HeadScanner,
    reader: &mut Reader,
    limits: &Limits,
    first: bool,
) -> Option<Arrival> {
    let buffer = &mut reader.buffer;
    if buffer.is_empty() || buffer.as_ref() == b"\r" {
        return None;
    }
    if first && HTTP2_PREFACE.starts_with(&buffer[..buffer.len().min(HTTP2_PREFACE.len())]) {
        return (buffer.len() >= HTTP2_PREFACE.len()).then_some(Arrival::Http2);
    }
    // TLS on a plain port, or noise: no need to wait for the end of a line.
    if !buffer[0].is_ascii_graphic() {
        return Some(Arrival::Refused(Error::new(Kind::MalformedRequest, "not HTTP")));
    }
    let head = match scanner.find_end(buffer, limits.head_bytes) {
        Ok(None) => return None,
        Ok(Some(end)) => request::parse(buffer.split_to(end).freeze(), limits.head_fields),
        Err(error) => Err(error),
    };
    Some(match head {
        Ok(head) => Arrival::Head(Box::new(head)),
        Err(error) => Arrival::Refused(Error::new(
            match error {
                HeadError::Malformed(_) => Kind::MalformedRequest,
                HeadError::TooLarge => Kind::HeadTooLarge,
                HeadError::Expectation => Kind::ExpectationFailed,
                HeadError::NotImplemented => Kind::NotImplemented,
            },
            error.to_string(),
        )),
    })
}
