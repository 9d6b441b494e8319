//! HTTP/1 heads: a head that is accepted reads the same for the simplest reader there is, and after Odin has written it.

use bytes::Bytes;
use http::{Method, StatusCode, Version};

use super::{HEAD_BYTES, cut_head, latin1, plain_fields, values, without_length};
use crate::http::http1::encode::{self, Persistence, RequestLine};
use crate::http::http1::head::{Framing, MAX_FIELDS};
use crate::http::http1::request::{self, RequestHead};
use crate::http::http1::response::{self, ResponseHead};
use crate::http::http1::writer::Encoding;

const MAX: usize = 20;

const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    ": ",
    ", ",
    "HTTP/1.1",
    "HTTP/1.0",
    "GET",
    "POST",
    "OPTIONS * ",
    "http://a",
    "Host: a\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "chunked",
    "Connection: ",
    "keep-alive",
    "close",
    "upgrade",
    "Upgrade: websocket\r\n",
    "Connection: upgrade\r\n",
    "h2c",
    "TE: trailers\r\n",
    "Expect: 100-continue\r\n",
    "X-A: b\r\n",
    " 200 OK",
    " 101 Switching Protocols",
    " 204 ",
    " 304 ",
];

#[test]
fn fuzz_request_heads() {
    odin_fuzz::target("request_head").words(WORDS).longest(HEAD_BYTES).run(|input| {
        let head = match cut_head(input) {
            Ok(Some(head)) => head,
            Ok(None) => return "incomplete".to_owned(),
            Err(error) => return error.to_string(),
        };
        match request::parse(head.clone(), MAX) {
            Ok(read) => request_is_plain(&head, &read),
            Err(error) => error.to_string(),
        }
    });
}

/// Answers which way it was read.
fn request_is_plain(head: &[u8], read: &RequestHead) -> String {
    let fields = plain_fields(head);
    assert_eq!(values(&fields, "host"), [read.head.authority.as_bytes()]);
    assert_eq!(read.framing, plain_framing(&fields).unwrap_or(Framing::None));
    let first = latin1(head);
    let target = first.split(' ').nth(1).unwrap_or_default();
    let path = read.head.parts.uri.path_and_query().map_or("", |path| path.as_str());
    assert!(target.contains(path) || path == "/" || path.starts_with("/?"), "{path:?} of {target:?}");
    if let Some(upgrade) = &read.wishes.upgrade {
        let named = latin1(upgrade.as_bytes()).to_ascii_lowercase();
        assert!(!named.split(',').any(|name| name.trim().starts_with("h2c")), "{upgrade:?} passes every check");
    }

    let mut sent = Vec::new();
    let encoding = match read.framing {
        Framing::Length(length) => Encoding::Length(length),
        Framing::Chunked => Encoding::Chunked,
        _ => Encoding::None,
    };
    let line = RequestLine {
        head: &read.head,
        encoding,
        wishes: &read.wishes,
        expect_continue: read.expect_continue,
        close: false,
    };
    encode::request_head(&mut sent, &line);
    let again = request::parse(Bytes::from(sent), MAX_FIELDS).expect("what Odin sends is accepted");
    assert_eq!(again.head.parts.method, read.head.parts.method);
    assert_eq!(again.head.parts.uri, read.head.parts.uri);
    assert_eq!(again.head.authority, read.head.authority);
    assert_eq!(again.framing, read.framing);
    assert_eq!(again.wishes.upgrade, read.wishes.upgrade);
    // An upgrade says nothing about trailers.
    assert_eq!(again.wishes.trailers, read.wishes.trailers && read.wishes.upgrade.is_none());
    assert_eq!(without_length(&again.head.parts.headers), without_length(&read.head.parts.headers));
    let asks = (read.keep_alive, read.wishes.trailers, read.wishes.upgrade.is_some());
    format!("{:?} {} {asks:?}", read.head.parts.version, shape(read.framing))
}

#[test]
fn fuzz_response_heads() {
    odin_fuzz::target("response_head").words(WORDS).longest(HEAD_BYTES).run(|input| {
        let head = match cut_head(input) {
            Ok(Some(head)) => head,
            Ok(None) => return "incomplete".to_owned(),
            Err(error) => return error.to_string(),
        };
        let told = [Method::GET, Method::HEAD].map(|method| match response::parse(head.clone(), MAX, &method) {
            Ok(read) => response_is_plain(&head, &read, &method),
            Err(error) => error.to_string(),
        });
        told.concat()
    });
}

/// Answers which way it was read.
fn response_is_plain(head: &[u8], read: &ResponseHead, method: &Method) -> String {
    let (fields, status) = (plain_fields(head), read.parts.status);
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let plain = plain_framing(&fields);
    assert_eq!(read.framing, if bodiless { Framing::None } else { plain.unwrap_or(Framing::UntilClose) });
    let minor = u8::from(read.parts.version == Version::HTTP_11);
    assert!(latin1(head).starts_with(&format!("HTTP/1.{minor} {}", status.as_str())));

    let mut sent = Vec::new();
    match (&read.upgrade, status) {
        (Some(protocol), StatusCode::SWITCHING_PROTOCOLS) => {
            encode::switching_head(&mut sent, &read.parts.headers, protocol);
        }
        // Interim responses are not sent on.
        _ if status.is_informational() => return status.as_str().to_owned(),
        _ => {
            let encoding = match read.framing {
                _ if bodiless => Encoding::None,
                Framing::None => Encoding::Length(0),
                Framing::Length(length) => Encoding::Length(length),
                Framing::Chunked | Framing::UntilClose => Encoding::Chunked,
            };
            encode::response_head(&mut sent, status, &read.parts.headers, encoding, Persistence::Implied);
        }
    }
    let again = response::parse(Bytes::from(sent), MAX_FIELDS, method).expect("what Odin sends is accepted");
    assert_eq!(again.parts.status, status);
    let framing = if read.framing == Framing::UntilClose { Framing::Chunked } else { read.framing };
    assert_eq!(again.framing, framing);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        assert_eq!(again.upgrade, read.upgrade);
    }
    assert_eq!(without_length(&again.parts.headers), without_length(&read.parts.headers));
    format!("{minor} {} {} {}", shape(read.framing), status.as_str(), read.keep_alive)
}

/// How a body is delimited for one who looks at nothing but these two fields; fails where two readers could differ.
fn plain_framing(fields: &[(String, Vec<u8>)]) -> Option<Framing> {
    match (&values(fields, "transfer-encoding")[..], &values(fields, "content-length")[..]) {
        ([], []) => None,
        ([coding], []) if *coding == b"chunked" => Some(Framing::Chunked),
        ([], [length]) => match latin1(length).parse().expect("a length is a number") {
            0 => Some(Framing::None),
            length => Some(Framing::Length(length)),
        },
        both => panic!("accepted with {both:?}"),
    }
}

/// The kind, without the number.
fn shape(framing: Framing) -> &'static str {
    match framing {
        Framing::None => "none",
        Framing::Length(_) => "length",
        Framing::Chunked => "chunked",
        Framing::UntilClose => "until close",
    }
}
