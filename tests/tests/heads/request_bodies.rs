//! Chunked request bodies, byte by byte: a malformed one is the client's 400 and never arrives complete.

use crate::requests::Check::{Body, Has, Lacks};
use crate::requests::{Case, Wanted};

/// What follows a head with `Transfer-Encoding: chunked`.
const CUT_OFF: &[(&str, &str)] = &[
    ("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a size with a minus", "-5\r\nhello\r\n0\r\n\r\n"),
    ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a size after a space", " 5\r\nhello\r\n0\r\n\r\n"),
    ("a size before a space", "5 \r\nhello\r\n0\r\n\r\n"),
    ("a size before a tab", "5\t\r\nhello\r\n0\r\n\r\n"),
    ("a size that is no number", "g\r\nhello\r\n0\r\n\r\n"),
    ("a size with a letter too many", "5h\r\nhello\r\n0\r\n\r\n"),
    ("a size with an underscore", "1_0\r\nhello\r\n0\r\n\r\n"),
    ("two sizes", "5,5\r\nhello\r\n0\r\n\r\n"),
    ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ("only an extension", ";a=b\r\nhello\r\n0\r\n\r\n"),
    ("a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size far beyond 64 bits", "fffffffffffffffffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("a size of many zeros", "00000000000000000000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
    ("a bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
    ("nothing after the data", "5\r\nhello0\r\n\r\n"),
    ("a bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
    ("a bare CR after the data", "5\r\nhello\r0\r\n\r\n"),
    ("two bytes that are no CRLF after the data", "5\r\nhelloXX0\r\n\r\n"),
    ("more data than the size", "5\r\nhello world\r\n0\r\n\r\n"),
    ("less data than the size", "6\r\nhello\r\n0\r\n\r\n"),
    ("an extension without a name", "5;\r\nhello\r\n0\r\n\r\n"),
    ("an extension that is no token", "5;bad[=x\r\nhello\r\n0\r\n\r\n"),
    ("an extension without its value", "5;a=\r\nhello\r\n0\r\n\r\n"),
    ("an extension with half a quoted value", "5;a=\"b\r\nhello\r\n0\r\n\r\n"),
    ("a space after the size", "5 \r\nhello\r\n0\r\n\r\n"),
    ("a NUL in an extension", "5;a=\0\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF after the last chunk", "5\r\nhello\r\n0\n\r\n"),
    ("a bare LF as the end", "5\r\nhello\r\n0\r\n\n"),
    ("a trailer with a space before the colon", "5\r\nhello\r\n0\r\nX-A : 1\r\n\r\n"),
    ("a trailer without a colon", "5\r\nhello\r\n0\r\nX-A\r\n\r\n"),
    ("a trailer without a name", "5\r\nhello\r\n0\r\n: 1\r\n\r\n"),
    ("a folded trailer", "5\r\nhello\r\n0\r\nX-A: 1\r\n 2\r\n\r\n"),
    ("a trailer section that begins with a space", "5\r\nhello\r\n0\r\n X-A: 1\r\n\r\n"),
    ("a bare LF after a trailer", "5\r\nhello\r\n0\r\nX-A: 1\nX-B: 2\r\n\r\n"),
    ("a bare CR in a trailer", "5\r\nhello\r\n0\r\nX-A: 1\r2\r\n\r\n"),
    ("a NUL in a trailer", "5\r\nhello\r\n0\r\nX-A: \0\r\n\r\n"),
    ("a parenthesis in the name of a trailer", "5\r\nhello\r\n0\r\nX(A): 1\r\n\r\n"),
];

/// What is unusual and means only one thing; the body is `hello`.
const FORWARDED: &[(&str, &str)] = &[
    ("an extension", "5;a=b\r\nhello\r\n0\r\n\r\n"),
    ("an extension in quotes", "5;a=\"b;c\"\r\nhello\r\n0;d\r\n\r\n"),
    ("many chunks", "1\r\nh\r\n1\r\ne\r\n2\r\nll\r\n1\r\no\r\n0\r\n\r\n"),
    ("a last chunk of two zeros", "5\r\nhello\r\n00\r\n\r\n"),
    ("a trailer", "5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n"),
];

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let with = |body: &str| format!("POST /CASE HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let hello: &[_] = &[Has("host", "a"), Body("hello")];
    let mut cases: Vec<_> = CUT_OFF.iter().map(|(name, body)| Case::new(name, with(body), Wanted::CutOff)).collect();
    cases.extend(FORWARDED.iter().map(|(name, body)| Case::new(name, with(body), Wanted::Forwarded(hello))));
    let extensions: String = std::iter::repeat_n(format!("1;{}\r\nx\r\n", "e".repeat(200)), 200).collect();
    let trailers: String = (0..300).map(|n| format!("X-{n}: {}\r\n", "t".repeat(60))).collect();
    let forbidden =
        "5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: b\r\nTransfer-Encoding: gzip\r\nConnection: x\r\n\r\n";
    let only_once: &[_] = &[Has("host", "a"), Body("hello"), Lacks("connection")];
    cases.extend([
        Case::new(
            "an extension too large",
            with(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(20_000))),
            Wanted::CutOff,
        ),
        Case::new("a size line that never ends", with(&"0".repeat(20_000)), Wanted::CutOff),
        Case::new("extensions too large together", with(&(extensions + "0\r\n\r\n")), Wanted::CutOff),
        Case::new("trailers too large", with(&format!("5\r\nhello\r\n0\r\n{trailers}\r\n")), Wanted::CutOff),
        Case::new("trailers that frame or route", with(forbidden), Wanted::Either(only_once)),
    ]);
    cases
}
