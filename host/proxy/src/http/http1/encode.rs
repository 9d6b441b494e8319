//! Writes heads, chunks and trailers. Must never write a byte that came from a peer unchecked: every name and value
//! here is an `http` type, which holds no CR, LF or NUL.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::http::head::{Head, Wishes};
use crate::http::http1::writer::Encoding;

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The fields of the message; `content-length` is left to the caller's encoding.
fn fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        if name != header::CONTENT_LENGTH {
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn length(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(b"content-length: ");
    number(out, value);
    out.extend_from_slice(b"\r\n");
}

/// What goes on the wire of a request.
pub(crate) struct RequestLine<'a> {
    pub(crate) head: &'a Head,
    pub(crate) encoding: Encoding,
    pub(crate) wishes: &'a Wishes,
    /// The body follows when the upstream says so.
    pub(crate) expect_continue: bool,
    /// The connection has no other request after it.
    pub(crate) close: bool,
}

/// A request head for an upstream, in origin form.
pub(crate) fn request_head(out: &mut Vec<u8>, line: &RequestLine<'_>) {
    let Head { parts, authority, .. } = line.head;
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    field(out, b"host", authority.as_bytes());
    fields(out, &parts.headers);
    match line.encoding {
        Encoding::Length(value) => length(out, value),
        Encoding::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // A method that usually has a body says that it has none (RFC 9110, section 8.6).
        Encoding::None if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => length(out, 0),
        Encoding::None | Encoding::UntilClose => {}
    }
    if line.expect_continue {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    if let Some(protocol) = &line.wishes.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
        field(out, b"upgrade", protocol.as_bytes());
    } else {
        match (line.wishes.trailers, line.close) {
            (true, true) => out.extend_from_slice(b"connection: te, close\r\nte: trailers\r\n"),
            (true, false) => out.extend_from_slice(b"connection: te\r\nte: trailers\r\n"),
            (false, true) => out.extend_from_slice(b"connection: close\r\n"),
            (false, false) => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// What the downstream is told about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// HTTP/1.1 and staying open: nothing to say.
    Implied,
    /// HTTP/1.0 and staying open.
    KeepAlive,
    Close,
}

/// A response head for a client.
pub(crate) fn response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    encoding: Encoding,
    persistence: Persistence,
) {
    status_line(out, status);
    fields(out, headers);
    match encoding {
        Encoding::Length(value) => length(out, value),
        Encoding::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // To HEAD, or a 304: the length that a body would have had.
        Encoding::None if status != StatusCode::NO_CONTENT => {
            if let Some(value) = headers.get(header::CONTENT_LENGTH) {
                field(out, b"content-length", value.as_bytes());
            }
        }
        Encoding::None | Encoding::UntilClose => {}
    }
    match persistence {
        Persistence::Implied => {}
        Persistence::KeepAlive => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Persistence::Close => out.extend_from_slice(b"connection: close\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of an interim response; a `101` has its own.
pub(crate) fn interim_head(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    status_line(out, status);
    fields(out, headers);
    out.extend_from_slice(b"\r\n");
}

/// The head of a `101`.
pub(crate) fn switching_head(out: &mut Vec<u8>, headers: &HeaderMap, protocol: &HeaderValue) {
    status_line(out, StatusCode::SWITCHING_PROTOCOLS);
    fields(out, headers);
    out.extend_from_slice(b"connection: upgrade\r\n");
    field(out, b"upgrade", protocol.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk's data.
pub(crate) fn chunk_size(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (4 * place) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The last chunk and the trailers.
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        field(out, HeaderName::as_str(name).as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for value in [0, 9, 10, 15, 16, 255, 256, 65_536, 1 << 40] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
            let mut out = Vec::new();
            chunk_size(&mut out, value as usize);
            assert_eq!(out, format!("{value:x}\r\n").as_bytes());
        }
    }
}
