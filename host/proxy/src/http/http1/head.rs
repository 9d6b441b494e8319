//! Finds the end of a head and reads its fields, strictly: CRLF ends a line and nothing else does.
//!
//! What one peer reads as one message and another as two is how requests are smuggled; so a head is either plain or
//! refused. This file knows the grammar; `request.rs` and `response.rs` know what the fields mean.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::fields::is_twin;

/// Why a head was refused. The words go to the log, and to the client when the head was its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("head too large")]
    TooLarge,
    #[error("expectation not supported")]
    Expectation,
    #[error("method not implemented")]
    NotImplemented,
}

pub(crate) type Result<T> = std::result::Result<T, HeadError>;

/// The most fields that any configured limit may allow: the size of the parser's table on the stack.
pub(crate) const MAX_FIELDS: usize = 256;

/// Remembers how much of the buffer was looked at, so that a head that arrives byte by byte costs linear time.
#[derive(Default)]
pub(crate) struct HeadScanner {
    looked_at: usize,
}

impl HeadScanner {
    /// The length of the head at the start of `buffer`, empty line included; none while it is incomplete.
    pub(crate) fn find_end(&mut self, buffer: &[u8], limit: usize) -> Result<Option<usize>> {
        while let Some(found) = memchr::memchr(b'\n', &buffer[self.looked_at..]) {
            let at = self.looked_at + found;
            if at == 0 || buffer[at - 1] != b'\r' {
                return Err(HeadError::Malformed("bare LF in the head"));
            }
            self.looked_at = at + 1;
            if at >= 3 && buffer[at - 2] == b'\n' {
                self.looked_at = 0;
                return if at < limit { Ok(Some(at + 1)) } else { Err(HeadError::TooLarge) };
            }
        }
        self.looked_at = buffer.len();
        if buffer.len() >= limit { Err(HeadError::TooLarge) } else { Ok(None) }
    }
}

/// How the body of a message is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// All bytes until the connection ends; responses only.
    UntilClose,
}

/// What the fields say that belong to the connection and not to the message. They never enter the [`HeaderMap`].
#[derive(Debug, Default)]
pub(crate) struct ConnectionFields {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    /// `Connection: upgrade` was there.
    pub(crate) upgrade_listed: bool,
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) transfer_encoding: bool,
    pub(crate) content_length: Option<u64>,
    pub(crate) te_trailers: bool,
    pub(crate) expect: Option<HeaderValue>,
    pub(crate) host: Option<HeaderValue>,
    named: Vec<HeaderName>,
}

/// Sorts the parsed fields into those of the connection and those of the message.
pub(crate) fn read_fields(
    head: &Bytes,
    fields: &[httparse::Header<'_>],
    chunked_allowed: bool,
) -> Result<(ConnectionFields, HeaderMap)> {
    let mut connection = ConnectionFields::default();
    // Room for what Odin adds on the way.
    let mut map = HeaderMap::with_capacity(fields.len() + 8);
    for field in fields {
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| HeadError::Malformed("control character in a field value"))?;
        if !connection.take(field.name, &value, chunked_allowed)? && !is_twin(field.name) {
            let name = HeaderName::from_bytes(field.name.as_bytes())
                .map_err(|_| HeadError::Malformed("invalid field name"))?;
            map.try_append(name, value).map_err(|_| HeadError::TooLarge)?;
        }
    }
    if connection.transfer_encoding && connection.content_length.is_some() {
        return Err(HeadError::Malformed("Content-Length beside Transfer-Encoding"));
    }
    for name in &connection.named {
        if name != header::CONTENT_LENGTH {
            map.remove(name);
        }
    }
    Ok((connection, map))
}

