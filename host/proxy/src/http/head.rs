//! The head of a request between the codecs: what came in, and what goes upstream.

use std::fmt;
use std::rc::Rc;

use http::uri::Scheme;
use http::{HeaderValue, request, response};

/// A request's head. It belongs to the exchange or call, and moves into the state of the plugins while they need it.
///
/// Boxed, because it is moved often: a request's parts are 224 bytes.
#[derive(Debug)]
pub(crate) struct Head {
    /// Origin-form URI; no field of the connection and no `Host`.
    pub(crate) parts: Box<request::Parts>,
    /// What `Host` or `:authority` says.
    pub(crate) authority: HeaderValue,
    /// How the client reached Odin.
    pub(crate) scheme: Scheme,
}

impl Head {
    /// Of a request over plain HTTP.
    pub(crate) fn new(parts: Box<request::Parts>, authority: HeaderValue) -> Self {
        Head { parts, authority, scheme: Scheme::HTTP }
    }

    /// The host and port that routes are matched by; empty when it is no text.
    pub(crate) fn host(&self) -> &str {
        self.authority.to_str().unwrap_or("")
    }
}

/// What the client asks of the connection, for Odin to ask of the upstream's.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// The protocol to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// `TE: trailers`: the client reads them.
    pub(crate) trailers: bool,
    /// Where interim responses go; none when the client cannot get any.
    pub(crate) interim: Option<Rc<dyn Interim>>,
}

/// A client that can be told what comes before the response (RFC 9110, section 15.2).
pub(crate) trait Interim: fmt::Debug {
    /// Sends an interim response, unless the client is behind with reading.
    fn tell(&self, head: &response::Parts);
}
