//! HTTP/2 responses, frame by frame: a malformed one is a 502 or visibly broken off, and the next exchange is fine.

use std::sync::Arc;

use http::Request;
use odin_tests::h2raw::{self, H2Raw, kind};
use odin_tests::{Odin, Protocol, RawBackend, body};

use crate::report;

type Field = (&'static str, &'static str);

/// One frame of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Frame {
    Head(&'static [Field]),
    HeadAndEnd(&'static [Field]),
    Data(&'static str),
    DataAndEnd(&'static str),
    Reset(u32),
}

use Frame::{Data, DataAndEnd, Head, HeadAndEnd, Reset};

/// What must become of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// 502, or a body that is visibly broken off.
    Broken,
    /// The client gets this.
    Passed(u16, &'static str),
    /// Either: the codec drops what is wrong before Odin can see it.
    Either(u16, &'static str),
}

const OK: Field = (":status", "200");

/// One line of the table: a name, what the upstream sends, what must become of it.
pub(crate) type Case = (&'static str, &'static [Frame], Wanted);

const CASES: &[Case] = &[
    ("no status", &[HeadAndEnd(&[("x-a", "1")])], Wanted::Broken),
    ("status 99", &[HeadAndEnd(&[(":status", "99")])], Wanted::Broken),
    ("status 1000", &[HeadAndEnd(&[(":status", "1000")])], Wanted::Broken),
    ("status 2x0", &[HeadAndEnd(&[(":status", "2x0")])], Wanted::Broken),
    ("an empty status", &[HeadAndEnd(&[(":status", "")])], Wanted::Broken),
    ("two statuses", &[HeadAndEnd(&[OK, (":status", "204")])], Wanted::Broken),
    ("status after a field", &[HeadAndEnd(&[("x-a", "1"), OK])], Wanted::Broken),
    ("the pseudo-field of a request", &[HeadAndEnd(&[OK, (":path", "/")])], Wanted::Either(200, "")),
    ("an unknown pseudo-field", &[HeadAndEnd(&[OK, (":unknown", "1")])], Wanted::Broken),
    ("a 101", &[HeadAndEnd(&[(":status", "101")])], Wanted::Broken),
    ("an upper-case name", &[HeadAndEnd(&[OK, ("X-Upper", "1")])], Wanted::Broken),
    ("a space in a name", &[HeadAndEnd(&[OK, ("x a", "1")])], Wanted::Broken),
    ("connection", &[HeadAndEnd(&[OK, ("connection", "close")])], Wanted::Broken),
    ("transfer-encoding", &[Head(&[OK, ("transfer-encoding", "chunked")]), DataAndEnd("hello")], Wanted::Broken),
    ("keep-alive", &[HeadAndEnd(&[OK, ("keep-alive", "5")])], Wanted::Broken),
    ("upgrade", &[HeadAndEnd(&[OK, ("upgrade", "x")])], Wanted::Broken),
    ("a line end in a value", &[HeadAndEnd(&[OK, ("x-a", "1\r\nx-b: 2")])], Wanted::Broken),
    ("a NUL in a value", &[HeadAndEnd(&[OK, ("x-a", "1\u{0}2")])], Wanted::Broken),
    ("a length that is too large", &[Head(&[OK, ("content-length", "6")]), DataAndEnd("hello")], Wanted::Broken),
    ("a length that is too small", &[Head(&[OK, ("content-length", "4")]), DataAndEnd("hello")], Wanted::Broken),
    ("a length and no body", &[HeadAndEnd(&[OK, ("content-length", "5")])], Wanted::Broken),
    ("a length with a sign", &[Head(&[OK, ("content-length", "+5")]), DataAndEnd("hello")], Wanted::Broken),
    (
        "two lengths",
        &[Head(&[OK, ("content-length", "5"), ("content-length", "6")]), DataAndEnd("hello")],
        Wanted::Broken,
    ),
    ("data before the head", &[Data("hello"), HeadAndEnd(&[OK])], Wanted::Broken),
    ("a pseudo-field in the trailers", &[Head(&[OK]), Data("hello"), HeadAndEnd(&[OK])], Wanted::Either(200, "hello")),
    (
        "an upper-case name in the trailers",
        &[Head(&[OK]), Data("hello"), HeadAndEnd(&[("X-Upper", "1")])],
        Wanted::Broken,
    ),
    ("trailers that do not end the stream", &[Head(&[OK]), Data("hello"), Head(&[("x-a", "1")])], Wanted::Broken),
    ("a reset before the head", &[Reset(2)], Wanted::Broken),
    ("a reset inside the body", &[Head(&[OK]), Data("hello"), Reset(2)], Wanted::Broken),
    ("a reset without an error inside the body", &[Head(&[OK]), Data("hello"), Reset(0)], Wanted::Broken),
    ("a cancellation inside the body", &[Head(&[OK]), Data("hello"), Reset(8)], Wanted::Broken),
    ("a plain response", &[Head(&[OK, ("content-length", "5")]), DataAndEnd("hello")], Wanted::Passed(200, "hello")),
    ("no length", &[Head(&[OK]), Data("he"), DataAndEnd("llo")], Wanted::Passed(200, "hello")),
    ("no body", &[HeadAndEnd(&[OK])], Wanted::Passed(200, "")),
    ("trailers", &[Head(&[OK]), Data("hello"), HeadAndEnd(&[("x-a", "1")])], Wanted::Passed(200, "hello")),
    (
        "an interim response",
        &[Head(&[(":status", "103")]), Head(&[OK]), DataAndEnd("hello")],
        Wanted::Passed(200, "hello"),
    ),
    ("a reset after the end", &[Head(&[OK]), DataAndEnd("hello"), Reset(0)], Wanted::Passed(200, "hello")),
];

/// All cases.
pub(crate) fn cases() -> &'static [Case] {
    CASES
}

#[tokio::test]
async fn odd_http2_responses_are_refused_or_broken_off_for_http1_clients() {
    run(Protocol::Http1).await;
}

#[tokio::test]
async fn odd_http2_responses_are_refused_or_broken_off_for_http2_clients() {
    run(Protocol::Http2).await;
}

fn headers(stream: u32, fields: &[Field], end: bool) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(n, v)| (crate::bytes(n), crate::bytes(v))).collect();
    let borrowed: Vec<_> = fields.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
    h2raw::headers(stream, &borrowed, end)
}

/// Serves one connection: each request gets the answer that its path names, all other requests a plain one.
async fn serve(connection: odin_tests::Raw) {
    let Some(mut side) = H2Raw::server(connection).await else { return };
    while let Some((stream, head, end)) = side.request().await {
        let path = head.iter().find(|(name, _)| name == ":path").map_or("", |(_, path)| path.as_str());
        let case = path.strip_prefix("/case-").and_then(|number| number.parse::<usize>().ok());
        let frames = case.map_or(&[HeadAndEnd(&[OK])][..], |number| CASES[number].1);
        if !end {
            continue;
        }
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend(match frame {
                Head(fields) => headers(stream, fields, false),
                HeadAndEnd(fields) => headers(stream, fields, true),
                Data(content) => h2raw::data(stream, content.as_bytes(), false),
                DataAndEnd(content) => h2raw::data(stream, content.as_bytes(), true),
                Reset(code) => h2raw::frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes()),
            });
        }
        side.send(bytes).await;
    }
}

