//! Fuzz targets of the data path: what comes from a peer is read the same way however it arrives, and what Odin sends on
//! is what it has read.
//!
//! They run for a second each in `cargo test`, and for as long as one likes with `make fuzz`: see `tests/fuzz`.

mod chunked;
mod heads;
mod http2;
mod paths;

use bytes::Bytes;
use http::{HeaderMap, header};

use crate::http::http1::head::{HeadError, HeadScanner};

/// More than the longest input: the limit of a head's size has a test of its own.
const HEAD_BYTES: usize = 2048;

/// The head at the start of the input. Byte by byte it must end at the same place as at once.
fn cut_head(input: &[u8]) -> Result<Option<Bytes>, HeadError> {
    let whole = HeadScanner::default().find_end(input, HEAD_BYTES);
    let mut scanner = HeadScanner::default();
    let known = |arrived| scanner.find_end(&input[..arrived], HEAD_BYTES);
    let arriving = (1..=input.len()).map(known).find(|found| *found != Ok(None)).unwrap_or(Ok(None));
    // A head that is both too large and malformed may be told to be either.
    assert_eq!(arriving.ok(), whole.ok(), "byte by byte, and at once");
    Ok(whole?.map(|end| Bytes::copy_from_slice(&input[..end])))
}

/// The fields as the simplest reader sees them: lines at each CRLF, a name up to the first colon, lower case.
fn plain_fields(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = latin1(head);
    let lines = text.split("\r\n").skip(1).take_while(|line| !line.is_empty());
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a field without a colon: {line:?}"));
        let value = value.trim_matches([' ', '\t']).chars().map(|c| c as u8).collect();
        (name.to_ascii_lowercase(), value)
    };
    lines.map(field).collect()
}

/// The values of a field.
fn values<'f>(fields: &'f [(String, Vec<u8>)], name: &str) -> Vec<&'f [u8]> {
    fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_slice()).collect()
}

/// Each byte as a character.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The fields beside the length, which each hop writes anew.
fn without_length(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(header::CONTENT_LENGTH);
    headers
}
