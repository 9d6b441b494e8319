//! Drives the relay: client ↔ (a, b) ↔ server, all on one current-thread runtime. Over real loopback connections, and in
//! `streams` over such as are no sockets.
//!
//! Ports are the system's choice. Nothing sleeps: a test waits for bytes, for an end, or for the relay's report.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{future::Future, io::ErrorKind, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

use super::{RelayEnd, RelayOptions, RelayReport, relay};
use crate::transport::conn::Conn;

mod ends;
mod moves;
mod streams;

/// Ways to make the system refuse what the relay asks of it.
pub(super) mod faults {
    use std::{cell::Cell, io};

    thread_local! {
        /// What creating a pipe answers on this thread.
        pub(super) static PIPE: Cell<Option<i32>> = const { Cell::new(None) };
        /// What a splice into a socket answers on this thread.
        pub(super) static SPLICE_OUT: Cell<Option<i32>> = const { Cell::new(None) };
    }

    pub(in super::super) fn pipe() -> io::Result<()> {
        PIPE.get().map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }

    pub(in super::super) fn splice_out() -> io::Result<()> {
        SPLICE_OUT.get().map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }
}

const MIB: usize = 1024 * 1024;

/// A relay and the two peers that talk through it.
struct Setup {
    client: TcpStream,
    a: TcpStream,
    b: TcpStream,
    server: TcpStream,
}

impl Setup {
    async fn new() -> Setup {
        let (client, a) = connected().await;
        let (b, server) = connected().await;
        Setup { client, a, b, server }
    }

    /// Runs the relay beside `peers`.
    async fn relay<T>(
        self,
        options: RelayOptions,
        peers: impl AsyncFnOnce(TcpStream, TcpStream) -> T,
    ) -> (RelayReport, T) {
        let Setup { client, a, b, server } = self;
        let relaying = relay(a.into(), b.into(), Bytes::new(), Bytes::new(), &options);
        tokio::join!(relaying, peers(client, server))
    }
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap().0);
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// One test's runtime; a test that hangs fails.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs") })
}

/// Byte `i` of a stream, not periodic in any power of two.
fn pattern(i: usize) -> u8 {
    (i.wrapping_mul(31) ^ (i >> 8).wrapping_mul(17) ^ (i >> 17)) as u8
}

async fn send_pattern(to: &mut (impl AsyncWriteExt + Unpin), total: usize, piece: usize) {
    let mut at = 0;
    while at < total {
        let bytes: Vec<u8> = (at..total.min(at + piece)).map(pattern).collect();
        to.write_all(&bytes).await.unwrap();
        at += bytes.len();
    }
}

/// Reads to the end of the stream and checks every byte; answers how many there were.
async fn expect_pattern(from: &mut (impl AsyncReadExt + Unpin)) -> usize {
    let (mut at, mut buffer) = (0, vec![0; 256 * 1024]);
    loop {
        let count = from.read(&mut buffer).await.unwrap();
        if count == 0 {
            return at;
        }
        assert!(buffer[..count].iter().zip(at..).all(|(&byte, i)| byte == pattern(i)), "bytes differ after {at}");
        at += count;
    }
}

async fn exchange_patterns(client: Conn, server: Conn, total: usize, piece: usize) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        send_pattern(&mut to_client, total, piece).await;
        to_client.shutdown().await.unwrap();
    };
    let down = async {
        send_pattern(&mut to_server, total, piece).await;
        to_server.shutdown().await.unwrap();
    };
    let ends = tokio::join!(up, down, expect_pattern(&mut from_client), expect_pattern(&mut from_server));
    assert_eq!((ends.2, ends.3), (total, total));
}

/// Writes until nothing more is taken although the relay had thousands of turns; answers how much was taken.
async fn fill(to: &TcpStream) -> usize {
    let (chunk, mut total, mut refused) = (vec![7; MIB], 0, 0);
    while refused < 2_000 {
        match to.try_write(&chunk) {
            Ok(count) => (total, refused) = (total + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refused += 1;
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    total
}

/// Closes with RST instead of FIN.
fn reset(connection: TcpStream) {
    connection.set_zero_linger().unwrap();
}
