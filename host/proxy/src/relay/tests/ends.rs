//! How a relay ends: half-closes are passed on, resets are never mistaken for ends, silence is noticed.

use std::time::Instant;

use super::super::{Direction, Side};
use super::*;

/// Reads until the connection ends, and says how.
async fn end_of(connection: &mut TcpStream) -> std::io::Result<usize> {
    let (mut total, mut buffer) = (0, vec![0; MIB]);
    loop {
        match connection.read(&mut buffer).await? {
            0 => return Ok(total),
            count => total += count,
        }
    }
}

async fn expect_reset(connection: &mut TcpStream) {
    let error = end_of(connection).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// The relay's end must be a failure of `expected`'s connection.
fn expect_failure(report: &RelayReport, expected: Side) {
    match report.end {
        RelayEnd::Error { side, .. } if side == expected => {}
        _ => panic!("{report:?}"),
    }
}

#[test]
fn the_server_goes_on_after_the_client_ended_its_direction() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        let answering = async {
            send_pattern(&mut server, 8 * MIB, MIB).await;
            server.shutdown().await.unwrap();
        };
        assert_eq!(tokio::join!(answering, expect_pattern(&mut client)).1, 8 * MIB);
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
}

#[test]
fn the_client_goes_on_after_the_server_ended_its_direction() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        server.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        let sending = async {
            send_pattern(&mut client, 8 * MIB, MIB).await;
            client.shutdown().await.unwrap();
        };
        assert_eq!(tokio::join!(sending, expect_pattern(&mut server)).1, 8 * MIB);
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
}

#[test]
fn a_reset_of_a_quiet_server_reaches_the_client() {
    let peers = async |mut client: TcpStream, server: TcpStream| {
        reset(server);
        expect_reset(&mut client).await;
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    assert!(matches!(report.end, RelayEnd::Error { side: Side::B, direction: Direction::BToA, .. }), "{report:?}");
}

#[test]
fn a_reset_of_a_quiet_client_reaches_the_server() {
    let peers = async |client: TcpStream, mut server: TcpStream| {
        reset(client);
        expect_reset(&mut server).await;
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    expect_failure(&report, Side::A);
}

#[test]
fn a_reset_after_a_half_close_reaches_the_other_side() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
        reset(client);
        // It read the client's end before, so only the error itself and a write can tell.
        server.ready(tokio::io::Interest::ERROR).await.unwrap();
        server.write_all(b"answer").await.unwrap_err();
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    expect_failure(&report, Side::A);
}

#[test]
fn a_reset_receiver_ends_a_bulk_sender() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        let chunk = vec![1; MIB];
        let sending = async { while client.write_all(&chunk).await.is_ok() {} };
        let resetting = async move {
            server.read_exact(&mut vec![0; 16 * MIB]).await.unwrap();
            reset(server);
        };
        tokio::join!(sending, resetting);
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    expect_failure(&report, Side::B);
}

#[test]
fn a_reset_sender_is_noticed_while_the_receiver_stalls() {
    let peers = async |client: TcpStream, server: TcpStream| {
        let total = fill(&client).await;
        reset(client);
        // The server may read what had arrived, and must not see an end.
        let started = Instant::now();
        server.peek(&mut [0; 1]).await.unwrap();
        server.ready(tokio::io::Interest::ERROR).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        (total, server)
    };
    let (report, (total, _server)) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    expect_failure(&report, Side::A);
    assert!(report.a_to_b < total as u64);
}

#[test]
fn the_last_bytes_of_a_reset_server_reach_the_client() {
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        // The client's bytes are never read, so that the close becomes a reset behind the answer.
        client.write_all(b"ignored").await.unwrap();
        server.peek(&mut [0; 1]).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        expect_reset(&mut client).await;
    };
    let (report, ()) = run(async { Setup::new().await.relay(RelayOptions::default(), peers).await });
    expect_failure(&report, Side::B);
}

#[test]
fn silence_ends_a_relay() {
    let idle = Duration::from_millis(100);
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        client.write_all(b"last words").await.unwrap();
        let started = Instant::now();
        assert_eq!(end_of(&mut server).await.unwrap(), 10);
        assert_eq!(end_of(&mut client).await.unwrap(), 0);
        assert!(started.elapsed() >= idle, "{:?}", started.elapsed());
    };
    let options = RelayOptions { idle: Some(idle), drain: None };
    let (report, ()) = run(async { Setup::new().await.relay(options, peers).await });
    assert!(matches!(report.end, RelayEnd::Idle), "{report:?}");
}

#[test]
fn traffic_in_one_direction_keeps_a_relay_alive() {
    let idle = Duration::from_millis(100);
    let peers = async |mut client: TcpStream, mut server: TcpStream| {
        let started = Instant::now();
        while started.elapsed() < 4 * idle {
            client.write_all(&[1]).await.unwrap();
            server.read_u8().await.unwrap();
        }
    };
    let options = RelayOptions { idle: Some(idle), drain: None };
    let (report, ()) = run(async { Setup::new().await.relay(options, peers).await });
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
}

#[test]
fn an_idle_end_that_cuts_bytes_off_is_a_reset() {
    let peers = async |client: TcpStream, mut server: TcpStream| {
        fill(&client).await;
        server.ready(tokio::io::Interest::ERROR).await.unwrap();
        expect_reset(&mut server).await;
    };
    let options = RelayOptions { idle: Some(Duration::from_millis(200)), drain: None };
    let (report, ()) = run(async { Setup::new().await.relay(options, peers).await });
    assert!(matches!(report.end, RelayEnd::Idle), "{report:?}");
}

#[test]
fn an_endless_idle_limit_is_a_limit() {
    let options = RelayOptions { idle: Some(Duration::MAX), drain: None };
    let peers = async |client: TcpStream, server: TcpStream| {
        exchange_patterns(client.into(), server.into(), MIB, MIB).await;
    };
    let (report, ()) = run(async { Setup::new().await.relay(options, peers).await });
    assert!(matches!(report.end, RelayEnd::Closed), "{report:?}");
}
