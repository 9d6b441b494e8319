//! The head of a request as a server reads it: what it must hold, and how its body is delimited.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, Version, request};

use crate::http::head::{Head, Wishes};
use crate::http::http1::head::{
    ConnectionFields, Framing, HeadError, MAX_FIELDS, Result, is_authority, lists, read_fields, same_authority,
};
use crate::http::http1::websocket;

/// A checked request head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    /// Method, path and the fields of the message; no field of the connection. The authority is what the one `Host` said.
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    /// The client wants the connection kept.
    pub(crate) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expect_continue: bool,
    pub(crate) wishes: Wishes,
}

/// Reads a whole head, from the request line to the empty line.
pub(crate) fn parse(head: Bytes, max_fields: usize) -> Result<RequestHead> {
    let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let room = table.len().min(max_fields);
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&head, &mut table[..room]) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(HeadError::Malformed("incomplete head")),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Version) if let Some(head) = as_http11(&head) => return parse(head, max_fields),
        Err(error) => return Err(HeadError::Malformed(words(error))),
    }
    let version = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let method = Method::from_bytes(parsed.method.unwrap_or("").as_bytes())
        .map_err(|_| HeadError::Malformed("invalid method"))?;
    let target = parsed.path.unwrap_or("");
    // httparse skips more than one space between the parts; a peer may split the line elsewhere.
    let line = method.as_str().len() + target.len() + " HTTP/1.x\r\n".len() + 1;
    if head.get(line - 2..line) != Some(b"\r\n") {
        return Err(HeadError::Malformed("invalid request line"));
    }
    let target = head.slice_ref(target.as_bytes());
    let (fields, headers) = read_fields(&head, parsed.headers, version == Version::HTTP_11)?;
    let authority = fields.host.clone().ok_or(HeadError::Malformed("no Host"))?;
    if !is_authority(authority.as_bytes()) {
        return Err(HeadError::Malformed("invalid Host"));
    }
    let uri = target_uri(&method, target, &authority)?;

    let mut parts = Box::new(Request::new(()).into_parts().0);
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, headers);
    finish(parts, authority, fields)
}

/// The head of a later minor version, as the one that Odin knows (RFC 9110, section 2.5).
fn as_http11(head: &Bytes) -> Option<Bytes> {
    let line = head.windows(2).position(|two| two == b"\r\n")?;
    let minor = line.checked_sub(1).filter(|at| head[..*at].ends_with(b" HTTP/1."))?;
    matches!(head[minor], b'2'..=b'9').then(|| {
        let mut head = head.to_vec();
        head[minor] = b'1';
        head.into()
    })
}

fn finish(parts: Box<request::Parts>, authority: HeaderValue, fields: ConnectionFields) -> Result<RequestHead> {
    let framing = match (fields.transfer_encoding, fields.content_length) {
        (true, _) => Framing::Chunked,
        (false, Some(0) | None) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
    };
    let expect_continue = match &fields.expect {
        None => false,
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            parts.version == Version::HTTP_11 && framing != Framing::None
        }
        Some(_) => return Err(HeadError::Expectation),
    };
    let keep_alive = match parts.version {
        Version::HTTP_11 => !fields.close,
        _ => fields.keep_alive && !fields.close,
    };
    // An Upgrade on a request with a body may be ignored (RFC 9110, section 7.8), and is: no byte of such a body could
    // be told from a byte of the new protocol by a peer that gets it wrong.
    let upgradable = fields.upgrade_listed && parts.version == Version::HTTP_11 && framing == Framing::None;
    // `h2c` would carry requests past every check and every hook; what is no ASCII cannot be looked through for it.
    let upgrade = fields.upgrade.filter(|protocol| {
        upgradable
            && protocol.to_str().is_ok()
            && !lists(protocol).any(|name| name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("h2c")))
    });
    if upgrade.as_ref().is_some_and(websocket::is_asked) {
        websocket::check(&parts.method, &parts.headers)?;
    }
    Ok(RequestHead {
        wishes: Wishes { upgrade, trailers: fields.te_trailers, interim: None },
        head: Head::new(parts, authority),
        framing,
        keep_alive,
        expect_continue,
    })
}

/// The four forms of a request target (RFC 9112, section 3.2), as an origin-form [`Uri`].
fn target_uri(method: &Method, target: Bytes, authority: &HeaderValue) -> Result<Uri> {
    const INVALID: HeadError = HeadError::Malformed("invalid request target");
    if *method == Method::CONNECT {
        return Err(HeadError::NotImplemented);
    }
    // Neither belongs into a target (RFC 3986, section 2), and peers disagree on what they mean there.
    if target.iter().any(|byte| !byte.is_ascii() || *byte == b'#') {
        return Err(HeadError::Malformed("the request target holds what must be percent-encoded"));
    }
    if target.first() == Some(&b'/') {
        // A `//` would be read as an authority by some; `Uri` reads an origin-form path as it is.
        let path = http::uri::PathAndQuery::from_maybe_shared(target).map_err(|_| INVALID)?;
        return Ok(Uri::from(path));
    }
    if target.as_ref() == b"*" {
        return if *method == Method::OPTIONS { Ok(Uri::from_static("*")) } else { Err(INVALID) };
    }
    let uri = Uri::from_maybe_shared(target).map_err(|_| INVALID)?;
    let http = uri.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
    match uri.authority() {
        Some(named) if http && same_authority(named.as_str().as_bytes(), authority.as_bytes(), uri.scheme_str()) => {}
        Some(_) if http => return Err(HeadError::Malformed("Host differs from the request target")),
        _ => return Err(INVALID),
    }
    match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => Ok(Uri::from(path.clone())),
        // Only a query, before which its `Display` writes the slash.
        Some(query) if !query.as_str().is_empty() => Uri::try_from(query.to_string()).map_err(|_| INVALID),
        _ => Ok(Uri::from_static("/")),
    }
}

/// httparse's errors in the words of the grammar.
pub(crate) fn words(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "invalid field name",
        httparse::Error::HeaderValue => "invalid field value",
        httparse::Error::NewLine => "invalid line ending",
        httparse::Error::Status => "invalid status",
        httparse::Error::Token => "invalid start line",
        httparse::Error::TooManyHeaders => "too many fields",
        httparse::Error::Version => "invalid HTTP version",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_str(text: &str) -> Result<RequestHead> {
        parse(Bytes::copy_from_slice(text.as_bytes()), 100)
    }

    #[test]
    fn a_plain_request() {
        let head =
            parse_str("GET /a?b HTTP/1.1\r\nHost: x:1\r\nX-A: 1\r\nConnection: x-a, keep-alive\r\n\r\n").unwrap();
        assert_eq!(head.head.parts.uri, "/a?b");
        assert_eq!(head.head.authority, "x:1");
        assert!(head.keep_alive && head.head.parts.headers.is_empty());
        assert_eq!(head.framing, Framing::None);
    }

    #[test]
    fn no_upgrade_leads_to_http2() {
        for protocol in ["foo/2", "h2c", "foo/2, H2C", "h2c-14", "h2c\u{e9}"] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n");
            assert_eq!(parse_str(&head).unwrap().wishes.upgrade.is_some(), protocol == "foo/2", "{protocol}");
        }
    }

    #[test]
    fn an_absolute_target_becomes_its_path() {
        for (target, path) in [("http://x", "/"), ("http://x/a?b", "/a?b"), ("http://x?b", "/?b")] {
            let head = parse_str(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).unwrap();
            assert_eq!(head.head.parts.uri, path, "{target}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/2.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.10\r\nHost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        ] {
            assert!(parse_str(text).is_err(), "{text:?}");
        }
    }
}
