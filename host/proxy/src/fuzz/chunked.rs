//! Chunked bodies: in pieces as at once, never a byte beyond the end, and the same content as the simplest reader finds.

use bytes::BytesMut;
use http::HeaderMap;

use super::latin1;
use crate::http::http1::chunked::Chunked;
use crate::http::http1::encode;
use crate::http::http1::framing::{BodyError, Piece};

const MAX_TRAILERS: usize = 256;

const WORDS: &[&str] = &[
    "\r\n",
    "0\r\n\r\n",
    "1\r\na\r\n",
    "10\r\n0123456789abcdef\r\n",
    ";a=b",
    ";a=\"b\"",
    "X-A: b\r\n",
    "Host: a\r\n",
    "ffffffffffffffff",
    "0",
    "a",
];

/// Where a decoder has come to.
#[derive(Debug, PartialEq)]
enum Decoded {
    /// The body, its trailers, and the bytes after it.
    Whole(Vec<u8>, HeaderMap, Vec<u8>),
    /// More must come.
    Part(Vec<u8>),
    Refused(BodyError),
}

#[test]
fn fuzz_chunked_bodies() {
    odin_fuzz::target("chunked").words(WORDS).longest(1024).run(|input| {
        let decoded = decode(input, input.len().max(1));
        for step in [1, 2, 3, 7] {
            match (&decoded, decode(input, step)) {
                // One refuses a line that is too long before it has seen what else is wrong with it.
                (Decoded::Refused(_), Decoded::Refused(_)) => {}
                (whole, pieces) => assert_eq!(&pieces, whole, "{step} at a time, and at once"),
            }
        }
        match decoded {
            Decoded::Whole(data, trailers, rest) => {
                is_the_body(input, &data, &trailers, &rest);
                format!("{} bytes, {} trailers", data.len().min(8), trailers.len())
            }
            Decoded::Part(_) => "incomplete".to_owned(),
            Decoded::Refused(error) => error.to_string(),
        }
    });
}

fn is_the_body(input: &[u8], data: &[u8], trailers: &HeaderMap, rest: &[u8]) {
    let (body, after) = input.split_at(input.len() - rest.len());
    assert_eq!(after, rest, "the bytes after the body are left as they are");
    assert_eq!(plain_body(body).as_deref(), Some(data));
    // The end is where the last byte is, and not before.
    let whole = |rest: &[u8]| Decoded::Whole(data.to_vec(), trailers.clone(), rest.to_vec());
    let next = b"GET / HTTP/1.1\r\n";
    assert_eq!(decode(&[body, next].concat(), usize::MAX), whole(next));
    assert!(matches!(decode(&body[..body.len() - 1], usize::MAX), Decoded::Part(_)), "it ends before its last byte");

    let mut sent = Vec::new();
    if !data.is_empty() {
        encode::chunk_size(&mut sent, data.len());
        sent.extend_from_slice(data);
        sent.extend_from_slice(b"\r\n");
    }
    encode::last_chunk(&mut sent, trailers);
    // The spaces after the colons may be new: there is room for them.
    assert_eq!(decode_within(2 * MAX_TRAILERS, &sent, usize::MAX), whole(b""));
}

/// Decodes what arrives in steps of this many bytes.
fn decode(input: &[u8], step: usize) -> Decoded {
    decode_within(MAX_TRAILERS, input, step)
}

fn decode_within(max_trailers: usize, input: &[u8], step: usize) -> Decoded {
    let (mut chunked, mut buffer) = (Chunked::new(max_trailers), BytesMut::new());
    let (mut data, mut arrived) = (Vec::new(), 0);
    let rest = |buffer: &[u8], arrived| [buffer, &input[arrived..]].concat();
    loop {
        match chunked.decode(&mut buffer) {
            Ok(Piece::Data(piece)) => data.extend_from_slice(&piece),
            Ok(Piece::End) => return Decoded::Whole(data, HeaderMap::new(), rest(&buffer, arrived)),
            Ok(Piece::Trailers(trailers)) => return Decoded::Whole(data, trailers, rest(&buffer, arrived)),
            Ok(Piece::Incomplete) if arrived == input.len() => return Decoded::Part(data),
            Ok(Piece::Incomplete) => {
                let end = input.len().min(arrived.saturating_add(step));
                buffer.extend_from_slice(&input[arrived..end]);
                arrived = end;
            }
            Err(error) => return Decoded::Refused(error),
        }
    }
}

/// The content as the simplest reader finds it, which believes every size: none when it does not end at the last byte.
fn plain_body(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let line = body.windows(2).position(|two| two == b"\r\n")?;
        let line_text = latin1(&body[..line]);
        let size = usize::from_str_radix(line_text.split(';').next()?.trim_end_matches([' ', '\t']), 16).ok()?;
        body = &body[line + 2..];
        if size == 0 {
            let end =
                if body.starts_with(b"\r\n") { 2 } else { body.windows(4).position(|four| four == b"\r\n\r\n")? + 4 };
            return (end == body.len()).then_some(data);
        }
        data.extend_from_slice(body.get(..size)?);
        body = body.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
