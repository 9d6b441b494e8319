//! The fields that a proxy adds and takes away: `Via`, `Forwarded`, `X-Forwarded-*`, `X-Request-Id` (RFC 9110 section
//! 7.6.3, RFC 7239), and the checks that HTTP/2 heads need to be as plain as HTTP/1 heads.
//!
//! What a client claims about itself is believed only where the listener says `trust-forwarded`.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use odin_chain::ClientCertificate;

use crate::http::head::Head;

const FORWARDED: HeaderName = header::FORWARDED;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name in `Via`.
const VIA_11: HeaderValue = HeaderValue::from_static("1.1 odin");
const VIA_10: HeaderValue = HeaderValue::from_static("1.0 odin");
const VIA_2: HeaderValue = HeaderValue::from_static("2 odin");

/// What upstreams are told about the client of a connection, made once.
pub(crate) struct Client {
    ip: IpAddr,
    text: HeaderValue,
    certificate: Told,
    /// `Forwarded` for the host that was asked last: nearly always the next one's too.
    forwarded: RefCell<(HeaderValue, HeaderValue)>,
}

/// What upstreams are told of the client's certificate, by `X-Forwarded-Client-Cert`.
enum Told {
    /// Nothing.
    Nothing,
    /// That there is none: what the client says of itself is removed.
    NoCertificate,
    Certificate(HeaderValue),
}

impl Client {
    /// `certificate` is none where upstreams are not told of certificates.
    pub(crate) fn new(peer: SocketAddr, certificate: Option<Option<&ClientCertificate>>) -> Self {
        let ip = peer.ip().to_canonical();
        let none = || HeaderValue::from_static("");
        let certificate = match certificate {
            None => Told::Nothing,
            Some(None) => Told::NoCertificate,
            Some(Some(certificate)) => Told::Certificate(value(described(certificate))),
        };
        Client { ip, text: value(ip.to_string()), certificate, forwarded: RefCell::new((none(), none())) }
    }

    /// `for=192.0.2.1;host=example.com;proto=http` (RFC 7239, section 4).
    fn forwarded(&self, authority: &HeaderValue, scheme: &str) -> HeaderValue {
        let mut cached = self.forwarded.borrow_mut();
        if cached.0 != authority {
            let host = authority.to_str().unwrap_or("");
            let client = match self.ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("\"[{ip}]\""),
            };
            // A port or an IPv6 host is no token: it is quoted.
            let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            let host = if plain { host.to_owned() } else { format!("\"{host}\"") };
            *cached = (authority.clone(), value(format!("for={client};host={host};proto={scheme}")));
        }
        cached.1.clone()
    }
}

/// As Envoy writes it: `Hash=…;Subject="…";URI=…;DNS=…`.
fn described(certificate: &ClientCertificate) -> String {
    // What stands in quotes must not end them; what does not is no separator.
    let quoted = certificate.subject.replace('\\', "\\\\").replace('"', "\\\"");
    let plain = |name: &&String| name.bytes().all(|byte| byte.is_ascii_graphic() && !b";,\"=".contains(&byte));
    let mut text = format!("Hash={};Subject=\"{quoted}\"", certificate.fingerprint);
    certificate.uris.iter().filter(plain).for_each(|uri| text.extend([";URI=", uri]));
    certificate.dns.iter().filter(plain).for_each(|name| text.extend([";DNS=", name]));
    text
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Writes what the upstream learns about the client. Returns the request's id.
pub(crate) fn forward_request(head: &mut Head, client: &Client, trusted: bool, ids: &RequestIds) -> HeaderValue {
    let Head { parts, authority, scheme } = head;
    let headers = &mut parts.headers;
    let scheme = if *scheme == Scheme::HTTPS { "https" } else { "http" };
    let forwarded = client.forwarded(authority, scheme);
    let id = match headers.get(&X_REQUEST_ID) {
        Some(id) if trusted && !id.is_empty() && id.len() <= 128 => id.clone(),
        _ => {
            let id = ids.next();
            headers.insert(X_REQUEST_ID, id.clone());
            id
        }
    };
    if trusted {
        extend(headers, X_FORWARDED_FOR, &client.text);
        extend(headers, FORWARDED, &forwarded);
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| authority.clone());
    } else {
        headers.insert(X_FORWARDED_FOR, client.text.clone());
        headers.insert(FORWARDED, forwarded);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        headers.insert(X_FORWARDED_HOST, authority.clone());
        headers.remove(X_REAL_IP);
        remove_other_claims(headers);
    }
    match &client.certificate {
        Told::Nothing => {}
        Told::NoCertificate => drop(headers.remove(X_FORWARDED_CLIENT_CERT)),
        Told::Certificate(certificate) => drop(headers.insert(X_FORWARDED_CLIENT_CERT, certificate.clone())),
    }
    // Credentials for a proxy: Odin asks for none, and the upstream must not get them (RFC 9110, section 11.7.2).
    headers.remove(header::PROXY_AUTHORIZATION);
    via(headers, parts.version);
    id
}