impl ConnectionFields {
    /// Takes the field in when it is one of the connection's; false when it belongs to the message.
    fn take(&mut self, name: &str, value: &HeaderValue, chunked_allowed: bool) -> Result<bool> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            2 if is("te") => self.te_trailers |= lists(value).any(|token| token.eq_ignore_ascii_case("trailers")),
            4 if is("host") => {
                if self.host.replace(value.clone()).is_some() {
                    return Err(HeadError::Malformed("more than one Host"));
                }
            }
            6 if is("expect") => self.expect = Some(value.clone()),
            7 if is("upgrade") => {
                if self.upgrade.replace(value.clone()).is_some() {
                    return Err(HeadError::Malformed("more than one Upgrade"));
                }
            }
            10 if is("connection") => self.connection(value)?,
            10 if is("keep-alive") => {}
            16 if is("proxy-connection") => {}
            14 if is("content-length") => {
                if self.content_length.replace(parse_length(value)?).is_some() {
                    return Err(HeadError::Malformed("more than one Content-Length"));
                }
                return Ok(false);
            }
            17 if is("transfer-encoding") => {
                if self.transfer_encoding || !chunked_allowed || value.as_bytes() != b"chunked" {
                    return Err(HeadError::Malformed("Transfer-Encoding is not exactly `chunked`"));
                }
                self.transfer_encoding = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn connection(&mut self, value: &HeaderValue) -> Result<()> {
        // What nearly every client sends.
        if value == "keep-alive" {
            self.keep_alive = true;
            return Ok(());
        }
        for token in lists(value) {
            match token {
                "" => {}
                t if t.eq_ignore_ascii_case("close") => self.close = true,
                t if t.eq_ignore_ascii_case("keep-alive") => self.keep_alive = true,
                t if t.eq_ignore_ascii_case("upgrade") => self.upgrade_listed = true,
                t => self.named.push(
                    HeaderName::from_bytes(t.as_bytes())
                        .map_err(|_| HeadError::Malformed("Connection names something that is no field"))?,
                ),
            }
        }
        if value.to_str().is_err() {
            return Err(HeadError::Malformed("Connection holds bytes outside ASCII"));
        }
        Ok(())
    }
}

/// The elements of a comma-separated list (RFC 9110, section 5.6.1).
pub(crate) fn lists(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or("").split(',').map(|token| token.trim_matches([' ', '\t']))
}

/// `Content-Length`: digits only, no sign, no list, no superfluous zero.
pub(crate) fn parse_length(value: &HeaderValue) -> Result<u64> {
    let digits = value.as_bytes();
    let plain = !digits.is_empty()
        && digits.len() <= 19
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits[0] != b'0');
    if !plain {
        return Err(HeadError::Malformed("invalid Content-Length"));
    }
    Ok(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Whether this is a host with an optional port, and nothing else (RFC 9110, section 7.2; no user information).
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let host_end = if bytes.first() == Some(&b'[') {
        let Some(close) = memchr::memchr(b']', bytes) else { return false };
        let inside = &bytes[1..close];
        if !std::str::from_utf8(inside).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()) {
            return false;
        }
        close + 1
    } else {
        let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(b);
        if end == 0 || !bytes[..end].iter().all(plain) {
            return false;
        }
        end
    };
    match &bytes[host_end..] {
        [] => true,
        [b':', port @ ..] => {
            (1..=5).contains(&port.len())
                && port.iter().all(u8::is_ascii_digit)
                && port.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 65_535
        }
        _ => false,
    }
}

/// Whether two authorities name the same host and port: without regard to case, and with the port that the scheme has
/// when none is written (RFC 9110, section 4.2.3).
pub(crate) fn same_authority(one: &[u8], other: &[u8], scheme: Option<&str>) -> bool {
    let default: &[u8] = if scheme == Some("https") { b":443" } else { b":80" };
    let bare = |authority: &[u8]| authority.strip_suffix(default).unwrap_or(authority).to_ascii_lowercase();
    one.eq_ignore_ascii_case(other) || bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_the_empty_line_however_it_arrives() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let mut scanner = HeadScanner::default();
        for end in 0..head.len() - 5 {
            assert_eq!(scanner.find_end(&head[..end], 1000), Ok(None), "{end}");
        }
        assert_eq!(scanner.find_end(head, 1000), Ok(Some(head.len() - 4)));
    }

    #[test]
    fn a_bare_lf_is_refused_at_once() {
        let refused = Err(HeadError::Malformed("bare LF in the head"));
        assert_eq!(HeadScanner::default().find_end(b"GET / HTTP/1.1\n", 100), refused);
        assert_eq!(HeadScanner::default().find_end(b"GET / HTTP/1.1\r\n\n", 100), refused);
    }

    #[test]
    fn a_head_over_the_limit_is_too_large() {
        assert_eq!(HeadScanner::default().find_end(&[b'a'; 100], 100), Err(HeadError::TooLarge));
    }

    #[test]
    fn a_default_port_makes_no_difference() {
        for (one, other, scheme, same) in [
            ("A.b", "a.B:80", Some("http"), true),
            ("a", "a:80", None, true),
            ("a:443", "a", Some("https"), true),
            ("a:80", "a", Some("https"), false),
            ("a:8080", "a", Some("http"), false),
            ("[::1]:80", "[::1]", Some("http"), true),
            ("a:80:80", "a", Some("http"), false),
        ] {
            assert_eq!(same_authority(one.as_bytes(), other.as_bytes(), scheme), same, "{one} {other} {scheme:?}");
        }
    }

    #[test]
    fn authorities() {
        for good in ["a", "a.b:80", "[::1]", "[::1]:8080", "127.0.0.1:1", "xn--a", "a_b"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in
            ["", ":80", "a:", "a:b", "a:99999", "u@a", "a b", "a/b", "[::1", "[zz]", "[::1]x", "a,b:80:80", "a?b"]
        {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
