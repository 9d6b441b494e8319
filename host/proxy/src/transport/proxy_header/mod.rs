//! The PROXY protocol: the header by which a proxy in front says who the client is. Written from the specification's text
//! (haproxy, doc/proxy-protocol.txt, versions 1 and 2); comments name its sections.
//!
//! [`parse`] and [`encode`] are bytes in, result out. [`read`] never reads beyond the header's end: what follows stays in
//! the socket, where the next step (a protocol's first bytes, TLS, `splice`) finds it.

mod crc32c;
mod out;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::SocketAddr;

use odin_chain::ProxyFacts;
use tokio::io::{AsyncRead, AsyncReadExt as _};

pub use out::ProxyVersion;
pub(crate) use out::{Introduction, Origin};

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Source and destination of the client's connection. None: those of the socket hold (LOCAL, UNKNOWN, UNSPEC, and
    /// families that a TCP proxy has no use for).
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    pub(crate) facts: ProxyFacts,
}

/// How far a header has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// At least so many more bytes belong to it.
    Needs(usize),
    /// It ends with the last byte.
    Whole(Header),
}

/// What is wrong with a header.
pub(crate) type Fault = &'static str;

/// The shortest header of version 1, `PROXY UNKNOWN\r\n`; one of version 2 is longer.
const SHORTEST: usize = 15;

/// Reads the header of which these are the first bytes, all that are here. They never go beyond its end if no more were
/// read than it needs.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted);
    match bytes.len() {
        // Both: nothing is here. Neither: it need not be waited for.
        _ if !begins(v1::PREFIX) && !begins(v2::SIGNATURE) => Err("no PROXY header comes first"),
        length if length < SHORTEST => Ok(Parsed::Needs(SHORTEST - length)),
        _ if begins(v1::PREFIX) => v1::parse(bytes),
        _ => v2::parse(bytes),
    }
}

/// What could not be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The peer has gone without a byte: it checked whether the port is open.
    Nothing,
    Malformed(Fault),
    /// The connection broke.
    Broken,
}

/// Reads the header of a connection, and not a byte more.
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Header, Unread> {
    let mut bytes = Vec::new();
    loop {
        let needs = match parse(&bytes).map_err(Unread::Malformed)? {
            Parsed::Whole(header) => return Ok(header),
            Parsed::Needs(needs) => needs,
        };
        let had = bytes.len();
        bytes.resize(had + needs, 0);
        let read = io.read(&mut bytes[had..]).await.map_err(|_| Unread::Broken)?;
        bytes.truncate(had + read);
        match (read, had) {
            (0, 0) => return Err(Unread::Nothing),
            (0, _) => return Err(Unread::Malformed("the connection ended inside its PROXY header")),
            _ => {}
        }
    }
}
