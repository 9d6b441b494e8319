//! A relay of which one end or both are no socket: the same promises, and never a pipe.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use tokio::io::AsyncWrite;

use super::super::{Side, pipe::live};
use super::*;
use crate::transport::drain::{Drain, Phase, Schedule};
use crate::transport::pair::{keeping, pair};

/// What a stream takes that its peer has not read.
const ROOM: usize = 100_000;

/// Which of the two connections are streams.
const MIXES: [(bool, bool); 3] = [(true, true), (true, false), (false, true)];

async fn ends(stream: bool) -> (Conn, Conn) {
    if stream {
        return pair(ROOM);
    }
    let (near, far) = connected().await;
    (near.into(), far.into())
}

/// Runs a relay beside its peers once for each mix.
fn each_mix<T>(options: &RelayOptions, peers: impl AsyncFn(Conn, Conn) -> T, check: impl Fn(RelayReport, T)) {
    for (left, right) in MIXES {
        run(async {
            let ((client, a), (b, server)) = (ends(left).await, ends(right).await);
            let relaying = relay(a, b, Bytes::new(), Bytes::new(), options);
            let (report, seen) = tokio::join!(relaying, peers(client, server));
            check(report, seen);
        });
    }
    assert_eq!(live(), 0, "a pipe was used");
}

/// Reads to the end, however it comes.
async fn end_of(conn: &mut Conn) -> std::io::Result<usize> {
    let mut all = Vec::new();
    conn.read_to_end(&mut all).await
}

/// Writes until nothing more is taken although the relay had thousands of turns; answers how much was taken.
async fn fill_stream(to: &mut Conn) -> usize {
    let (chunk, mut total, mut refused) = ([7; 10_000], 0, 0);
    while refused < 2_000 {
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut *to).poll_write(cx, &chunk))).await {
            Poll::Ready(sent) => (total, refused) = (total + sent.unwrap(), 0),
            Poll::Pending => {
                refused += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    total
}

fn expect_closed(report: &RelayReport) {
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
}

#[test]
fn carries_every_byte_each_way_at_once() {
    for piece in [999, 64 * 1024, 300_000] {
        let peers = async |client, server| exchange_patterns(client, server, 4 * MIB, piece).await;
        each_mix(&RelayOptions::default(), peers, |report, ()| {
            expect_closed(&report);
            assert_eq!((report.a_to_b, report.b_to_a), (4 * MIB as u64, 4 * MIB as u64));
        });
    }
}

#[test]
fn either_side_goes_on_after_the_other_ended_its_direction() {
    let talk = async |mut first: Conn, mut second: Conn| {
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        assert_eq!(end_of(&mut second).await.unwrap(), 8);
        let answering = async {
            send_pattern(&mut second, MIB, 10_000).await;
            second.shutdown().await.unwrap();
        };
        assert_eq!(tokio::join!(answering, expect_pattern(&mut first)).1, MIB);
    };
    each_mix(&RelayOptions::default(), talk, |report, ()| expect_closed(&report));
    let turned = async |client, server| talk(server, client).await;
    each_mix(&RelayOptions::default(), turned, |report, ()| expect_closed(&report));
}

#[test]
fn a_broken_connection_resets_the_other_behind_its_last_bytes() {
    let breaks = async |mut first: Conn, mut second: Conn| {
        first.write_all(b"last words").await.unwrap();
        second.read_exact(&mut [0; 10]).await.unwrap();
        first.reset_on_drop();
        drop(first);
        end_of(&mut second).await.unwrap_err().kind()
    };
    let of = |expected| {
        move |report: RelayReport, seen| {
            assert!(matches!(report.end, RelayEnd::Error { side, .. } if side == expected), "{report:?}");
            assert_eq!(seen, ErrorKind::ConnectionReset);
        }
    };
    each_mix(&RelayOptions::default(), breaks, of(Side::A));
    let turned = async |client, server| breaks(server, client).await;
    each_mix(&RelayOptions::default(), turned, of(Side::B));
}

#[test]
fn a_stalled_receiver_makes_the_relay_hold_one_buffer_and_lose_nothing() {
    run(async {
        let ((mut client, a), (b, mut server)) = (pair(ROOM), pair(ROOM));
        let options = RelayOptions::default();
        let peers = async {
            let total = fill_stream(&mut client).await;
            // What both streams take, and one read of the relay.
            assert!((2 * ROOM..=2 * ROOM + 64 * 1024).contains(&total), "{total}");
            client.shutdown().await.unwrap();
            assert_eq!(end_of(&mut server).await.unwrap(), total);
            server.shutdown().await.unwrap();
        };
        let (report, ()) = tokio::join!(relay(a, b, Bytes::new(), Bytes::new(), &options), peers);
        expect_closed(&report);
    });
}

#[test]
fn silence_ends_a_relay_and_only_bytes_that_are_lost_make_it_a_reset() {
    let options = RelayOptions { idle: Some(Duration::from_millis(200)), drain: None };
    let quiet = async |mut client: Conn, mut server: Conn| {
        client.write_all(b"last words").await.unwrap();
        (end_of(&mut server).await.unwrap(), end_of(&mut client).await.unwrap())
    };
    each_mix(&options, quiet, |report, seen| {
        assert!(matches!(report.end, RelayEnd::Idle), "{report:?}");
        assert_eq!(seen, (10, 0));
    });
    run(async {
        let ((mut client, a), (b, mut server)) = (pair(ROOM), pair(ROOM));
        let peers = async {
            fill_stream(&mut client).await;
            // Not read before the relay has ended.
            let error = end_of(&mut client).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert_eq!(end_of(&mut server).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        };
        let (report, ()) = tokio::join!(relay(a, b, Bytes::new(), Bytes::new(), &options), peers);
        assert!(matches!(report.end, RelayEnd::Idle), "{report:?}");
    });
}

#[test]
fn what_a_stream_keeps_goes_out_before_the_relay_waits() {
    run(async {
        // So little room that a flush has to wait as well.
        let ((mut client, a), (b, mut server)) = (pair(ROOM), pair(10));
        let b = keeping(b);
        let options = RelayOptions::default();
        let peers = async {
            for _ in 0..3 {
                client.write_all(b"a message of 22 bytes.").await.unwrap();
                let mut message = [0; 22];
                server.read_exact(&mut message).await.unwrap();
                assert_eq!(&message, b"a message of 22 bytes.");
            }
            client.write_all(b"and the last one of all").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(end_of(&mut server).await.unwrap(), 23);
            server.shutdown().await.unwrap();
        };
        let (report, ()) = tokio::join!(relay(a, b, Bytes::new(), Bytes::new(), &options), peers);
        expect_closed(&report);
    });
}

#[test]
fn the_end_of_a_drain_is_a_reset() {
    run(async {
        let ((mut client, a), (b, mut server)) = (pair(ROOM), pair(ROOM));
        let drain = Rc::new(Drain::default());
        let options = RelayOptions { idle: None, drain: Some(drain.clone()) };
        let peers = async {
            drain.advance(Phase::Over, &Schedule::new(Instant::now(), false));
            // A worker wakes its connections then.
            client.write_all(b"wakes the relay").await.unwrap();
            [end_of(&mut client).await, end_of(&mut server).await].map(|end| end.unwrap_err().kind())
        };
        let (report, seen) = tokio::join!(relay(a, b, Bytes::new(), Bytes::new(), &options), peers);
        assert!(matches!(report.end, RelayEnd::Drained), "{report:?}");
        assert_eq!(seen, [ErrorKind::ConnectionReset; 2]);
    });
}
