//! HTTP/2 requests, frame by frame (RFC 9113, section 8.1.1): a malformed one is a 400 or a stream error, and never
//! arrives; over whichever version it would have gone on.

use odin_tests::h2raw::{self, H2Raw, Outcome};
use odin_tests::{Odin, Protocol, within};

use crate::recorder::{Arrived, Recorder};
use crate::report;

/// A field as a line of the table has it: each character is one byte.
type Field = (&'static str, &'static str);

/// What must become of a request.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// A 400, a stream error or a connection error; nothing complete reaches an upstream.
    Refused,
    /// 200, and the upstream's side saw the fields.
    Forwarded(&'static [Field]),
    /// Either: the codec drops what is wrong before Odin can see it.
    Either(&'static [Field]),
}

/// One line of the table.
pub(crate) struct Case {
    name: &'static str,
    head: Vec<Field>,
    /// The DATA frames; none when the HEADERS frame ends the stream.
    data: Option<&'static [&'static str]>,
    trailers: Option<&'static [Field]>,
    wanted: Wanted,
}

/// `:path` in this table becomes a path of the case's own.
const PATH: Field = (":path", "/CASE");
const METHOD: Field = (":method", "POST");
const SCHEME: Field = (":scheme", "http");
const HOST: Field = (":authority", "a");

/// Fields that make a well-formed head malformed when they are added to it.
const BAD_FIELDS: &[(&str, Field)] = &[
    ("an upper-case name", ("X-Upper", "1")),
    ("connection", ("connection", "close")),
    ("connection that names a field", ("connection", "x-a")),
    ("keep-alive", ("keep-alive", "5")),
    ("proxy-connection", ("proxy-connection", "close")),
    ("transfer-encoding", ("transfer-encoding", "chunked")),
    ("upgrade", ("upgrade", "websocket")),
    ("te: gzip", ("te", "gzip")),
    ("te: trailers, gzip", ("te", "trailers, gzip")),
    ("a pseudo-field after the fields", (":path", "/CASE")),
    ("an unknown pseudo-field", (":unknown", "1")),
    ("the pseudo-field of a response", (":status", "200")),
    ("a CR in a value", ("x-a", "1\r2")),
    ("a LF in a value", ("x-a", "1\n2")),
    ("a whole field in a value", ("x-a", "1\r\nx-b: 2")),
    ("a NUL in a value", ("x-a", "1\u{0}2")),
    ("a control character in a value", ("x-a", "1\u{1}2")),
    ("a space in a name", ("x a", "1")),
    ("a colon in a name", ("x:a", "1")),
    ("a CR and LF in a name", ("x\r\na", "1")),
    ("a NUL in a name", ("x\u{0}a", "1")),
    ("a byte beyond ASCII in a name", ("x\u{e4}", "1")),
    ("an empty name", ("", "1")),
    ("a host that differs from the authority", ("host", "b")),
    ("a length with a sign", ("content-length", "+5")),
    ("a list of lengths", ("content-length", "5, 5")),
    ("an empty length", ("content-length", "")),
    ("a hexadecimal length", ("content-length", "0x5")),
    ("a length beyond 64 bits", ("content-length", "18446744073709551621")),
    ("a length that is too large", ("content-length", "6")),
    ("a length that is too small", ("content-length", "4")),
];

