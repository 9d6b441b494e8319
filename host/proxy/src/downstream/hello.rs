//! Reads the ClientHello of a connection without answering it: it tells whether the connection is decrypted. What was read
//! stays in the reader, for whom it is relayed to. A client that cannot be served is told why by an alert.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor, ClientHello};
use tokio::io::AsyncWriteExt as _;

use crate::downstream::detect::{NewConnection, ends};
use crate::http::http1::reader::Reader;
use crate::transport::conn::{Conn, Readable as _};
use crate::transport::drain::Drain;
use crate::transport::timer::{Deadline, Elapsed};
use crate::transport::tls::Begun;

/// Bytes that a ClientHello may take with the headers of its records.
const LARGEST: usize = 64 * 1024;
/// How long a client that was told why may take to end the connection.
const LINGER: Duration = Duration::from_secs(1);

/// Numbers of alerts (RFC 8446, section 6).
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

/// What a client asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The name of the server, in lower case.
    pub(crate) sni: Option<Arc<str>>,
    /// The protocols that the client offers.
    pub(crate) alpn: Vec<Box<[u8]>>,
}

/// Why a connection is not served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// In words, for the access log.
    pub(crate) error: String,
    /// What the client is sent; empty for one that has gone.
    alert: Vec<u8>,
}

impl Refused {
    /// No route matches.
    pub(crate) fn unknown(hello: &Hello) -> Self {
        let error = match &hello.sni {
            Some(name) => format!("tls: no route for the name {name:?}"),
            None => "tls: no route for a client that names no server".to_owned(),
        };
        Refused { error, alert: fatal(UNRECOGNIZED_NAME) }
    }

    fn gone(error: &str) -> Self {
        Refused { error: error.to_owned(), alert: Vec::new() }
    }

    fn broken(error: impl std::fmt::Display, alert: Vec<u8>) -> Self {
        // Every client that is refused is told so.
        let alert = if alert.is_empty() { fatal(DECODE_ERROR) } else { alert };
        Refused { error: format!("tls: {error}"), alert }
    }

    /// Sends the alert and closes.
    pub(crate) async fn tell(self, mut conn: Conn) {
        let mut deadline = Deadline::default();
        deadline.begin(LINGER);
        if self.alert.is_empty() {
            conn.reset_on_drop();
            return;
        }
        let _ = deadline.race_limit(say(&mut conn, &self.alert)).await;
    }
}

/// An alert in a record of its own.
fn fatal(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

/// Sends the alert, and waits for the client to have read it: closing at once would reset the connection if the client is
/// still sending.
async fn say(conn: &mut Conn, alert: &[u8]) -> std::io::Result<()> {
    conn.write_all(alert).await?;
    conn.shutdown().await?;
    let (mut reader, mut dropped) = (Reader::new(), 0);
    while dropped < LARGEST {
        match poll_fn(|cx| reader.poll_fill(conn, cx)).await? {
            0 => break,
            read => dropped += read,
        }
        reader.buffer.clear();
    }
    Ok(())
}

/// Reads until the ClientHello is whole. Also answers what a handshake goes on from.
pub(crate) async fn read(new: &mut NewConnection, drain: &Drain) -> Result<(Hello, Begun), Refused> {
    let NewConnection { conn, reader, deadline } = new;
    let (mut acceptor, mut seen) = (Acceptor::default(), 0);
    poll_fn(|cx| {
        loop {
            let mut fresh = &reader.buffer[seen..];
            match take(&mut acceptor, &mut fresh) {
                Ok(None) => seen = reader.buffer.len(),
                Ok(Some((hello, accepted))) => {
                    return Poll::Ready(Ok((hello, Begun { accepted, rest: fresh.to_vec() })));
                }
                Err(refused) => return Poll::Ready(Err(refused)),
            }
            if seen >= LARGEST {
                return Poll::Ready(Err(Refused::broken("the ClientHello is too large", Vec::new())));
            }
            match reader.poll_fill(conn, cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Err(Refused::gone("the client has gone before its ClientHello"))),
                Poll::Pending if seen == 0 && ends(drain) && !conn.has_more() => {
                    return Poll::Ready(Err(Refused::gone("drained before the ClientHello")));
                }
                Poll::Pending => {
                    let late = |Elapsed| Err(Refused::gone("the ClientHello did not come in time"));
                    return deadline.poll(cx).map(late);
                }
            }
        }
    })
    .await
}

/// Gives more bytes to the parser, and leaves those that it has no use for; none while the ClientHello is not whole.
fn take(acceptor: &mut Acceptor, bytes: &mut &[u8]) -> Result<Option<(Hello, Accepted)>, Refused> {
    while !bytes.is_empty() {
        let read = acceptor.read_tls(bytes).map_err(|error| Refused::broken(error, Vec::new()))?;
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(Some((Hello::from(accepted.client_hello()), accepted))),
            Ok(None) if read == 0 => return Err(Refused::broken("the ClientHello is too large", Vec::new())),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut told = Vec::new();
                let _ = alert.write_all(&mut told);
                return Err(Refused::broken(error, told));
            }
        }
    }
    Ok(None)
}

impl From<ClientHello<'_>> for Hello {
    fn from(hello: ClientHello<'_>) -> Self {
        let sni = hello.server_name().map(|name| Arc::from(name.to_ascii_lowercase()));
        Hello { sni, alpn: hello.alpn().into_iter().flatten().map(Box::from).collect() }
    }
}

#[cfg(test)]
mod tests;
