//! Request heads, byte by byte. `/CASE` stands for the path.

use crate::requests::Check::{Body, Has, Lacks};
use crate::requests::{Case, Wanted};

/// Request lines; `Host: a` follows.
const REFUSED_LINES: &[(&str, &str)] = &[
    ("no version", "GET /CASE"),
    ("no target", "GET HTTP/1.1"),
    ("an empty target", "GET  HTTP/1.1"),
    ("no method", " /CASE HTTP/1.1"),
    ("a space before the method", " GET /CASE HTTP/1.1"),
    ("two spaces before the target", "GET  /CASE HTTP/1.1"),
    ("two spaces before the version", "GET /CASE  HTTP/1.1"),
    ("a tab before the target", "GET\t/CASE HTTP/1.1"),
    ("a tab before the version", "GET /CASE\tHTTP/1.1"),
    ("a space after the version", "GET /CASE HTTP/1.1 "),
    ("a fourth part", "GET /CASE HTTP/1.1 more"),
    ("a space in the target", "GET /CASE more HTTP/1.1"),
    ("a control character in the target", "GET /CASE?\u{1} HTTP/1.1"),
    ("a NUL in the target", "GET /CASE?\0 HTTP/1.1"),
    ("a DEL in the target", "GET /CASE?\u{7f} HTTP/1.1"),
    ("a bare CR in the target", "GET /CASE?\rHost: b HTTP/1.1"),
    ("a bare CR after the version", "GET /CASE HTTP/1.1\r"),
    ("a bare LF after the version", "GET /CASE HTTP/1.1\nX-Split: 1"),
    ("a bare LF before the line", "\nGET /CASE HTTP/1.1"),
    ("bytes beyond ASCII in the method", "G\u{c9}T /CASE HTTP/1.1"),
    ("a parenthesis in the method", "GE(T /CASE HTTP/1.1"),
    ("a colon in the method", "GET: /CASE HTTP/1.1"),
    ("a NUL in the method", "G\0T /CASE HTTP/1.1"),
    ("a relative target", "GET CASE HTTP/1.1"),
    ("an asterisk for GET", "GET * HTTP/1.1"),
    ("an authority for GET", "GET a:80 HTTP/1.1"),
    ("another scheme", "GET ftp://a/CASE HTTP/1.1"),
    ("another host in the target", "GET http://b/CASE HTTP/1.1"),
    ("another port in the target", "GET http://a:81/CASE HTTP/1.1"),
    ("user information in the target", "GET http://me@a/CASE HTTP/1.1"),
    ("no host in the target", "GET http:///CASE HTTP/1.1"),
    ("a lower-case version", "GET /CASE http/1.1"),
    ("a fragment in the target", "GET /CASE#x HTTP/1.1"),
    ("bytes beyond ASCII in the target", "GET /CASE\u{c9} HTTP/1.1"),
    ("bytes beyond ASCII in the query", "GET /CASE?\u{c9} HTTP/1.1"),
    ("version 2.0", "GET /CASE HTTP/2.0"),
    ("version 0.9", "GET /CASE HTTP/0.9"),
    ("version 1", "GET /CASE HTTP/1"),
    ("version 1.10", "GET /CASE HTTP/1.10"),
    ("version 01.1", "GET /CASE HTTP/01.1"),
    ("version 1,1", "GET /CASE HTTP/1,1"),
    ("a space in the version", "GET /CASE HTTP/ 1.1"),
    ("another protocol", "GET /CASE ICY/1.1"),
];

/// Everything between `GET /CASE HTTP/1.1` and the empty line.
const REFUSED_HOSTS: &[(&str, &str)] = &[
    ("no Host", "X-A: 1\r\n"),
    ("two Hosts that agree", "Host: a\r\nHost: a\r\n"),
    ("two Hosts that differ", "Host: a\r\nHost: b\r\n"),
    ("two Hosts in two cases", "Host: a\r\nhOST: a\r\n"),
    ("an empty Host", "Host:\r\n"),
    ("a blank Host", "Host:   \r\n"),
    ("a Host with user information", "Host: me@a\r\n"),
    ("a Host with a password", "Host: me:secret@a\r\n"),
    ("a Host with a path", "Host: a/b\r\n"),
    ("a Host with a query", "Host: a?b\r\n"),
    ("a Host with a fragment", "Host: a#b\r\n"),
    ("a Host with a space", "Host: a b\r\n"),
    ("a Host with a tab", "Host: a\tb\r\n"),
    ("a Host with a backslash", "Host: a\\b\r\n"),
    ("a list of Hosts", "Host: a, b\r\n"),
    ("a Host that is a URI", "Host: http://a\r\n"),
    ("a Host beyond ASCII", "Host: \u{e4}\r\n"),
    ("a Host with a port that is no number", "Host: a:http\r\n"),
    ("a Host with a port too large", "Host: a:65536\r\n"),
    ("a Host with a signed port", "Host: a:+80\r\n"),
    ("a Host with two ports", "Host: a:80:80\r\n"),
    ("a Host that is only a port", "Host: :80\r\n"),
    ("a Host with half an IPv6 address", "Host: [::1\r\n"),
    ("a Host with no IPv6 address in brackets", "Host: [zz]\r\n"),
    ("a Host with more after the brackets", "Host: [::1]x\r\n"),
    ("a Host in quotes", "Host: \"a\"\r\n"),
];

