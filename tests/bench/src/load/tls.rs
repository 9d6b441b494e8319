//! Clients of TLS: a handshake for every request, whole or resumed, and connections that are open and idle.
//!
//! A session that was to be resumed and was not is an error: it must never pass for one.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::{Done, response};
use crate::certificate::{NAME, certificate};

const CLIENTS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(10);
/// For the proxy to come to rest.
const SETTLE: Duration = Duration::from_millis(200);

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn config(resumption: Resumption) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()?.der.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = resumption;
    Ok(Arc::new(config))
}

fn connect(port: u16, config: &Arc<ClientConfig>) -> Result<Stream> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(StreamOwned::new(ClientConnection::new(config.clone(), ServerName::try_from(NAME)?)?, socket))
}

/// One request on a new connection. With `resumed` the handshake goes on from an earlier one.
fn visit(port: u16, config: &Arc<ClientConfig>, buffer: &mut [u8], resumed: bool) -> Result<()> {
    let mut stream = connect(port, config)?;
    stream.write_all(b"GET /bench HTTP/1.1\r\nhost: bench\r\n\r\n")?;
    response::read(&mut stream, buffer, |_| Ok(()))?;
    let kind = stream.conn.handshake_kind();
    if (kind == Some(HandshakeKind::Resumed)) != resumed {
        bail!("wanted a handshake that is {}, and it was {kind:?}", if resumed { "resumed" } else { "whole" });
    }
    Ok(())
}

/// New connections with one request each, for so many seconds.
pub(crate) fn handshakes(port: u16, seconds: u64, resumed: bool) -> Result<Done> {
    let (count, begin) = (AtomicU64::new(0), Instant::now());
    let client = || {
        let resumption = if resumed { Resumption::in_memory_sessions(16) } else { Resumption::disabled() };
        let (config, mut buffer) = (config(resumption)?, vec![0; 4 << 10]);
        if resumed {
            visit(port, &config, &mut buffer, false)?;
        }
        while begin.elapsed() < Duration::from_secs(seconds) {
            visit(port, &config, &mut buffer, resumed)?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Done { operations: count.into_inner(), seconds, p50: None, p99: None, grown: None })
}

/// Opens `count` connections that have each had an answer. `resident` is asked before, and while all are open.
pub(crate) fn idle(port: u16, count: usize, resident: impl Fn() -> Result<u64>) -> Result<Done> {
    let config = config(Resumption::disabled())?;
    let (before, begin) = (resident()?, Instant::now());
    let (mut open, mut buffer) = (Vec::with_capacity(count), vec![0; 4 << 10]);
    for _ in 0..count {
        let mut stream = connect(port, &config)?;
        stream.write_all(b"GET /bench HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        response::read(&mut stream, &mut buffer, |_| Ok(()))?;
        open.push(stream);
    }
    thread::sleep(SETTLE);
    let grown = resident()?.saturating_sub(before);
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Done { operations: count as u64, seconds, p50: None, p99: None, grown: Some(grown) })
}

/// What a client says first.
pub(crate) fn hello() -> Result<Vec<u8>> {
    let config = config(Resumption::disabled())?;
    let mut hello = Vec::new();
    ClientConnection::new(config, ServerName::try_from(NAME)?)?.write_tls(&mut hello).context("a ClientHello")?;
    Ok(hello)
}
