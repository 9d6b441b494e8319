//! HTTP/2 heads become HTTP/1 heads: what is accepted of a client is, once it is written for an upstream, the same
//! request, and one.
//!
//! An input has a field on each line, `name: value`, the pseudo-fields too: `:path: /a`.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, request};

use super::without_length;
use crate::downstream::http2::server::check_head;
use crate::http::head::Head;
use crate::http::http1::encode::{self, RequestLine};
use crate::http::http1::head::{Framing, HeadScanner, MAX_FIELDS};
use crate::http::http1::request::parse;
use crate::http::http1::writer::Encoding;

const WORDS: &[&str] = &[
    "\n",
    ": ",
    ":method: ",
    ":path: /",
    ":path: *",
    ":authority: a",
    ":scheme: http\n",
    "host: a\n",
    "GET",
    "OPTIONS",
    "\r\n",
    " HTTP/1.1",
    "content-length: 5\n",
    "transfer-encoding: chunked\n",
    "connection: close\n",
    "te: trailers\n",
    "cookie: a=b\n",
    "expect: 100-continue\n",
    "upgrade: h2c\n",
    "http://b",
    "?",
    "#",
    "%00",
];

#[test]
fn fuzz_http2_heads() {
    odin_fuzz::target("http2_head").words(WORDS).longest(1024).run(|input| {
        let Some(mut head) = decoded(input) else { return "h2 refuses it".to_owned() };
        match check_head(&mut head, 20) {
            Ok((authority, wishes)) => {
                let head = Head::new(Box::new(head), authority);
                for encoding in [Encoding::None, Encoding::Chunked, Encoding::Length(5)] {
                    is_one_request(&RequestLine {
                        head: &head,
                        encoding,
                        wishes: &wishes,
                        expect_continue: false,
                        close: false,
                    });
                }
                format!("{} {} {}", head.parts.method == Method::OPTIONS, wishes.trailers, head.parts.headers.len())
            }
            Err((_, detail)) => detail.to_owned(),
        }
    });
}

fn is_one_request(line: &RequestLine<'_>) {
    let mut sent = Vec::new();
    encode::request_head(&mut sent, line);
    assert_eq!(HeadScanner::default().find_end(&sent, usize::MAX), Ok(Some(sent.len())), "one head, to its last byte");
    let shown = sent.escape_ascii().to_string();
    let read = parse(Bytes::from(sent), MAX_FIELDS).unwrap_or_else(|error| panic!("{error}: {shown}"));
    let (read_head, head) = (&read.head.parts, &line.head.parts);
    assert_eq!((&read_head.method, &read_head.uri), (&head.method, &head.uri));
    assert_eq!(read.head.authority, line.head.authority);
    let framing = match line.encoding {
        Encoding::Length(length) => Framing::Length(length),
        Encoding::Chunked => Framing::Chunked,
        _ => Framing::None,
    };
    assert_eq!(read.framing, framing);
    assert_eq!(read.wishes.trailers, line.wishes.trailers);
    assert_eq!(read.wishes.upgrade, None);
    assert_eq!(without_length(&read_head.headers), without_length(&head.headers));
}

/// The head as the library hands it over, or none where it refuses it (h2's `server::Peer::convert_poll_message`).
fn decoded(input: &[u8]) -> Option<request::Parts> {
    let (mut method, mut scheme, mut authority, mut path) = (None, None, None, None);
    let mut head = Request::new(()).into_parts().0;
    for line in input.split(|byte| *byte == b'\n') {
        let pseudo = line.starts_with(b":");
        let colon = line.iter().skip(usize::from(pseudo)).position(|byte| *byte == b':')? + usize::from(pseudo);
        let (name, value) = (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]));
        let value = HeaderValue::from_bytes(value).ok()?;
        let once = |place: &mut Option<HeaderValue>| place.replace(value.clone()).is_none();
        match name {
            b":method" => once(&mut method).then_some(())?,
            b":scheme" => once(&mut scheme).then_some(())?,
            b":authority" => once(&mut authority).then_some(())?,
            b":path" => once(&mut path).then_some(())?,
            _ => drop(head.headers.append(HeaderName::from_lowercase(name).ok()?, value)),
        }
    }
    let mut uri = Uri::default().into_parts();
    uri.authority = authority.map(|authority| Authority::try_from(authority.as_bytes())).transpose().ok()?;
    let scheme = Scheme::try_from(scheme?.as_bytes()).ok()?;
    uri.scheme = uri.authority.is_some().then_some(scheme);
    if path.as_ref().is_some_and(HeaderValue::is_empty) {
        return None;
    }
    uri.path_and_query = path.map(|path| PathAndQuery::try_from(path.as_bytes())).transpose().ok()?;
    head.method = Method::from_bytes(method?.as_bytes()).ok()?;
    head.uri = Uri::from_parts(uri).ok()?;
    head.version = Version::HTTP_2;
    Some(head)
}
