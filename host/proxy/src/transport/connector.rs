//! Connecting to a peer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::transport::conn::Conn;
use crate::transport::proxy_header::{Introduction, ProxyVersion};
use crate::transport::tls;

/// After so long without a packet the kernel asks a peer whether it is still there.
const PROBE_AFTER: Duration = Duration::from_secs(20);

/// How Odin speaks to the endpoints of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 (and plain bytes for TCP listeners).
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
}

/// Where a connection leads and what is spoken on it. A connection to one peer is as good as any other to an equal peer,
/// unless it begins with a PROXY header: then it is one client's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Secrecy>,
    pub(crate) proxy_header: Option<ProxyVersion>,
}

/// How a peer is spoken to over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Secrecy {
    pub(crate) client: Arc<tls::Client>,
    /// The peer's name in the config, if it has one.
    pub(crate) host: Option<Arc<str>>,
}

impl Peer {
    /// Opens a connection, and sends the PROXY header, if there is to be one, before anything else.
    pub(crate) async fn connect(&self, introduction: Option<&Introduction>) -> io::Result<Conn> {
        let mut socket = TcpStream::connect(self.address).await?;
        let _ = socket.set_nodelay(true);
        if let Some(introduction) = introduction {
            let own = socket.local_addr().and_then(|local| Ok((local, socket.peer_addr()?))).ok();
            socket.write_all(&introduction.encode(own)).await?;
        }
        // Lets the kernel find out that a connection which lies idle leads nowhere any more. Without it such a connection
        // is noticed by the exchange that uses it next.
        let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AFTER / 4).with_retries(4);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&probes);
        match &self.tls {
            Some(Secrecy { client, host }) => client.connect(socket.into(), host.as_deref(), self.address.ip()).await,
            None => Ok(socket.into()),
        }
    }
}
