//! Clients that ask for much and read little: what they cost in memory, what becomes of it when they leave, and that a
//! stalled stream ends alone while its neighbour goes on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use odin_tests::body::Broken;
use odin_tests::h2raw::{self, H2Raw, frame, kind};
use odin_tests::{BOTH, HttpBackend, Odin, Protocol, Raw, until};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 30;
const STREAMS: u32 = 100;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
const MIB: f64 = 1048576.0;
/// What one of the HTTP/2 clients may cost.
const MOST: f64 = 2.0 * MIB;
/// What the allocator may keep for the next clients, of all of them together.
const KEPT: f64 = 8.0 * MIB;

/// Answers every request with a GiB.
async fn endless(protocol: Protocol) -> HttpBackend {
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    HttpBackend::start(protocol, move |_| {
        let pieces = std::iter::repeat_n(piece.clone(), 16 * 1024).map(|piece| Ok::<_, Broken>(Frame::data(piece)));
        async move { Response::new(StreamBody::new(stream::iter(pieces)).boxed_unsync()) }
    })
    .await
}

/// SETTINGS with this window for each stream, and the largest for the connection.
fn windows(stream: u32) -> Vec<u8> {
    let settings = [&[0, 4][..], &stream.to_be_bytes()].concat();
    let connection = (LARGEST_WINDOW - 65_535).to_be_bytes();
    [frame(kind::SETTINGS, 0, 0, &settings), frame(kind::WINDOW_UPDATE, 0, 0, &connection)].concat()
}

fn get(stream: u32) -> Vec<u8> {
    h2raw::headers(
        stream,
        &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")],
        true,
    )
}

/// The ids of the first streams of a client.
fn ids(streams: u32) -> impl Iterator<Item = u32> {
    (0..streams).map(|n| 2 * n + 1)
}

/// What is resident of the process's own memory, without the pages of files.
fn resident(odin: &Odin) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", odin.pid())).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    kib.unwrap().parse::<u64>().unwrap() * 1024
}

/// What is resident when it has changed little for two seconds.
async fn settled(odin: &Odin) -> f64 {
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = resident(odin);
        if now.abs_diff(last) > 256 << 10 {
            (last, since) = (now, Instant::now());
        }
    }
    last as f64
}

