//! Whole exchanges without a socket: the client, the server loop, a call over a connection that the pool has, and the
//! upstream, all on one thread.

use odin_chain::ConnectionInfo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::downstream::detect::{Detected, detect};
use crate::downstream::local::tests as config;
use crate::http::http1::reader::Reader;
use crate::observe::access_log::LogWriter;
use crate::settings::Limits;
use crate::transport::conn::Conn;
use crate::transport::pair::{keeping, pair};
use crate::upstream::http1::connection::Connection as Upstream;
use crate::upstream::pool::Pool;

/// What a peer may be behind with reading.
const ROOM: usize = 64 * 1024;
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: c0\r\n\r\n";
/// Half of a chunk.
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabc";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Odin between its two peers.
struct Peers {
    client: Conn,
    upstream: Conn,
    pool: Rc<Pool>,
    /// Ends with the connection of the client.
    served: tokio::task::JoinHandle<()>,
}

impl Peers {
    fn new() -> Peers {
        let limits = Limits {
            head_bytes: 8 * 1024,
            head_fields: 100,
            trailer_bytes: 1024,
            upstream_connections: 1,
            ..Limits::default()
        };
        let local = config::local(&config::clusters(1), limits, None);
        let pool = config::used(&local, "c0").pools[0].clone();
        let ((client, conn), (kept, upstream)) = (pair(ROOM), pair(ROOM));
        // Whatever is written has to be flushed as well.
        let conn = keeping(conn);
        pool.put(Upstream::new(keeping(kept)));
        let handle = Handle::new(local.listeners["web"].clone());
        let nowhere = ([127, 0, 0, 1], 1).into();
        let info = ConnectionInfo::new(nowhere, nowhere, "web".into());
        let downstream = Downstream::new(info.into(), handle.drain.clone(), None);
        let worker = Worker::new(0, LogWriter::start().unwrap().handle(), || {});
        let mut new = NewConnection { conn, reader: Reader::new(), deadline: Deadline::default() };
        let served = tokio::task::spawn_local(async move {
            if detect(&mut new, &downstream.drain).await == Some(Detected::Http1) {
                serve(new, handle, downstream, worker).await;
            }
        });
        Peers { client, upstream, pool, served }
    }

    /// The client sends the head of a request, and the upstream answers it with this.
    async fn exchange(&mut self, head: &[u8], answer: &[u8]) {
        self.client.write_all(head).await.unwrap();
        read_to(&mut self.upstream, "\r\n\r\n").await;
        self.upstream.write_all(answer).await.unwrap();
    }

    /// The connection to the upstream is in the pool again, and still open.
    async fn has_kept(&self) -> bool {
        tokio::task::yield_now().await;
        self.pool.take().is_some()
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(async {
        let in_time = tokio::time::timeout(Duration::from_secs(10), tasks.run_until(test)).await;
        in_time.expect("the test hangs");
    });
}

/// Each byte is read before the next one is sent.
async fn trickle(to: &mut Conn, bytes: &[u8]) {
    for byte in bytes {
        to.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// Reads up to this text; panics at an end before it.
async fn read_to(from: &mut Conn, last: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(last.as_bytes()) {
        let byte = from.read_u8().await;
        read.push(byte.unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&read))));
    }
    String::from_utf8(read).unwrap()
}

async fn read_all(from: &mut Conn) -> String {
    let mut all = String::new();
    from.read_to_string(&mut all).await.unwrap();
    all
}