async fn run(downstream: Protocol) {
    let backend = Arc::new(RawBackend::start(|connection, _| serve(connection)).await);
    let odin = Odin::builder().upstream(Protocol::Http2).target(&*backend).start().await;
    let mut failures = Vec::new();
    for (number, (name, frames, wanted)) in CASES.iter().enumerate() {
        let mut client = match downstream {
            Protocol::Http1 => odin.connect().await,
            Protocol::Http2 => odin.connect_http2().await,
        };
        let request = Request::get(format!("/case-{number}")).body(body::empty()).unwrap();
        let got = client.try_send(request).await;
        let broken = got.as_ref().map_or(true, |response| response.status == 502);
        let passed = |status: u16, body: &str| match &got {
            Ok(response) => response.status.as_u16() == status && response.body == body.as_bytes(),
            Err(_) => false,
        };
        let holds = match *wanted {
            Wanted::Broken => broken,
            Wanted::Passed(status, body) => passed(status, body),
            Wanted::Either(status, body) => broken || passed(status, body),
        };
        if !holds {
            failures.push(format!("  {name}: wanted {wanted:?}, got {got:?}\n    {frames:?}"));
        }
        let after = odin.get("/sentinel").await;
        if after.status != 200 {
            failures.push(format!("  {name}: the next exchange got {after:?}"));
        }
    }
    report(&format!("HTTP/2 responses to {downstream:?}"), failures);
    odin.stop().await;
}
