//! Clients that talk without pause while a test changes Odin under them, and what became of every exchange.
//!
//! Never tries anything again: what a client would have noticed is a failure. A connection whose end was announced, by
//! `Connection: close` or GOAWAY, is followed by another.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::backend::Protocol;
use crate::client::{Connection, get};
use crate::wait::until;

/// How a client talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// HTTP with a new connection for each request.
    New(Protocol),
    /// HTTP on one connection for as long as Odin lets it.
    Kept(Protocol),
    /// A relayed connection for each message, to an echo without a greeting.
    NewTcp,
    /// One relayed connection, which must last.
    KeptTcp,
}

/// What the clients have done.
#[derive(Debug, Default)]
struct Tally {
    requests: AtomicUsize,
    messages: AtomicUsize,
    connections: AtomicUsize,
    relays: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// Clients at work.
#[derive(Default)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    clients: JoinSet<()>,
}

/// What clients have done, when nothing of it failed.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// HTTP requests that were answered with 200.
    pub requests: usize,
    /// Messages that came back from the echo.
    pub messages: usize,
    /// Connections of HTTP clients.
    pub connections: usize,
    /// Relayed connections.
    pub relays: usize,
}

impl Done {
    /// Requests and messages.
    pub fn exchanges(&self) -> usize {
        self.requests + self.messages
    }
}

impl Load {
    /// So many more clients of this kind.
    pub fn clients(&mut self, number: usize, talk: Talk, address: SocketAddr) {
        for _ in 0..number {
            let (stop, tally) = (Arc::clone(&self.stop), Arc::clone(&self.tally));
            self.clients.spawn(async move {
                while !stop.load(Relaxed) {
                    let talked = match talk {
                        Talk::New(protocol) => http(protocol, false, address, &stop, &tally).await,
                        Talk::Kept(protocol) => http(protocol, true, address, &stop, &tally).await,
                        Talk::NewTcp => tcp(false, address, &stop, &tally).await,
                        Talk::KeptTcp => tcp(true, address, &stop, &tally).await,
                    };
                    if let Err(error) = talked {
                        tally.failures.lock().unwrap().push(format!("{talk:?}: {error}"));
                        // It would fail again and again.
                        return;
                    }
                }
            });
        }
    }

    /// Requests and messages so far.
    pub fn exchanges(&self) -> usize {
        self.tally.requests.load(Relaxed) + self.tally.messages.load(Relaxed)
    }

    /// Waits until there were so many exchanges; fails as soon as one failed.
    pub async fn reaches(&self, exchanges: usize) {
        let mut seen = self.exchanges();
        // A deadline for each bit of progress, not for all of it.
        while seen < exchanges {
            self.check();
            let before = seen;
            seen = until("the clients get answers", async || Some(self.exchanges()).filter(|now| *now > before)).await;
        }
    }

    /// Fails if an exchange has failed.
    #[track_caller]
    pub fn check(&self) {
        let failures = self.tally.failures.lock().unwrap();
        let some = &failures[..failures.len().min(10)];
        assert!(failures.is_empty(), "{} failures after {} exchanges: {some:#?}", failures.len(), self.exchanges());
    }

    /// Lets all clients finish what they do. Nothing may have failed.
    pub async fn end(mut self) -> Done {
        self.stop.store(true, Relaxed);
        while let Some(client) = self.clients.join_next().await {
            if let Err(error) = client {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.check();
        let Tally { requests, messages, connections, relays, .. } = &*self.tally;
        let [requests, messages, connections, relays] =
            [requests, messages, connections, relays].map(|count| count.load(Relaxed));
        Done { requests, messages, connections, relays }
    }
}

/// One connection, with one request or with as many as it takes.
async fn http(
    protocol: Protocol,
    kept: bool,
    address: SocketAddr,
    stop: &AtomicBool,
    tally: &Tally,
) -> Result<(), String> {
    let mut client = Connection::try_connect(protocol, address).await?;
    tally.connections.fetch_add(1, Relaxed);
    for turn in 0.. {
        let response = match client.try_send(get("/")).await {
            Ok(response) => response,
            // The end of the connection was announced before this request was sent: that is no failure of the request.
            Err(error) if turn > 0 && protocol == Protocol::Http2 && unsent(&error) => {
                return client.end().await.map_err(|error| format!("after {turn} requests: {error:?}"));
            }
            Err(error) => return Err(format!("request {turn}: {error:?}")),
        };
        if response.status != 200 {
            return Err(format!("request {turn}: {response:?}"));
        }
        tally.requests.fetch_add(1, Relaxed);
        let last =
            response.headers.get("connection").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        if !kept || last || stop.load(Relaxed) {
            break;
        }
    }
    Ok(())
}

/// Whether GOAWAY came before an HTTP/2 request went.
fn unsent(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
}

async fn tcp(kept: bool, address: SocketAddr, stop: &AtomicBool, tally: &Tally) -> Result<(), String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed("connect"))?;
    let _ = stream.set_nodelay(true);
    tally.relays.fetch_add(1, Relaxed);
    loop {
        let message = tally.messages.load(Relaxed).to_be_bytes();
        stream.write_all(&message).await.map_err(failed("write"))?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).await.map_err(failed("read"))?;
        if answer != message {
            return Err(format!("{answer:?} came back of {message:?}"));
        }
        tally.messages.fetch_add(1, Relaxed);
        if !kept || stop.load(Relaxed) {
            break;
        }
    }
    stream.shutdown().await.map_err(failed("shutdown"))?;
    match stream.read(&mut [0]).await {
        Ok(0) => Ok(()),
        other => Err(format!("after the end: {other:?}")),
    }
}
