//! The chunked coding (RFC 9112, section 7.1), strictly: CRLF everywhere, hexadecimal digits only, small extensions.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::fields::is_token;
use crate::http::http1::chunk_ext;
use crate::http::http1::framing::{BodyError, Piece};

/// The longest line that may carry a chunk's size and its extensions.
const MAX_SIZE_LINE: usize = 256;
/// All extensions of a body together: more is an attack on those who parse them.
const MAX_EXTENSIONS: usize = 8 * 1024;

#[derive(Debug)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

/// A decoder in the middle of a chunked body.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    extensions: usize,
    max_trailers: usize,
}

impl Chunked {
    pub(crate) fn new(max_trailers: usize) -> Self {
        Chunked { state: State::Size, extensions: 0, max_trailers }
    }

    /// Takes the next piece off the front of `buffer`.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Piece, BodyError> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = line_end(buffer, MAX_SIZE_LINE, "chunk size line too long")? else {
                        return Ok(Piece::Incomplete);
                    };
                    let (size, extension) = parse_size(&buffer[..line])?;
                    self.extensions += extension;
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(BodyError::Malformed("chunk extensions too large"));
                    }
                    buffer.advance(line + 2);
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    if take == 0 {
                        return Ok(Piece::Incomplete);
                    }
                    let left = left - take as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Piece::Data(buffer.split_to(take).freeze()));
                }
                State::DataEnd => {
                    match buffer.len() {
                        0 => return Ok(Piece::Incomplete),
                        1 if buffer[0] == b'\r' => return Ok(Piece::Incomplete),
                        _ if buffer.starts_with(b"\r\n") => buffer.advance(2),
                        _ => return Err(BodyError::Malformed("no CRLF after a chunk")),
                    }
                    self.state = State::Size;
                }
                State::Trailers => return self.trailers(buffer),
            }
        }
    }

    fn trailers(&mut self, buffer: &mut BytesMut) -> Result<Piece, BodyError> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            return Ok(Piece::End);
        }
        let mut at = 0;
        loop {
            let limit = self.max_trailers.saturating_sub(at);
            let Some(line) = line_end(&buffer[at..], limit, "trailers too large")? else {
                return Ok(Piece::Incomplete);
            };
            at += line + 2;
            if line == 0 {
                let section = buffer.split_to(at);
                return parse_trailers(&section).map(Piece::Trailers);
            }
        }
    }
}

/// The length of the line at the start of `buffer`, without its CRLF; none while it is incomplete.
fn line_end(buffer: &[u8], limit: usize, too_long: &'static str) -> Result<Option<usize>, BodyError> {
    match memchr::memchr2(b'\n', b'\r', buffer) {
        Some(at) if at > limit => Err(BodyError::Malformed(too_long)),
        Some(at) if buffer[at] == b'\n' => Err(BodyError::Malformed("bare LF in the chunked coding")),
        Some(at) => match buffer.get(at + 1) {
            Some(b'\n') => Ok(Some(at)),
            Some(_) => Err(BodyError::Malformed("bare CR in the chunked coding")),
            None => Ok(None),
        },
        None if buffer.len() > limit => Err(BodyError::Malformed(too_long)),
        None => Ok(None),
    }
}

/// The size, and the length of the extensions that follow it.
fn parse_size(line: &[u8]) -> Result<(u64, usize), BodyError> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 15 {
        return Err(BodyError::Malformed("invalid chunk size"));
    }
    let extension = &line[digits..];
    if !chunk_ext::is_valid(extension) {
        return Err(BodyError::Malformed("invalid chunk extension"));
    }
    let digit = |b: &u8| (*b as char).to_digit(16).map_or(0, u64::from);
    Ok((line[..digits].iter().fold(0, |sum, b| sum << 4 | digit(b)), extension.len()))
}

fn parse_trailers(section: &[u8]) -> Result<HeaderMap, BodyError> {
    const MALFORMED: BodyError = BodyError::Malformed("malformed trailers");
    let mut table = [httparse::EMPTY_HEADER; 256];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut table) else {
        return Err(MALFORMED);
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| MALFORMED)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| MALFORMED)?;
        if !is_forbidden_trailer(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

/// Fields that must not come after the body, and are dropped there (RFC 9110, section 6.5.1): those that frame, route
/// or authenticate, and those by which Odin vouches for the client. So are those whose name HTTP/1 cannot carry.
pub(crate) fn is_forbidden_trailer(name: &HeaderName) -> bool {
    !is_token(name)
        || name.as_str().starts_with("x-forwarded-")
        || matches!(name.as_str(), "x-real-ip" | "x-request-id")
        || [
            header::TRANSFER_ENCODING,
            header::CONTENT_LENGTH,
            header::HOST,
            header::CONNECTION,
            header::TE,
            header::TRAILER,
            header::UPGRADE,
            header::EXPECT,
            header::AUTHORIZATION,
            header::SET_COOKIE,
            header::COOKIE,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CONTENT_RANGE,
            header::FORWARDED,
        ]
        .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(input: &[u8], step: usize) -> Result<(Vec<u8>, Option<HeaderMap>), BodyError> {
        let mut chunked = Chunked::new(1024);
        let (mut buffer, mut data) = (BytesMut::new(), Vec::new());
        let mut input = input.chunks(step);
        loop {
            match chunked.decode(&mut buffer)? {
                Piece::Data(bytes) => data.extend_from_slice(&bytes),
                Piece::End => return Ok((data, None)),
                Piece::Trailers(map) => return Ok((data, Some(map))),
                Piece::Incomplete => match input.next() {
                    Some(more) => buffer.extend_from_slice(more),
                    None => return Err(BodyError::Truncated),
                },
            }
        }
    }

    #[test]
    fn chunks_and_trailers_in_steps_of_any_size() {
        let body = b"3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n";
        for step in 1..body.len() {
            let (data, trailers) = decode_all(body, step).unwrap();
            assert_eq!(data, b"abc0123456789");
            assert_eq!(trailers.unwrap()["x-t"], "1");
        }
    }

    #[test]
    fn what_is_refused() {
        let long = [b"1;".as_slice(), &[b'a'; 300], b"\r\nx\r\n0\r\n\r\n"].concat();
        let trailers = [b"0\r\nA: ".as_slice(), &[b'a'; 2000], b"\r\n\r\n"].concat();
        for body in [
            b"+1\r\na\r\n0\r\n\r\n".as_slice(),
            b"0x1\r\na\r\n0\r\n\r\n",
            b" 1\r\na\r\n0\r\n\r\n",
            b"1 \r\na\r\n0\r\n\r\n",
            b"\r\na\r\n0\r\n\r\n",
            b"1\na\r\n0\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"1\r\na\n0\r\n\r\n",
            b"ffffffffffffffff1\r\na",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\n b\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            &long,
            &trailers,
        ] {
            let refused = decode_all(body, 7);
            assert!(
                matches!(refused, Err(BodyError::Malformed(_))),
                "{:?} {refused:?}",
                body.escape_ascii().to_string()
            );
        }
    }
}
