//! Everything at once for a long time: clients over HTTP/1, HTTP/2 and TCP, a quarter of which abort at random, while
//! plugins are swapped every two seconds and the config is reloaded every five. Nobody else may notice.
//!
//! In `cargo test` for 20 seconds; `make soak` for ten minutes, where it also looks at the memory. `ODIN_SOAK_SECONDS`
//! says how long. A line each 30 seconds tells what was done so far.

mod clients;

use std::time::{Duration, Instant};

use odin_tests::{BOTH, Builder, HttpBackend, Odin, Protocol, Target, TcpPeer, paths, process};
use tokio::time::{MissedTickBehavior, interval};

use clients::{Clients, Kind};

/// Between two swaps, two reloads, and two lines about it all.
const SWAPS: Duration = Duration::from_secs(2);
const RELOADS: Duration = Duration::from_secs(5);
const LINES: Duration = Duration::from_secs(30);

/// From this minute on the memory stays as it is.
const SETTLED: usize = 2;
/// The most by which it may differ from one minute to another.
const DIFFERENCE: f64 = 1.10;

/// Clients of each kind that finish what they begin; a third as many abort.
const HONEST: usize = 9;

const WORKERS: usize = 2;

struct Stage {
    web: Vec<HttpBackend>,
    http2: HttpBackend,
    tcp: TcpPeer,
}

impl Stage {
    async fn new() -> Stage {
        let mut web = Vec::new();
        for _ in 0..3 {
            web.push(HttpBackend::start(Protocol::Http1, clients::answer).await);
        }
        let http2 = HttpBackend::start(Protocol::Http2, clients::answer).await;
        Stage { web, http2, tcp: TcpPeer::echo("").await }
    }

    /// What Odin is started with, and reloads: an endpoint, a listener and a cluster come and go.
    fn config(&self, turn: usize) -> Builder {
        let mut builder = Odin::builder().workers(WORKERS).top("access-log.enabled = false\ndrain-timeout = \"1s\"");
        let endpoints = self.web.len() - turn % 2;
        builder = self.web[..endpoints].iter().fold(builder, |builder, backend| builder.target(backend));
        builder = builder.tcp_target(&self.tcp).balancer("lb_rr").plugin("pass");
        builder = builder.section(&format!(
            "[[listeners]]\nname = \"http2\"\naddress = \"127.0.0.1:0\"\ncluster = \"http2\"\nplugins = [\"pass\"]\n\
             [clusters.http2]\nprotocol = \"http2\"\nendpoints = [\"{}\"]",
            self.http2.address()
        ));
        match turn % 3 {
            0 => builder,
            _ => builder.section(&format!(
                "[[listeners]]\nname = \"moving\"\naddress = \"127.0.0.1:0\"\ncluster = \"moving\"\n\
                 [clusters.moving]\nendpoints = [\"{}\"]",
                self.web[turn % 3].address()
            )),
        }
    }
}

