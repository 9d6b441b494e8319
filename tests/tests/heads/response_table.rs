//! HTTP/1.1 responses, byte by byte.

use crate::responses::{Case, Then, Wanted};

/// Whole answers that are refused.
const BAD_GATEWAY: &[(&str, &str)] = &[
    ("no HTTP at all", "hello\r\n\r\n"),
    ("no status", "HTTP/1.1\r\n\r\n"),
    ("status 99", "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n"),
    ("status 099", "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"),
    ("status 000", "HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n"),
    ("status 1000", "HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n"),
    ("status 20", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status 2x0", "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status -200", "HTTP/1.1 -200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status +200", "HTTP/1.1 +200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("version 1.2", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("version 2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a lower-case version", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("another protocol", "ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("two spaces before the status", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a tab before the status", "HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a space before the version", " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("an empty line in front", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n"),
    ("a bare CR in the reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"),
    ("bare LF everywhere", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("a bare LF after the status line", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
    ("a bare LF after a field", "HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 0\r\n\r\n"),
    ("a bare LF as the empty line", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n"),
    ("a bare CR after a field", "HTTP/1.1 200 OK\r\nX-A: 1\rX-B: 2\r\nContent-Length: 0\r\n\r\n"),
    ("a folded field", "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n"),
    ("a space before the first field", "HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 0\r\n\r\n"),
    ("a space before the colon", "HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n"),
    ("no colon", "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n"),
    ("no name", "HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n"),
    ("a parenthesis in a name", "HTTP/1.1 200 OK\r\nX(A): 1\r\nContent-Length: 0\r\n\r\n"),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n"),
    ("a control character in a value", "HTTP/1.1 200 OK\r\nX-A: \u{8}\r\nContent-Length: 0\r\n\r\n"),
    ("a DEL in a value", "HTTP/1.1 200 OK\r\nX-A: \u{7f}\r\nContent-Length: 0\r\n\r\n"),
    (
        "Content-Length and Transfer-Encoding",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "Transfer-Encoding and Content-Length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("two different lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
    ("a list of different lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5,6\r\n\r\nhello"),
    ("a positive length", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
    ("a hexadecimal length", "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello"),
    ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello"),
    ("a length beyond 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello"),
    ("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("Chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"),
    ("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello"),
    (
        "two Transfer-Encodings",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("HTTP/1.0 with chunks", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks on a 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("an unasked 101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("a 101 that says nothing more", "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    (
        "a 101 after a 100",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    ),
    ("a malformed head after a 103", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX-A : 1\r\n\r\n"),
];

/// What follows a head with `Transfer-Encoding: chunked`.
const BROKEN: &[(&str, &str)] = &[
    ("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a size before a space", "5 \r\nhello\r\n0\r\n\r\n"),
    ("a size that is no number", "zz\r\nhello\r\n0\r\n\r\n"),
    ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ("a size beyond 64 bits", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
    ("nothing after the data", "5\r\nhello0\r\n\r\n"),
    ("a bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
    ("a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF as the end", "5\r\nhello\r\n0\r\n\n"),
    ("a trailer with a space before the colon", "5\r\nhello\r\n0\r\nX-A : 1\r\n\r\n"),
    ("a folded trailer", "5\r\nhello\r\n0\r\nX-A: 1\r\n 2\r\n\r\n"),
    ("a NUL in a trailer", "5\r\nhello\r\n0\r\nX-A: \0\r\n\r\n"),
];

/// Answers whose connection ends too early.
const TRUNCATED: &[(&str, &str)] = &[
    ("less than the length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
    ("the end inside a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhello"),
    ("the end between two chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("the end before the last CRLF", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
    (
        "the end inside the trailers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: 1\r\n",
    ),
];

const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let case = |name, answer: String, then, wanted| Case { name, method: "GET", answer, then, wanted };
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let stays = |name: &'static str, answer: &str, wanted| case(name, answer.to_string(), Then::Stays, wanted);
    let mut cases: Vec<_> = BAD_GATEWAY.iter().map(|(name, answer)| stays(name, answer, Wanted::BadGateway)).collect();
    cases.extend(BROKEN.iter().map(|(name, body)| case(name, chunked(body), Then::Stays, Wanted::Broken)));
    cases.extend(TRUNCATED.iter().map(|(name, answer)| case(name, answer.to_string(), Then::Closes, Wanted::Broken)));
    let ok = Wanted::PassedAndReused(200, "hello");
    let once = Wanted::PassedAndCutOff(200, "hello");
    let hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let last = "5\r\nhello\r\n0\r\n\r\n";
    cases.extend([
        case("nothing at all", String::new(), Then::Closes, Wanted::BadGateway),
        case("half a head", "HTTP/1.1 200 OK\r\nContent-Le".to_string(), Then::Closes, Wanted::BadGateway),
        case(
            "an extension too large",
            chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(20_000))),
            Then::Stays,
            Wanted::Broken,
        ),
        case(
            "trailers too large",
            chunked(&format!("5\r\nhello\r\n0\r\nX-A: {}\r\n\r\n", "t".repeat(20_000))),
            Then::Stays,
            Wanted::Broken,
        ),
        case("a response after the body", hello.to_string() + SMUGGLED, Then::Stays, once),
        case("one byte after the body", hello.to_string() + "x", Then::Stays, once),
        case("a CRLF after the body", hello.to_string() + "\r\n", Then::Stays, once),
        case("a response after the last chunk", chunked(last) + SMUGGLED, Then::Stays, once),
        case("a response that comes later", hello.to_string(), Then::Adds(SMUGGLED), once),
        case("a byte that comes later", hello.to_string(), Then::Adds("x"), once),
        stays(
            "a body on a 204",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            Wanted::PassedAndCutOff(204, ""),
        ),
        stays(
            "a body on a 304",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
            Wanted::PassedAndCutOff(304, ""),
        ),
        Case { method: "HEAD", ..stays("a body for HEAD", hello, Wanted::PassedAndCutOff(200, "")) },
        stays("Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", once),
        stays("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", once),
        case("a body up to the end", "HTTP/1.1 200 OK\r\n\r\nhello".to_string(), Then::Closes, once),
        stays("a plain response", hello, ok),
        stays("a chunked response", &chunked(last), ok),
        stays("an extension", &chunked("5;a=b\r\nhello\r\n0;c\r\n\r\n"), ok),
        stays("a trailer", &chunked("5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n"), ok),
        stays("an interim response", &format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{hello}"), ok),
        stays("no reason", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", ok),
        stays("no reason and no space", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", Wanted::Either(200, "hello")),
        stays(
            "status 299",
            "HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello",
            Wanted::PassedAndReused(299, "hello"),
        ),
        stays("a 204", "HTTP/1.1 204 No Content\r\n\r\n", Wanted::PassedAndReused(204, "")),
        stays(
            "a 304 with a length",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            Wanted::PassedAndReused(304, ""),
        ),
        Case {
            method: "HEAD",
            ..stays("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Wanted::PassedAndReused(200, ""))
        },
        Case {
            method: "HEAD",
            ..stays(
                "HEAD, chunked",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Wanted::PassedAndReused(200, ""),
            )
        },
    ]);
    cases
}
