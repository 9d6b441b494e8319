//! The header that Odin sends to an endpoint, first of all: on whose behalf it has connected.

use std::net::SocketAddr;

use super::{v1, v2};

/// Which header the endpoints of a cluster get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// One line of text: addresses.
    V1,
    /// Binary, with what else is known of the client's connection.
    V2,
}

/// What a connection to an endpoint begins with.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) version: ProxyVersion,
    /// None for a connection that no client has asked for.
    pub(crate) origin: Option<Origin>,
}

/// A client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    /// Where the client has connected to.
    pub(crate) local: SocketAddr,
    pub(crate) authority: Option<Box<[u8]>>,
    pub(crate) alpn: Option<Box<[u8]>>,
    pub(crate) unique_id: Option<Box<[u8]>>,
}

impl Introduction {
    /// The header. `own` are the ends of the connection that it is sent on: a line of version 1 without a client has those,
    /// for some receivers refuse `UNKNOWN` (section 2.1).
    pub(crate) fn encode(&self, own: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
        let origin = self.origin.as_ref();
        match self.version {
            ProxyVersion::V1 => v1::encode(origin.map(|origin| (origin.peer, origin.local)).or(own)),
            ProxyVersion::V2 => v2::encode(origin),
        }
    }
}