/// Writes what the client learns about the way of a response, which came in this version.
pub(crate) fn forward_response(headers: &mut HeaderMap, version: Version) {
    // They speak of the connection to the next proxy (RFC 9110, section 11.7), which Odin is not for its upstream.
    headers.remove(header::PROXY_AUTHENTICATE);
    headers.remove(HeaderName::from_static("proxy-authentication-info"));
    via(headers, version);
}

/// Removes what is left of `X-Forwarded-*`: `-Port`, `-Prefix`, `-Ssl` and whatever else an upstream may believe.
fn remove_other_claims(headers: &mut HeaderMap) {
    let own = [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO];
    let claim = |name: &&HeaderName| name.as_str().starts_with("x-forwarded-") && !own.contains(name);
    while let Some(name) = headers.keys().find(claim).cloned() {
        headers.remove(name);
    }
}

/// Adds this proxy to `Via`; `version` is that of the message as it was received.
fn via(headers: &mut HeaderMap, version: Version) {
    headers.append(
        header::VIA,
        match version {
            Version::HTTP_2 => VIA_2,
            Version::HTTP_10 => VIA_10,
            _ => VIA_11,
        },
    );
}

/// Joins the values that are there with one more, as one list.
fn extend(headers: &mut HeaderMap, name: HeaderName, last: &HeaderValue) {
    let mut list = Vec::new();
    for part in headers.get_all(&name) {
        list.extend_from_slice(part.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(last.as_bytes());
    headers.insert(name, HeaderValue::from_maybe_shared(Bytes::from(list)).unwrap_or_else(|_| last.clone()));
}

/// Makes request ids: 128 bits as hexadecimal, unique, not secret.
pub(crate) struct RequestIds {
    state: Cell<[u64; 2]>,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let seed = |n: u64| RandomState::new().hash_one(n);
        RequestIds { state: Cell::new([seed(1), seed(2)]) }
    }

    /// The next id.
    pub(crate) fn next(&self) -> HeaderValue {
        // splitmix64 over two counters.
        let mix = |mut x: u64| {
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        };
        let [a, b] = self.state.get();
        self.state.set([a.wrapping_add(0x9e37_79b9_7f4a_7c15), b.wrapping_add(0xd1b5_4a32_d192_ed03)]);
        let mut text = Vec::with_capacity(32);
        for word in [mix(a), mix(b)] {
            text.extend((0..16).rev().map(|place| b"0123456789abcdef"[(word >> (4 * place)) as usize & 0xf]));
        }
        HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }
}

/// Whether a field is one of those that frame a message or tell where it comes from, with underscores: a CGI backend takes
/// `X_Real_IP` for `X-Real-IP`. Such twins are dropped, or they would get past what Odin does with the real ones.
pub(crate) fn is_twin(name: &str) -> bool {
    if !name.contains('_') {
        return false;
    }
    let name = name.replace('_', "-").to_ascii_lowercase();
    name.starts_with("x-forwarded-")
        || matches!(
            name.as_str(),
            "content-length" | "transfer-encoding" | "te" | "trailer" | "host" | "connection" | "keep-alive"
        )
        || matches!(
            name.as_str(),
            "upgrade" | "expect" | "proxy-connection" | "proxy-authorization" | "forwarded" | "via" | "x-real-ip"
        )
        || name == "x-request-id"
}

/// Drops the twins of a head from HTTP/2; the HTTP/1 codec never lets them in.
pub(crate) fn drop_twins(headers: &mut HeaderMap) {
    let twins: Vec<HeaderName> = headers.keys().filter(|name| is_twin(name.as_str())).cloned().collect();
    for name in twins {
        headers.remove(name);
    }
}

/// Fields that HTTP/2 forbids (RFC 9113, section 8.2.2), or whose name is no token (RFC 9110, section 5.1): a plain head
/// holds neither.
pub(crate) fn connection_fields(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONNECTION)
        || headers.contains_key(header::TRANSFER_ENCODING)
        || headers.contains_key(header::UPGRADE)
        || headers.contains_key("keep-alive")
        || headers.contains_key("proxy-connection")
        || headers.get_all(header::TE).iter().any(|te| te != "trailers")
        || headers.keys().any(|name| !is_token(name))
}

/// Whether HTTP/1 can carry the name. The only name that is none and is a [`HeaderName`]: h2 lets a quote through.
pub(crate) fn is_token(name: &HeaderName) -> bool {
    memchr::memchr(b'"', name.as_str().as_bytes()).is_none()
}

/// Cookies may come in pieces over HTTP/2; HTTP/1 wants one field (RFC 9113, section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let parts: Vec<&[u8]> = pieces.filter(|piece| !piece.is_empty()).collect();
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(parts.join(&b"; "[..]))) {
        headers.insert(header::COOKIE, joined);
    }
}
