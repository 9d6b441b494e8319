//! What clients reach: listeners, connections, and the exchange.

pub(crate) mod accept;
pub(crate) mod detect;
pub(crate) mod entrance;
pub(crate) mod exchange;
pub(crate) mod handle;
pub(crate) mod handshakes;
pub(crate) mod hello;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod listener;
pub(crate) mod local;
pub(crate) mod orders;
pub(crate) mod record;
pub(crate) mod secure;
pub(crate) mod sources;
pub(crate) mod tcp;
pub(crate) mod trim;
pub(crate) mod worker;

use std::rc::Rc;
use std::sync::Arc;

use http::uri::Scheme;
use odin_chain::ConnectionInfo;

use crate::http::fields::Client;
use crate::transport::drain::Drain;
use crate::transport::tls;

/// Values that are the same for every request of a connection.
pub(crate) struct Downstream {
    pub(crate) info: Arc<ConnectionInfo>,
    /// Of the listener that accepted it.
    pub(crate) drain: Rc<Drain>,
    pub(crate) client: Client,
    /// By whom the connection is encrypted; none when it is not.
    pub(crate) tls: Option<Arc<tls::Server>>,
}

impl Downstream {
    pub(crate) fn new(info: Arc<ConnectionInfo>, drain: Rc<Drain>, tls: Option<Arc<tls::Server>>) -> Rc<Self> {
        let certificate = info.tls.as_ref().and_then(|secured| secured.client.as_ref());
        let forwarded = tls.as_ref().is_some_and(|tls| tls.forward_client_cert).then_some(certificate);
        Rc::new(Downstream { client: Client::new(info.peer, forwarded), info, drain, tls })
    }

    /// What `https` and `http` stand for.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// The client asks over this connection for a host that the certificate which it was shown is not for: it came here by
    /// mistake, or to pass by the checks of that host (RFC 9110, section 7.4).
    pub(crate) fn is_misdirected(&self, authority: &str) -> bool {
        let Some((tls, secured)) = self.tls.as_ref().zip(self.info.tls.as_ref()) else { return false };
        let Some(sni) = &secured.sni else { return false };
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        !host.eq_ignore_ascii_case(sni) && !tls.covers(sni, &host.to_ascii_lowercase())
    }
}
