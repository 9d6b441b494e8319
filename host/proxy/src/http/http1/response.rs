//! The head of a response as a client reads it: what may be forwarded, and how its body is delimited.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, Version, response};

use crate::http::http1::head::{Framing, HeadError, MAX_FIELDS, Result, read_fields};
use crate::http::http1::request::words;

/// A checked response head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    /// Status and the fields of the message; no field of the connection.
    pub(crate) parts: response::Parts,
    pub(crate) framing: Framing,
    /// The upstream will keep the connection.
    pub(crate) keep_alive: bool,
    /// The protocol of a `101`.
    pub(crate) upgrade: Option<HeaderValue>,
}

/// Reads a whole head, from the status line to the empty line. `method` is what was asked.
pub(crate) fn parse(head: Bytes, max_fields: usize, method: &Method) -> Result<ResponseHead> {
    let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let room = table.len().min(max_fields);
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &head, &mut table[..room]) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(HeadError::Malformed("incomplete head")),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(error) => return Err(HeadError::Malformed(words(error))),
    }
    let version = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    // httparse skips empty lines before the status line and extra spaces in it.
    if !head.starts_with(b"HTTP/1.") || !head.get(8..13).is_some_and(|rest| rest[0] == b' ' && rest[1].is_ascii_digit())
    {
        return Err(HeadError::Malformed("invalid status line"));
    }
    let status = parsed
        .code
        .filter(|code| (100..=599).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(HeadError::Malformed("invalid status"))?;
    let (fields, headers) = read_fields(&head, parsed.headers, version == Version::HTTP_11)?;
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD;
    if fields.transfer_encoding && (status.is_informational() || status == StatusCode::NO_CONTENT) {
        return Err(HeadError::Malformed("Transfer-Encoding on a response without a body"));
    }
    let framing = match (bodiless, fields.transfer_encoding, fields.content_length) {
        (true, _, _) | (false, false, Some(0)) => Framing::None,
        (false, true, _) => Framing::Chunked,
        (false, false, Some(length)) => Framing::Length(length),
        (false, false, None) => Framing::UntilClose,
    };
    let keep_alive = framing != Framing::UntilClose
        && match version {
            Version::HTTP_11 => !fields.close,
            _ => fields.keep_alive && !fields.close,
        };
    let mut parts = Response::new(()).into_parts().0;
    (parts.status, parts.version, parts.headers) = (status, version, headers);
    Ok(ResponseHead { parts, framing, keep_alive, upgrade: fields.upgrade.filter(|_| fields.upgrade_listed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_str(text: &str) -> Result<ResponseHead> {
        parse(Bytes::copy_from_slice(text.as_bytes()), 100, &Method::GET)
    }

    #[test]
    fn how_bodies_are_delimited() {
        for (text, framing) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::None),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Framing::None),
        ] {
            assert_eq!(parse_str(text).unwrap().framing, framing, "{text:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/1.1 600 High\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        ] {
            assert!(parse_str(text).is_err(), "{text:?}");
        }
    }
}
