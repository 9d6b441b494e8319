//! What the relay carries: every byte, in order, in both directions, however it is cut and however slow the receiver.

use super::super::pipe::{Pipe, live};
use super::*;

async fn count_to_end(from: &mut TcpStream) -> usize {
    let (mut total, mut buffer) = (0, vec![0; MIB]);
    loop {
        match from.read(&mut buffer).await.unwrap() {
            0 => return total,
            count => total += count,
        }
    }
}

async fn exchanges(bytes: usize, piece: usize) {
    let peers = async |client: TcpStream, server: TcpStream| {
        exchange_patterns(client.into(), server.into(), bytes, piece).await;
    };
    let (report, ()) = Setup::new().await.relay(RelayOptions::default(), peers).await;
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
    assert_eq!((report.a_to_b, report.b_to_a), (bytes as u64, bytes as u64));
}

#[test]
fn carries_64_mib_each_way_at_once() {
    run(exchanges(64 * MIB, 256 * 1024));
}

#[test]
fn carries_pieces_of_sizes_around_the_change_of_mode() {
    for piece in [1_000, 16 * 1024 - 1, 32 * 1024, 64 * 1024, 64 * 1024 + 1, 300_000] {
        run(exchanges(4 * MIB, piece));
    }
}

#[test]
fn copies_when_there_are_no_pipes() {
    faults::PIPE.set(Some(libc::EMFILE));
    assert!(Pipe::take().is_none());
    run(exchanges(16 * MIB, 256 * 1024));
    assert_eq!(live(), 0);
}

#[test]
fn copies_what_is_in_the_pipe_when_the_sink_refuses_a_splice() {
    faults::SPLICE_OUT.set(Some(libc::EINVAL));
    run(exchanges(16 * MIB, 256 * 1024));
    assert!(live() > 0, "the pipes were never used");
}

#[test]
fn passes_many_small_messages_without_a_pipe() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        let mut buffer = [0; 64];
        for round in 0..10_000_u32 {
            client.write_all(&[round as u8; 64]).await.unwrap();
            server.read_exact(&mut buffer).await.unwrap();
            assert_eq!(buffer, [round as u8; 64]);
            server.write_all(&buffer[..1]).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), round as u8);
        }
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    assert_eq!((report.a_to_b, report.b_to_a), (640_000, 10_000));
    assert_eq!(live(), 0);
}

#[test]
fn stops_reading_while_the_receiver_stalls_and_loses_nothing() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        let total = fill(&client).await;
        assert_eq!(live(), 1, "a stalled bulk direction holds one pipe");
        client.shutdown().await.unwrap();
        assert_eq!(count_to_end(&mut server).await, total);
        server.shutdown().await.unwrap();
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
}

#[test]
fn one_direction_goes_on_while_the_other_stalls() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        let total = fill(&client).await;
        for round in 0..1_000_u32 {
            server.write_all(&[round as u8; 64]).await.unwrap();
            let mut buffer = [0; 64];
            client.read_exact(&mut buffer).await.unwrap();
            assert_eq!(buffer, [round as u8; 64]);
        }
        let sending = async {
            send_pattern(&mut server, 32 * MIB, MIB).await;
            server.shutdown().await.unwrap();
        };
        assert_eq!(tokio::join!(sending, expect_pattern(&mut client)).1, 32 * MIB);
        client.shutdown().await.unwrap();
        assert_eq!(count_to_end(&mut server).await, total);
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
}

#[test]
fn both_directions_stall_and_recover() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        for _ in 0..3 {
            let (up, down) = (fill(&client).await, fill(&server).await);
            let (mut all_up, mut all_down) = (vec![0; up], vec![0; down]);
            let (up, down) = tokio::join!(server.read_exact(&mut all_up), client.read_exact(&mut all_down));
            assert_eq!((up.unwrap(), down.unwrap()), (all_up.len(), all_down.len()));
        }
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
}

#[test]
fn writes_early_bytes_first() {
    run(async {
        let Setup { mut client, a, b, mut server } = Setup::new().await;
        client.write_all(b" and late").await.unwrap();
        let options = RelayOptions::default();
        let big: Bytes = (0..8 * MIB).map(pattern).collect::<Vec<u8>>().into();
        let relaying = relay(a.into(), b.into(), Bytes::from_static(b"early"), big.clone(), &options);
        let peers = async move {
            let mut text = [0; 14];
            server.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"early and late");
            client.shutdown().await.unwrap();
            server.shutdown().await.unwrap();
            assert_eq!(expect_pattern(&mut client).await, 8 * MIB);
        };
        let (report, ()) = tokio::join!(relaying, peers);
        assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
        assert_eq!((report.a_to_b, report.b_to_a), (14, 8 * MIB as u64));
    });
}

#[test]
fn a_bulk_relay_lets_others_run() {
    // A task beside a busy relay gets a turn at least for every 4 MiB.
    let peers = async |client: TcpStream, server: TcpStream| {
        let total = 256 * MIB;
        let done = std::cell::Cell::new(false);
        let transfer = async {
            let (mut client, mut server) = (client, server);
            let mut buffer = vec![0; MIB];
            let reading = async { while server.read(&mut buffer).await.unwrap() > 0 {} };
            let writing = async {
                let chunk = vec![1; MIB];
                for _ in 0..total / MIB {
                    client.write_all(&chunk).await.unwrap();
                }
                client.shutdown().await.unwrap();
            };
            tokio::join!(reading, writing);
            server.shutdown().await.unwrap();
            done.set(true);
        };
        let turns = async {
            let mut turns = 0_usize;
            while !done.get() {
                tokio::task::yield_now().await;
                turns += 1;
            }
            turns
        };
        let ((), turns) = tokio::join!(transfer, turns);
        assert!(turns > total / (4 * MIB), "only {turns} turns");
    };
    run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
}