/// Fields after `POST /CASE HTTP/1.1` and `Host: a`.
const REFUSED_FIELDS: &[(&str, &str)] = &[
    // Transfer-Encoding is exactly `chunked`.
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
    ("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n"),
    ("chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n"),
    ("two Transfer-Encodings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("two different Transfer-Encodings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ("identity", "Transfer-Encoding: identity\r\n"),
    ("an empty Transfer-Encoding", "Transfer-Encoding:\r\n"),
    ("an empty and a chunked one", "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n"),
    ("Chunked", "Transfer-Encoding: Chunked\r\n"),
    ("CHUNKED", "Transfer-Encoding: CHUNKED\r\n"),
    ("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n"),
    ("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n"),
    ("chunked and a comma", "Transfer-Encoding: chunked,\r\n"),
    ("a comma and chunked", "Transfer-Encoding: ,chunked\r\n"),
    ("xchunked", "Transfer-Encoding: xchunked\r\n"),
    ("chunkedx", "Transfer-Encoding: chunkedx\r\n"),
    ("chunked and a vertical tab", "Transfer-Encoding: chunked\u{b}\r\n"),
    ("a vertical tab and chunked", "Transfer-Encoding: \u{b}chunked\r\n"),
    ("chunked and a NUL", "Transfer-Encoding: chunked\0\r\n"),
    ("a byte beyond ASCII and chunked", "Transfer-Encoding: \u{a0}chunked\r\n"),
    ("chunked on a folded line", "Transfer-Encoding:\r\n chunked\r\n"),
    ("a space before the colon of Transfer-Encoding", "Transfer-Encoding : chunked\r\n"),
    ("a tab before the colon of Transfer-Encoding", "Transfer-Encoding\t: chunked\r\n"),
    ("Transfer-Encoding before Content-Length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ("Content-Length before Transfer-Encoding", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("Content-Length 0 and Transfer-Encoding", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    // Content-Length is digits, once.
    ("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"),
    ("two different lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
    ("two lengths in two cases", "Content-Length: 5\r\ncontent-length: 6\r\n"),
    ("a list of equal lengths", "Content-Length: 5, 5\r\n"),
    ("a list of different lengths", "Content-Length: 5,6\r\n"),
    ("a positive length", "Content-Length: +5\r\n"),
    ("a negative length", "Content-Length: -5\r\n"),
    ("a hexadecimal length", "Content-Length: 0x5\r\n"),
    ("a length with a fraction", "Content-Length: 5.0\r\n"),
    ("a length with an exponent", "Content-Length: 1e1\r\n"),
    ("a length with a space inside", "Content-Length: 5 5\r\n"),
    ("a length with a semicolon", "Content-Length: 5;\r\n"),
    ("a length in quotes", "Content-Length: \"5\"\r\n"),
    ("an empty length", "Content-Length:\r\n"),
    ("a length of other digits", "Content-Length: \u{b2}\r\n"),
    ("a length beyond 64 bits", "Content-Length: 18446744073709551621\r\n"),
    ("a length beyond everything", "Content-Length: 99999999999999999999999999999999999999999\r\n"),
    ("a length and a vertical tab", "Content-Length: 5\u{b}\r\n"),
    ("a space before the colon of Content-Length", "Content-Length : 5\r\n"),
    ("a length on a folded line", "Content-Length:\r\n 5\r\n"),
    // Lines and fields.
    ("a field folded with a space", "X-A: 1\r\n 2\r\n"),
    ("a field folded with a tab", "X-A: 1\r\n\t2\r\n"),
    ("a folded line that is blank", "X-A: 1\r\n \r\n"),
    ("a bare LF after a field", "X-A: 1\nX-B: 2\r\n"),
    ("a bare CR after a field", "X-A: 1\rX-B: 2\r\n"),
    ("a CR too many", "X-A: 1\r\r\n"),
    ("a bare CR in a value", "X-A: 1\r2\r\n"),
    ("a NUL in a value", "X-A: 1\u{0}2\r\n"),
    ("a NUL in a name", "X\0A: 1\r\n"),
    ("a control character in a value", "X-A: 1\u{1}2\r\n"),
    ("a DEL in a value", "X-A: 1\u{7f}2\r\n"),
    ("a space before the colon", "X-A : 1\r\n"),
    ("a tab before the colon", "X-A\t: 1\r\n"),
    ("no colon", "X-A\r\n"),
    ("no name", ": 1\r\n"),
    ("a space in a name", "X A: 1\r\n"),
    ("a slash in a name", "X/A: 1\r\n"),
    ("a parenthesis in a name", "X(A): 1\r\n"),
    ("a quote in a name", "X\"A: 1\r\n"),
    ("a byte beyond ASCII in a name", "X\u{e4}: 1\r\n"),
    ("Connection names something that is no field", "Connection: close, x y\r\n"),
];

/// Whole heads that are refused.
const REFUSED_HEADS: &[(&str, &str)] = &[
    ("HTTP/1.0 without Host", "GET /CASE HTTP/1.0\r\n\r\n"),
    ("HTTP/1.0 with chunks", "POST /CASE HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a space before the first field", "GET /CASE HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("a tab before the first field", "GET /CASE HTTP/1.1\r\n\tX: 1\r\nHost: a\r\n\r\n"),
    ("a Host only in the target", "GET http://a/CASE HTTP/1.1\r\n\r\n"),
    ("bare LF everywhere", "GET /CASE HTTP/1.1\nHost: a\n\n"),
    ("bare CR everywhere", "GET /CASE HTTP/1.1\rHost: a\r\r\n\r\n"),
    ("a bare LF as the empty line", "GET /CASE HTTP/1.1\r\nHost: a\r\n\n"),
    ("HTTP/0.9", "GET /CASE\r\n\r\n"),
    ("no HTTP at all", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n"),
    ("the preface of HTTP/2, misspelt", "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"),
];

const HOST_A: &[crate::requests::Check] = &[Has("host", "a")];

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let refused = |(name, text): (&'static str, String)| Case::new(name, text, Wanted::Refused);
    let lines = REFUSED_LINES.iter().map(|(name, line)| (*name, format!("{line}\r\nHost: a\r\n\r\n")));
    let hosts = REFUSED_HOSTS.iter().map(|(name, fields)| (*name, format!("GET /CASE HTTP/1.1\r\n{fields}\r\n")));
    let fields =
        REFUSED_FIELDS.iter().map(|(name, fields)| (*name, format!("POST /CASE HTTP/1.1\r\nHost: a\r\n{fields}\r\n")));
    let heads = REFUSED_HEADS.iter().map(|(name, head)| (*name, head.to_string()));
    let mut cases: Vec<_> = lines.chain(hosts).chain(fields).chain(heads).map(refused).collect();
    let get = |fields: &str| format!("GET /CASE HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let post = |fields: &str, body: &str| format!("POST /CASE HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let hello: &[_] = &[Has("host", "a"), Body("hello")];
    let many: String = (0..300).map(|n| format!("x-{n}: 1\r\n")).collect();
    cases.extend([
        Case::new("too many fields", get(&many), Wanted::RefusedWith(&[431])),
        Case::new("a head too large", get(&format!("X-A: {}\r\n", "x".repeat(70_000))), Wanted::RefusedWith(&[431])),
        Case::new("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Wanted::RefusedWith(&[400, 405, 501])),
        Case::new("a plain GET", get(""), Wanted::Forwarded(HOST_A)),
        Case::new("an upper-case name", "GET /CASE HTTP/1.1\r\nHOST: a\r\n\r\n", Wanted::Forwarded(HOST_A)),
        Case::new("no space after the colon", "GET /CASE HTTP/1.1\r\nHost:a\r\n\r\n", Wanted::Forwarded(HOST_A)),
        Case::new("space around a value", "GET /CASE HTTP/1.1\r\nHost: \t a \t\r\n\r\n", Wanted::Forwarded(HOST_A)),
        Case::new(
            "a Host with a port",
            "GET /CASE HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
            Wanted::Forwarded(&[Has("host", "a.example:8080")]),
        ),
        Case::new(
            "an IPv6 Host",
            "GET /CASE HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
            Wanted::Forwarded(&[Has("host", "[2001:db8::1]:80")]),
        ),
        Case::new(
            "the same host in the target",
            "GET http://a.example:81/CASE?x HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
            Wanted::Forwarded(&[Has("host", "a.example:81")]),
        ),
        Case::new(
            "the default port in the target alone",
            "GET http://a.example:80/CASE HTTP/1.1\r\nHost: a.example\r\n\r\n",
            Wanted::Forwarded(&[Has("host", "a.example")]),
        ),
        Case::new(
            "the default port in Host alone",
            "GET http://a.example/CASE HTTP/1.1\r\nHost: A.example:80\r\n\r\n",
            Wanted::Forwarded(&[Has("host", "A.example:80")]),
        ),
        Case::new("version 1.2", "GET /CASE HTTP/1.2\r\nHost: a\r\n\r\n", Wanted::Forwarded(HOST_A)),
        Case::new(
            "twins with underscores of fields that frame",
            post("Content_Length: 3\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n", "hello"),
            Wanted::Forwarded(&[Lacks("content_length"), Lacks("transfer_encoding"), Body("hello")]),
        ),
        Case::new(
            "twins with underscores of fields that vouch",
            get("X_Real_IP: 1\r\nx_forwarded-for: 1\r\nX_REQUEST_ID: 1\r\nForwarded_: 1\r\nX_Mine: 1\r\n"),
            Wanted::Forwarded(&[
                Lacks("x_real_ip"),
                Lacks("x_forwarded-for"),
                Lacks("x_request_id"),
                Has("x_mine", "1"),
            ]),
        ),
        Case::new(
            "credentials for a proxy",
            get("Proxy-Authorization: Basic eDp5\r\n"),
            Wanted::Forwarded(&[Lacks("proxy-authorization")]),
        ),
        Case::new("chunks", post("Transfer-Encoding: chunked\r\n", chunks), Wanted::Forwarded(hello)),
        Case::new("a GET with chunks", get("Transfer-Encoding: chunked\r\n") + chunks, Wanted::Forwarded(hello)),
        Case::new("space around chunked", post("Transfer-Encoding: \tchunked \r\n", chunks), Wanted::Either(hello)),
        Case::new("a length", post("Content-Length: 5\r\n", "hello"), Wanted::Forwarded(hello)),
        Case::new("a GET with a length", get("Content-Length: 5\r\n") + "hello", Wanted::Forwarded(hello)),
        Case::new("a length with zeros in front", post("Content-Length: 005\r\n", "hello"), Wanted::Either(hello)),
        Case::new("an empty line in front", format!("\r\n{}", get("")), Wanted::Either(HOST_A)),
        Case::new("Connection names Host", get("Connection: host\r\n"), Wanted::Either(HOST_A)),
        Case::new(
            "Connection names Content-Length",
            post("Connection: content-length\r\nContent-Length: 5\r\n", "hello"),
            Wanted::Either(hello),
        ),
        Case::new(
            "Connection names Transfer-Encoding",
            post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", chunks),
            Wanted::Either(hello),
        ),
        Case::new(
            "Connection names fields of the message",
            get("Connection: X-A, close, x-b\r\nX-A: 1\r\nX-B: 2\r\nX-B: 3\r\nX-C: 4\r\n"),
            Wanted::Forwarded(&[Lacks("x-a"), Lacks("x-b"), Has("x-c", "4")]),
        ),
        Case::new(
            "Connection names a field that Odin adds",
            get("Connection: x-forwarded-for, via\r\nX-Forwarded-For: b\r\n"),
            Wanted::Forwarded(&[Has("x-forwarded-for", "127.0.0.1"), Has("via", "1.1 odin")]),
        ),
        Case::new(
            "an upgrade to HTTP/2 behind Odin's back",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
            Wanted::Forwarded(&[Lacks("upgrade"), Lacks("http2-settings")]),
        ),
        Case::new(
            "fields of this hop",
            get("TE: gzip, trailers\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTrailer: x\r\n"),
            Wanted::Forwarded(&[Lacks("keep-alive"), Lacks("proxy-connection")]),
        ),
    ]);
    cases
}