#[test]
fn messages_are_the_same_when_they_come_one_byte_at_a_time() {
    run(async {
        let mut peers = Peers::new();
        trickle(&mut peers.client, b"POST /a HTTP/1.1\r\nHost: c0\r\nContent-Length: 5\r\n\r\nhello").await;
        let asked = read_to(&mut peers.upstream, "hello").await;
        assert!(asked.starts_with("POST /a HTTP/1.1\r\nhost: c0\r\n"), "{asked}");
        trickle(&mut peers.upstream, b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        trickle(&mut peers.upstream, b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
        let answer = read_to(&mut peers.client, "0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\na: b\r\n"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let data: String = body.split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(data, "abcde");
        assert!(peers.has_kept().await);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order_over_one_upstream_connection() {
    run(async {
        let mut peers = Peers::new();
        let post = b"POST /b HTTP/1.1\r\nHost: c0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        peers.client.write_all(&[GET, post, GET].concat()).await.unwrap();
        for (path, last, answer) in [("/a", "\r\n\r\n", "1"), ("/b", "0\r\n\r\n", "2"), ("/a", "\r\n\r\n", "3")] {
            let asked = read_to(&mut peers.upstream, last).await;
            assert_eq!(asked.split(' ').nth(1), Some(path), "{asked}");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{answer}");
            peers.upstream.write_all(answer.as_bytes()).await.unwrap();
        }
        for answer in ["1", "2", "3"] {
            read_to(&mut peers.client, &format!("\r\n\r\n{answer}")).await;
        }
        peers.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut peers.client).await, "");
        peers.served.await.unwrap();
    });
}

#[test]
fn what_is_here_of_a_chunk_goes_on_before_the_rest_has_come() {
    run(async {
        let mut peers = Peers::new();
        peers.exchange(GET, HALF).await;
        read_to(&mut peers.client, "abc\r\n").await;
        peers.upstream.write_all(b"def\r").await.unwrap();
        read_to(&mut peers.client, "def\r\n").await;
        peers.upstream.write_all(b"\n0\r\nLate: yes\r\n\r\n").await.unwrap();
        assert_eq!(read_to(&mut peers.client, "\r\n\r\n").await, "0\r\nlate: yes\r\n\r\n");
        assert!(peers.has_kept().await);
    });
}

#[test]
fn a_response_that_breaks_off_never_looks_whole() {
    run(async {
        let mut peers = Peers::new();
        peers.exchange(GET, HALF).await;
        read_to(&mut peers.client, "abc\r\n").await;
        drop(peers.upstream);
        assert_eq!(read_all(&mut peers.client).await, "", "no last chunk");
        peers.served.await.unwrap();
        assert!(peers.pool.take().is_none());
    });
    run(async {
        // Without a length or chunks only a reset tells.
        let mut peers = Peers::new();
        peers.exchange(b"GET /a HTTP/1.0\r\nHost: c0\r\n\r\n", HALF).await;
        read_to(&mut peers.client, "abc").await;
        drop(peers.upstream);
        let error = peers.client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_client_that_goes_away_takes_its_exchange_along() {
    run(async {
        let mut peers = Peers::new();
        peers.client.write_all(b"POST /a HTTP/1.1\r\nHost: c0\r\nContent-Length: 5\r\n\r\nhe").await.unwrap();
        read_to(&mut peers.upstream, "he").await;
        drop(peers.client);
        assert_eq!(read_all(&mut peers.upstream).await, "", "the rest of a body that never came");
        peers.served.await.unwrap();
        assert!(peers.pool.take().is_none());
    });
}

#[test]
fn a_connection_that_the_upstream_has_closed_or_spoiled_is_not_used() {
    run(async {
        let mut peers = Peers::new();
        // Behind the answer: bytes that belong to no request.
        peers.exchange(GET, &[OK, b"more"].concat()).await;
        read_to(&mut peers.client, "\r\n\r\nok").await;
        assert!(!peers.has_kept().await);
        let (kept, upstream) = pair(ROOM);
        peers.pool.put(Upstream::new(kept));
        drop(upstream);
        assert!(!peers.has_kept().await);
    });
}

#[test]
fn a_head_that_makes_no_sense_is_refused_and_ends_the_connection() {
    run(async {
        let mut peers = Peers::new();
        trickle(&mut peers.client, b"GET /a HTTP/1.1\r\nHost: c0\r\nHost: c1\r\n\r\n").await;
        peers.client.shutdown().await.unwrap();
        let answer = read_all(&mut peers.client).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{answer}");
        assert!(peers.has_kept().await, "nothing was asked of the upstream");
    });
}

#[test]
fn what_follows_an_upgrade_is_relayed_with_the_bytes_that_came_early() {
    run(async {
        let mut peers = Peers::new();
        let asks = b"GET /a HTTP/1.1\r\nHost: c0\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly";
        let switches = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello";
        peers.exchange(asks, switches).await;
        let answer = read_to(&mut peers.client, "\r\n\r\nhello").await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        read_to(&mut peers.upstream, "early").await;
        peers.client.write_all(b" and late").await.unwrap();
        peers.client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut peers.upstream).await, " and late");
        peers.upstream.write_all(b"bye").await.unwrap();
        drop(peers.upstream);
        assert_eq!(read_all(&mut peers.client).await, "bye");
        peers.served.await.unwrap();
    });
}