/// What each plugin is swapped for, in turn. The same with a section more is another file.
fn versions() -> [(&'static str, [Vec<u8>; 2]); 2] {
    let other = |name| [paths::plugin_bytes(name), b"\0\x05\x04more".to_vec()].concat();
    ["pass", "lb_rr"].map(|name| (name, [other(name), paths::plugin_bytes(name)]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_reloads_and_clients_that_abort_disturb_nobody_else() {
    let seconds = std::env::var("ODIN_SOAK_SECONDS").map_or(20, |text| text.parse().expect("a number of seconds"));
    let time = Duration::from_secs(seconds);
    let mut stage = Stage::new().await;
    let odin = stage.config(0).start().await;
    // "ready" is said before the workers have opened what they need; a reload is over when each of them has done it.
    for turn in [1, 0] {
        odin.reload(&stage.config(turn).toml()).await.has_status(200);
    }
    let before = open(&odin);

    let clients = Clients::default();
    for listener in ["web", "http2"] {
        for protocol in BOTH {
            clients.begin(HONEST, Kind::Http(protocol), odin.address(listener));
        }
        for kind in [Kind::HttpAborts, Kind::Http2Resets] {
            clients.begin(HONEST / 3, kind, odin.address(listener));
        }
    }
    clients.begin(HONEST, Kind::Tcp, odin.address("tcp"));
    clients.begin(HONEST / 3, Kind::TcpAborts, odin.address("tcp"));
    let memory = disturb(&odin, &stage, &clients, time).await;
    clients.end().await;
    println!("{}", clients.told());
    assert!(clients.exchanges() as u64 > 10 * seconds, "the clients were to be busy");
    settles(&memory[..time.as_secs() as usize / 60]);

    // With the endpoints go the connections to them, and then nothing is left that was not there in the beginning.
    stage = Stage { tcp: stage.tcp, ..Stage::new().await };
    odin.reload(&stage.config(0).toml()).await.has_status(200);
    gives_back(&odin, before).await;
    assert!(!odin.log().all().iter().any(|line| line.contains("ERROR") || line.contains("panicked")), "see the log");
    odin.stop().await;
}

/// Swaps and reloads until the time is over. Answers the least resident memory of each minute, in bytes: what was freed a
/// moment ago is still counted.
async fn disturb(odin: &Odin, stage: &Stage, clients: &Clients, time: Duration) -> Vec<u64> {
    let [mut swap, mut reload, mut line, mut look] = [SWAPS, RELOADS, LINES, Duration::from_millis(500)].map(|every| {
        let mut turns = interval(every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        turns
    });
    let versions = versions();
    let (mut swaps, mut reloads, mut memory) = (0, 0, Vec::<u64>::new());
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::select! {
            _ = swap.tick() => {
                let (name, files) = &versions[swaps % 2];
                let answer = odin.post_plugin(name, files[swaps / 2 % 2].clone()).await.has_status(200).json();
                assert_eq!(answer["swapped"], true, "{answer}");
                swaps += 1;
            }
            _ = reload.tick() => {
                reloads += 1;
                odin.reload(&stage.config(reloads).toml()).await.has_status(200);
            }
            _ = look.tick() => {
                clients.check();
                let minute = begun.elapsed().as_secs() as usize / 60;
                memory.resize((minute + 1).max(memory.len()), u64::MAX);
                memory[minute] = memory[minute].min(odin.resident_bytes());
            }
            _ = line.tick() => {
                let (passed, resident) = (begun.elapsed().as_secs(), odin.resident_bytes() >> 10);
                let descriptors = process::descriptors(odin.pid());
                println!(
                    "{passed:4} s: {}; {swaps} swaps, {reloads} reloads; {resident} KiB resident, {descriptors} descriptors",
                    clients.told()
                );
            }
        }
    }
    memory
}

/// Whether the memory has stayed as it was in these whole minutes, if they are enough to tell.
fn settles(minutes: &[u64]) {
    println!("bytes resident, the least of each minute: {minutes:?}");
    let settled = &minutes[SETTLED.min(minutes.len())..];
    if let (Some(least), Some(most)) = (settled.iter().min(), settled.iter().max()) {
        let difference = *most as f64 / *least as f64;
        println!("from minute {SETTLED} on they differ by {:.1} %", (difference - 1.0) * 100.0);
        assert!(difference <= DIFFERENCE, "the memory did not stay as it was: {minutes:?}");
    }
}

/// What the process has open: pipes, and all else.
fn open(odin: &Odin) -> (usize, usize) {
    let files = process::open_files(odin.pid());
    let pipes = files.iter().filter(|file| file.starts_with("pipe:")).count();
    (pipes, files.len() - pipes)
}

async fn gives_back(odin: &Odin, before: (usize, usize)) {
    // Pipes for bulk that each worker keeps for the next one, with two ends: host/proxy/src/relay/pipe.rs.
    let kept = 16 * 2 * WORKERS;
    let back = || {
        let (pipes, others) = open(odin);
        pipes <= before.0 + kept && others <= before.1
    };
    // Idle connections to endpoints are closed after 50 s, also those that the endpoint has reset.
    let deadline = Instant::now() + Duration::from_secs(70);
    while !back() {
        let files = || process::open_files(odin.pid());
        assert!(Instant::now() < deadline, "(pipes, others) {before:?} at first, and now for long: {:#?}", files());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("descriptors (pipes, others): {before:?} before, {:?} after", open(odin));
}