/// Whole heads that are malformed.
const BAD_HEADS: &[(&str, &[Field])] = &[
    ("no method", &[SCHEME, HOST, PATH]),
    ("no path", &[METHOD, SCHEME, HOST]),
    ("no scheme", &[METHOD, HOST, PATH]),
    ("no authority and no host", &[METHOD, SCHEME, PATH]),
    ("an empty method", &[(":method", ""), SCHEME, HOST, PATH]),
    ("an empty path", &[METHOD, SCHEME, HOST, (":path", "")]),
    ("an empty authority", &[METHOD, SCHEME, (":authority", ""), PATH]),
    ("two methods", &[METHOD, METHOD, SCHEME, HOST, PATH]),
    ("two paths", &[METHOD, SCHEME, HOST, PATH, PATH]),
    ("two schemes", &[METHOD, SCHEME, SCHEME, HOST, PATH]),
    ("two authorities", &[METHOD, SCHEME, HOST, (":authority", "b"), PATH]),
    ("two hosts", &[METHOD, SCHEME, PATH, ("host", "a"), ("host", "a")]),
    ("two hosts that differ, and an authority", &[METHOD, SCHEME, HOST, PATH, ("host", "a"), ("host", "b")]),
    ("fields before the pseudo-fields", &[("x-a", "1"), METHOD, SCHEME, HOST, PATH]),
    ("an authority with user information", &[METHOD, SCHEME, (":authority", "me@a"), PATH]),
    ("an authority with a path", &[METHOD, SCHEME, (":authority", "a/b"), PATH]),
    ("an authority with a space", &[METHOD, SCHEME, (":authority", "a b"), PATH]),
    ("an authority with a line end", &[METHOD, SCHEME, (":authority", "a\r\nx: y"), PATH]),
    ("a method with a space", &[(":method", "GET /other"), SCHEME, HOST, PATH]),
    ("a method with a line end", &[(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"), SCHEME, HOST, PATH]),
    ("a path with a space", &[METHOD, SCHEME, HOST, (":path", "/CASE more")]),
    ("a path with a request in it", &[METHOD, SCHEME, HOST, (":path", "/CASE HTTP/1.1\r\nhost: b\r\n\r\n")]),
    ("a path with a NUL", &[METHOD, SCHEME, HOST, (":path", "/CASE\u{0}")]),
    ("a path without a slash", &[METHOD, SCHEME, HOST, (":path", "CASE")]),
    ("a path that is a URI", &[METHOD, SCHEME, HOST, (":path", "http://b/CASE")]),
    ("an asterisk for POST", &[METHOD, SCHEME, HOST, (":path", "*")]),
    ("a path that begins with an asterisk", &[METHOD, SCHEME, HOST, (":path", "*/CASE")]),
    ("two lengths", &[METHOD, SCHEME, HOST, PATH, ("content-length", "5"), ("content-length", "6")]),
];

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let plain = || vec![METHOD, SCHEME, HOST, PATH];
    let hello: Option<&'static [&'static str]> = Some(&["hello"]);
    let case = |name, head, data, trailers, wanted| Case { name, head, data, trailers, wanted };
    let mut cases = Vec::new();
    for (name, field) in BAD_FIELDS {
        let head = [plain(), vec![*field]].concat();
        cases.push(case(name, head, hello, None, Wanted::Refused));
    }
    for (name, head) in BAD_HEADS {
        cases.push(case(name, head.to_vec(), hello, None, Wanted::Refused));
    }
    let trailers = |name, trailers| case(name, plain(), hello, Some(trailers), Wanted::Refused);
    let with = |field: Field| [plain(), vec![field]].concat();
    cases.extend([
        case(
            "a pseudo-field in the trailers",
            plain(),
            hello,
            Some(&[(":path", "/CASE")]),
            Wanted::Either(&[("host", "a")]),
        ),
        trailers("an upper-case name in the trailers", &[("X-Upper", "1")]),
        trailers("a connection field in the trailers", &[("transfer-encoding", "chunked")]),
        trailers("a line end in a trailer", &[("x-a", "1\r\nx-b: 2")]),
        case("a length and no body", with(("content-length", "5")), None, None, Wanted::Refused),
        case("CONNECT", vec![(":method", "CONNECT"), (":authority", "a:80")], None, None, Wanted::Refused),
        case("no body", plain(), None, None, Wanted::Forwarded(&[("host", "a")])),
        case("a body", plain(), Some(&["he", "", "llo"]), None, Wanted::Forwarded(&[("host", "a")])),
        case("the right length", with(("content-length", "5")), hello, None, Wanted::Forwarded(&[("host", "a")])),
        case("a host like the authority", with(("host", "a")), hello, None, Wanted::Forwarded(&[("host", "a")])),
        case(
            "a host and no authority",
            vec![METHOD, SCHEME, PATH, ("host", "a")],
            hello,
            None,
            Wanted::Forwarded(&[("host", "a")]),
        ),
        case("te: trailers", with(("te", "trailers")), hello, None, Wanted::Forwarded(&[("host", "a")])),
        case("trailers", plain(), hello, Some(&[("x-a", "1")]), Wanted::Forwarded(&[("host", "a")])),
    ]);
    cases
}

#[tokio::test]
async fn odd_http2_requests_go_no_further_to_http1() {
    run(Protocol::Http1).await;
}

#[tokio::test]
async fn odd_http2_requests_go_no_further_to_http2() {
    run(Protocol::Http2).await;
}

fn block(fields: &[Field], number: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = format!("/case-{number}");
    fields.iter().map(|(n, v)| (crate::bytes(n), crate::bytes(&v.replace("/CASE", &path)))).collect()
}

fn headers(fields: &[Field], number: usize, end: bool) -> Vec<u8> {
    let fields = block(fields, number);
    let borrowed: Vec<_> = fields.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
    h2raw::headers(1, &borrowed, end)
}

async fn ask(odin: &Odin, case: &Case, number: usize) -> Outcome {
    let mut client = H2Raw::client(odin.address("web")).await;
    let mut frames = headers(&case.head, number, case.data.is_none());
    if let Some(pieces) = case.data {
        for (at, piece) in pieces.iter().enumerate() {
            let end = at + 1 == pieces.len() && case.trailers.is_none();
            frames.extend(h2raw::data(1, piece.as_bytes(), end));
        }
    }
    if let Some(trailers) = case.trailers {
        frames.extend(headers(trailers, number, true));
    }
    client.send(frames).await;
    within(case.name, client.outcome(1)).await
}

async fn run(upstream: Protocol) {
    let recorder = Recorder::start(upstream).await;
    let odin = Odin::builder().upstream(upstream).target(&recorder).start().await;
    let cases = cases();
    let mut outcomes = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        outcomes.push(ask(&odin, case, number).await);
    }
    odin.connect_http2().await.get("/sentinel").await.has_status(200);
    let arrived = recorder.arrived();
    let mut failures = Vec::new();
    for (number, (case, outcome)) in cases.iter().zip(outcomes).enumerate() {
        let path = format!("/case-{number}");
        let mine: Vec<_> = arrived.iter().filter(|request| request.path == path).collect();
        let told = outcome.is_broken_off() || matches!(outcome.status(), Some(400 | 405 | 501));
        let refused = told && !mine.iter().any(|request| request.complete);
        let forwarded = |fields: &[Field]| {
            let body: String = case.data.into_iter().flatten().copied().collect();
            let right = |request: &&Arrived| {
                request.complete
                    && request.body == body.as_bytes()
                    && fields.iter().all(|(name, value)| request.all(name) == [*value])
            };
            outcome.status() == Some(200) && mine.len() == 1 && mine.iter().all(right)
        };
        let holds = match case.wanted {
            Wanted::Refused => refused,
            Wanted::Forwarded(fields) => forwarded(fields),
            Wanted::Either(fields) => refused || forwarded(fields),
        };
        if !holds {
            failures.push(format!("  {}: wanted {:?}, got {outcome:?}; arrived: {mine:?}", case.name, case.wanted));
        }
    }
    let expected = |path: &str| path.starts_with("/case-") || path == "/sentinel";
    failures.extend(arrived.iter().filter(|r| !expected(&r.path)).map(|r| format!("  arrived from nowhere: {r:?}")));
    report(&format!("HTTP/2 requests to {upstream:?}"), failures);
    odin.stop().await;
}
