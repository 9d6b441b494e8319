//! What the host knows about the exchange or connection: the `odin.*` values of the context, with their types.
//! Read-only; a fact that is not known yet is `None`.
//!
//! ```
//! # use odin_sdk::{Decision, Request, Result, facts};
//! fn on_request_headers(request: &Request) -> Result {
//!     if facts::client_address().is_some_and(|address| address.ip().is_loopback()) {
//!         request.set("x-local", "yes")?;
//!     }
//!     Ok(Decision::Continue)
//! }
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use crate::context::{self, Stored};

fn fact<T: Stored>(name: &str) -> Option<T::Owned> {
    T::read(context::get(name)?)
}

fn nanoseconds(name: &str) -> Option<Duration> {
    fact::<u64>(name).map(Duration::from_nanos)
}

fn address(name: &str) -> Option<SocketAddr> {
    fact::<String>(name)?.parse().ok()
}

/// The value of `X-Request-Id`, as it goes upstream.
pub fn request_id() -> Option<String> {
    fact::<String>("odin.request-id")
}

/// Who connected.
pub fn client_address() -> Option<SocketAddr> {
    address("odin.client-address")
}

/// The address that was connected to.
pub fn local_address() -> Option<SocketAddr> {
    address("odin.local-address")
}

/// The name of the listener.
pub fn listener() -> Option<String> {
    fact::<String>("odin.listener")
}

/// The route that matched.
pub fn route() -> Option<String> {
    fact::<String>("odin.route")
}

/// The cluster that the exchange or connection goes to.
pub fn cluster() -> Option<String> {
    fact::<String>("odin.cluster")
}

/// The endpoint that was picked.
pub fn endpoint() -> Option<SocketAddr> {
    address("odin.endpoint")
}

/// How the exchange failed, in words; `None` while it has not.
pub fn error() -> Option<String> {
    fact::<String>("odin.error")
}

/// 1 for the first endpoint that is tried, 2 for the next.
pub fn attempt() -> Option<u32> {
    fact::<u32>("odin.attempt")
}

/// When it began, since 1970-01-01T00:00:00Z.
pub fn started() -> Option<Duration> {
    nanoseconds("odin.started")
}

/// From its beginning until now.
pub fn elapsed() -> Option<Duration> {
    nanoseconds("odin.elapsed")
}

/// Bytes of the request's body so far; of a TCP connection, from the client.
pub fn bytes_received() -> Option<u64> {
    fact::<u64>("odin.bytes-received")
}

/// Bytes of the response's body so far; of a TCP connection, to the client.
pub fn bytes_sent() -> Option<u64> {
    fact::<u64>("odin.bytes-sent")
}

/// The status of the response; in `on_exchange_end` what the client got.
pub fn status() -> Option<u16> {
    fact::<u16>("odin.status")
}

/// Whether the client came over TLS.
pub fn tls() -> Option<bool> {
    fact::<bool>("odin.tls")
}

/// The version of TLS: `TLSv1.3` or `TLSv1.2`.
pub fn tls_version() -> Option<String> {
    fact::<String>("odin.tls.version")
}

/// The name that the client asked for in its TLS handshake (SNI), in lower case.
pub fn tls_sni() -> Option<String> {
    fact::<String>("odin.tls.sni")
}

/// The subject of the certificate that the client has shown, as in `CN=client, O=example`. It was checked.
pub fn tls_client_subject() -> Option<String> {
    fact::<String>("odin.tls.client-subject")
}

/// The names in that certificate (DNS names, URIs, others), with a comma between two.
pub fn tls_client_names() -> Option<String> {
    fact::<String>("odin.tls.client-names")
}

/// The SHA-256 of that certificate, in hexadecimal.
pub fn tls_client_fingerprint() -> Option<String> {
    fact::<String>("odin.tls.client-fingerprint")
}