/// Lets the clients come, and go again; answers the bytes that each of them takes, and the bytes that are left of each.
async fn cost(odin: &Odin, backend: &HttpBackend, clients: impl AsyncFnOnce() -> JoinSet<()>) -> (f64, f64) {
    // What is needed once is there.
    let warm = odin.connect().await.start(http::Request::get("/").body(odin_tests::body::empty()).unwrap()).await;
    drop(warm);
    odin.no_exchange_is_left().await;
    let (before, seen) = (settled(odin).await, backend.requests());
    let clients = clients().await;
    until("requests arrive", async || (backend.requests() >= seen + CONNECTIONS).then_some(())).await;
    let each = (settled(odin).await - before) / CONNECTIONS as f64;
    println!("{} requests have got to the backend", backend.requests() - seen);
    drop(clients);
    odin.no_exchange_is_left().await;
    let left = (settled(odin).await - before) / CONNECTIONS as f64;
    (each, left)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_slow_readers_over_http2_cost_little_each_and_give_it_back() {
    for protocol in BOTH {
        let backend = endless(protocol).await;
        // Connections to the upstream that lie idle are given back by time.
        let odin = Odin::builder().top("access-log.enabled = false").section("[timeouts]\nupstream-idle = \"1s\"");
        let odin = odin.target(&backend).upstream(protocol).start().await;
        let (each, left) = cost(&odin, &backend, async || {
            let mut readers = JoinSet::new();
            for _ in 0..CONNECTIONS {
                let mut client = H2Raw::client(odin.address("web")).await;
                client.send(windows(LARGEST_WINDOW)).await;
                client.send(ids(STREAMS).flat_map(get).collect::<Vec<u8>>()).await;
                readers.spawn(async move {
                    let mut some = [0; 100];
                    while client.raw().stream().read(&mut some).await.is_ok_and(|read| read > 0) {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                });
            }
            readers
        })
        .await;
        println!("{protocol:?} upstream: {:.2} MiB a connection, {:.2} MiB left of it", each / MIB, left / MIB);
        assert!(each <= MOST, "{protocol:?} upstream: {:.2} MiB a connection", each / MIB);
        assert!(
            left * CONNECTIONS as f64 <= KEPT,
            "{protocol:?} upstream: {:.2} MiB left of each connection",
            left / MIB
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_readers_over_http1_that_read_nothing_cost_128_kib_each() {
    for protocol in BOTH {
        let backend = endless(protocol).await;
        let odin = Odin::builder().top("access-log.enabled = false").target(&backend).upstream(protocol).start().await;
        let (each, left) = cost(&odin, &backend, async || {
            let mut readers = JoinSet::new();
            for _ in 0..CONNECTIONS {
                let mut client = Raw::connect(odin.address("web")).await;
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                readers.spawn(async move {
                    let _kept = client;
                    std::future::pending::<()>().await;
                });
            }
            readers
        })
        .await;
        println!("{protocol:?} upstream: {:.0} KiB a connection, {:.0} KiB left of it", each / 1024.0, left / 1024.0);
        assert!(each <= 128.0 * 1024.0, "{protocol:?} upstream: {:.0} KiB a connection", each / 1024.0);
        assert!(left * CONNECTIONS as f64 <= KEPT, "{protocol:?} upstream: {:.0} KiB left of each", left / 1024.0);
    }
}

/// What came while one stream trickled.
#[derive(Debug, Default)]
struct Trickled {
    /// Of the first stream.
    bytes: usize,
    reset: Vec<u32>,
    /// The connection has ended.
    ended: bool,
}

/// Reads frames, and lets the first stream have so many bytes more at each turn, until `enough` says so.
async fn trickle(client: &mut H2Raw, step: u32, every: Duration, enough: impl Fn(&Trickled) -> bool) -> Trickled {
    let mut turn = tokio::time::interval(every);
    let mut came = Trickled::default();
    while !came.ended && !enough(&came) {
        tokio::select! {
            biased;
            _ = turn.tick() => client.send(frame(kind::WINDOW_UPDATE, 0, 1, &step.to_be_bytes())).await,
            frame = client.frame() => match frame {
                Some(frame) if frame.kind == kind::DATA && frame.stream == 1 => came.bytes += frame.payload.len(),
                Some(frame) if frame.kind == kind::RST_STREAM => came.reset.push(frame.stream),
                Some(frame) => came.ended |= frame.kind == kind::GOAWAY,
                None => came.ended = true,
            }
        }
    }
    came
}

#[tokio::test]
async fn stalled_streams_are_reset_alone_while_one_beside_them_trickles() {
    for protocol in BOTH {
        let backend = endless(protocol).await;
        let odin = Odin::builder().section("[timeouts]\nidle = \"1s\"").target(&backend).upstream(protocol);
        let odin = odin.start().await;
        let mut client = H2Raw::client(odin.address("web")).await;
        client.send(windows(65_535)).await;
        client.send(ids(STREAMS).flat_map(get).collect::<Vec<u8>>()).await;
        let (begun, every) = (Instant::now(), Duration::from_millis(100));
        let stalled = STREAMS as usize - 1;
        let came = trickle(&mut client, 20_000, every, |came| {
            came.reset.len() >= stalled || came.reset.contains(&1) || begun.elapsed() > Duration::from_secs(15)
        })
        .await;
        let after = begun.elapsed();
        assert!(!came.ended, "{protocol:?} upstream: the connection was ended after {after:?}: {came:?}");
        assert!(!came.reset.contains(&1), "{protocol:?} upstream: the stream that goes on was reset: {came:?}");
        assert_eq!(came.reset.len(), stalled, "{protocol:?} upstream: streams reset within {after:?}");
        // What belongs to them is given back, and the one beside them goes on.
        until("one exchange is left", async || {
            (odin.metrics().await.sum("odin_endpoint_active", &[]) == 1.0).then_some(())
        })
        .await;
        let came = trickle(&mut client, 20_000, every, |came| came.bytes >= 200_000 || !came.reset.is_empty()).await;
        assert!(came.bytes >= 200_000 && came.reset.is_empty(), "{protocol:?} upstream: {came:?}");
    }
}

#[tokio::test]
async fn a_reader_that_takes_little_at_a_time_is_not_cut() {
    for step in [1_000, 20_000] {
        let backend = endless(Protocol::Http1).await;
        let odin = Odin::builder().section("[timeouts]\nidle = \"1s\"").target(&backend).start().await;
        let mut client = H2Raw::client(odin.address("web")).await;
        client.send([windows(65_535), get(1)].concat()).await;
        let (begun, wanted) = (Instant::now(), 65_535 + 30 * step as usize);
        let came = trickle(&mut client, step, Duration::from_millis(200), |came| {
            came.bytes >= wanted || !came.reset.is_empty() || begun.elapsed() > Duration::from_secs(18)
        })
        .await;
        let after = begun.elapsed();
        assert!(came.bytes >= wanted, "{step} bytes every 200 ms were to be enough; after {after:?}: {came:?}");
    }
}

#[tokio::test]
async fn a_stream_that_was_never_given_a_window_is_reset_as_well() {
    let backend = endless(Protocol::Http1).await;
    let odin = Odin::builder().section("[timeouts]\nidle = \"1s\"").target(&backend).start().await;
    let mut client = H2Raw::client(odin.address("web")).await;
    client.send([windows(0), ids(3).flat_map(get).collect()].concat()).await;
    // The first stream gets a little at a time, the others nothing.
    let came =
        trickle(&mut client, 1_000, Duration::from_millis(100), |came| came.reset.len() == 2 || came.ended).await;
    assert!(!came.ended && !came.reset.contains(&1), "{came:?}");
}
