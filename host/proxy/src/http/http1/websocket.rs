//! The handshake of WebSocket (RFC 6455, section 4): a `101` is believed only from an upstream that understood the request,
//! so that nobody is led into a tunnel by a server that merely echoes an `Upgrade`.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use sha1::{Digest, Sha1};

use crate::http::http1::head::{HeadError, Result};

/// What every server puts behind the key before it hashes it.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A base64 text of 16 bytes.
const KEY_LENGTH: usize = 24;

/// Whether this `Upgrade` asks for WebSocket.
pub(crate) fn is_asked(upgrade: &HeaderValue) -> bool {
    upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// Checks a request that asks for it.
pub(crate) fn check(method: &Method, headers: &HeaderMap) -> Result<()> {
    let key = the_one(headers, &header::SEC_WEBSOCKET_KEY);
    let whole = |key: &HeaderValue| {
        let bytes = key.as_bytes();
        let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        bytes.len() == KEY_LENGTH && bytes.ends_with(b"==") && bytes[..KEY_LENGTH - 2].iter().all(digit)
    };
    match (method, key) {
        (&Method::GET, Some(key)) if whole(key) => Ok(()),
        (&Method::GET, _) => Err(HeadError::Malformed("a WebSocket handshake without a valid Sec-WebSocket-Key")),
        _ => Err(HeadError::Malformed("a WebSocket handshake that is no GET")),
    }
}

/// Whether the fields of a `101` answer the key of this request.
pub(crate) fn answers(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(key) = the_one(request, &header::SEC_WEBSOCKET_KEY) else { return false };
    let given = the_one(response, &header::SEC_WEBSOCKET_ACCEPT);
    given.is_some_and(|given| given.as_bytes() == accept(key.as_bytes()).as_bytes())
}

fn the_one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The `Sec-WebSocket-Accept` for a key.
fn accept(key: &[u8]) -> String {
    base64(&Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 0x3f];
            out.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_bytes_of_base64() {
        let with = |key: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static(key));
            headers
        };
        assert!(check(&Method::GET, &with("dGhlIHNhbXBsZSBub25jZQ==")).is_ok());
        assert!(check(&Method::POST, &with("dGhlIHNhbXBsZSBub25jZQ==")).is_err());
        for key in ["", "x", "dGhlIHNhbXBsZSBub25jZQ=!", "dGhlIHNhbXBsZSBub25jZQ"] {
            assert!(check(&Method::GET, &with(key)).is_err(), "{key}");
        }
        assert!(check(&Method::GET, &HeaderMap::new()).is_err());
    }
}
