//! Two thousand reloads, each of which adds and removes ports, endpoints, routes and clusters, while two hundred clients
//! talk to what stays: none of them notices, and nothing is left behind.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use odin_tests::load::{Load, Talk};
use odin_tests::{HttpBackend, Odin, Protocol, Target, TcpPeer, dial, netns, process};

const RELOADS: usize = 2_000;
const STEERED_RELOADS: usize = 1_000;

/// The ports that come and go.
const MOVING: usize = 8;

struct Stage {
    steering: &'static str,
    /// Addresses of `web` and `tcp`, which stay.
    web: String,
    tcp: String,
    /// Addresses of which each config has some.
    moving: Vec<String>,
    http: Vec<HttpBackend>,
    echo: TcpPeer,
}

impl Stage {
    async fn new(steering: &'static str, web: &str, tcp: &str, moving: Vec<String>) -> Stage {
        let (web, tcp) = (web.to_string(), tcp.to_string());
        Stage { steering, web, tcp, moving, http: Stage::backends().await, echo: TcpPeer::echo("").await }
    }

    async fn backends() -> Vec<HttpBackend> {
        let mut http = Vec::new();
        for _ in 0..4 {
            http.push(HttpBackend::saying("ok").await);
        }
        http
    }

    /// The config of this turn. What is asked for by the clients that talk is in each of them, and every other thing in
    /// about half.
    fn config(&self, turn: usize) -> String {
        let has = |thing: usize| (turn * 5 + thing * 5 + turn / 3) % 4 < 2;
        let mut text = format!(
            "workers = 2\ndrain-timeout = \"1s\"\nadmin = \"127.0.0.1:0\"\nsteering = \"{}\"\n[access-log]\nenabled = false\n\
             [[listeners]]\nname = \"web\"\naddress = {}\n",
            self.steering, self.web
        );
        for route in (0..4).filter(|route| has(*route)) {
            text += &format!("[[listeners.routes]]\npath = \"/moving{route}\"\ncluster = \"extra\"\n");
        }
        text += "[[listeners.routes]]\ncluster = \"web\"\n";
        text +=
            &format!("[[listeners]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = {}\ncluster = \"tcp\"\n", self.tcp);
        for (number, address) in self.moving.iter().enumerate().filter(|(number, _)| has(*number)) {
            // Its protocol changes now and then as well.
            let protocol = if (turn / 5).is_multiple_of(2) { "http" } else { "tcp" };
            text += &format!(
                "[[listeners]]\nname = \"moving{number}\"\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n\
                 cluster = \"extra\"\n"
            );
        }
        // The first endpoint stays, or nobody would be there; the others come and go.
        let some = |part: usize| {
            let endpoints = self.http.iter().enumerate().filter(|(n, _)| *n == 0 || has(part + n));
            let endpoints: Vec<_> = endpoints.map(|(_, backend)| backend.address().to_string()).collect();
            format!("{endpoints:?}")
        };
        text += &format!("[clusters.web]\nendpoints = {}\n[clusters.extra]\nendpoints = {}\n", some(0), some(4));
        for cluster in (0..3).filter(|cluster| has(*cluster)) {
            text += &format!("[clusters.moving{cluster}]\nendpoints = {}\n", some(cluster));
        }
        text + &format!("[clusters.tcp]\nendpoints = [\"{}\"]\n", self.echo.address())
    }
}

async fn reloads(mut stage: Stage, reloads: usize, web: &[SocketAddr], tcp: &[SocketAddr]) {
    let odin = Odin::builder().with_config(stage.config(0)).start().await;
    let at = |own: &[SocketAddr], name: &str| match own {
        [] => vec![odin.address(name)],
        own => own.to_vec(),
    };
    let (web, tcp) = (at(web, "web"), at(tcp, "tcp"));
    // "ready" is said before the workers have opened what they need; a reload is over when each of them has done it.
    for turn in [1, 0] {
        odin.reload(&stage.config(turn)).await.has_status(200);
    }
    let before = process::descriptors(odin.pid());
    let (mut load, mut kept) = (Load::default(), odin_tests::Raw::connect(web[0]).await);
    for address in &web {
        let each = |number: usize| number / web.len();
        load.clients(each(60), Talk::New(Protocol::Http1), *address);
        load.clients(each(50), Talk::Kept(Protocol::Http1), *address);
        load.clients(each(10), Talk::New(Protocol::Http2), *address);
        load.clients(each(20), Talk::Kept(Protocol::Http2), *address);
    }
    for address in &tcp {
        load.clients(30 / tcp.len(), Talk::NewTcp, *address);
        load.clients(30 / tcp.len(), Talk::KeptTcp, *address);
    }
    let started = Instant::now();
    let (mut seen, mut resident) = (BTreeSet::new(), [u64::MAX; 4]);
    for turn in 1..=reloads {
        let answer = odin.reload(&stage.config(turn)).await.has_status(200).json();
        let changes = answer["changes"].as_array().unwrap().clone();
        seen.extend(changes.iter().map(|change| format!("{} {}", change["op"], change["kind"])));
        load.check();
        // What was freed a moment ago is still counted: the least of each quarter is what is really kept.
        let least = &mut resident[(turn - 1) * 4 / reloads];
        *least = odin.resident_bytes().min(*least);
        if turn % 50 == 0 {
            // One connection from the beginning to the end.
            kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let answer = kept.response("GET").await.expect("the kept connection is kept");
            assert_eq!((answer.head.status(), answer.head.field("connection")), (200, None));
        }
    }
    // What the allocator keeps for so many clients has come to its size by the third quarter; a leak would go on.
    let (took, grown) = (started.elapsed(), resident[3] as f64 / resident[2] as f64);
    let done = load.end().await;
    println!(
        "{}: {reloads} reloads in {took:?}, {done:?}; bytes resident, the least of each quarter: {resident:?}",
        stage.steering
    );
    let metrics = odin.metrics().await;
    let outcome = |outcome| metrics.sum("odin_reloads_total", &[("outcome", outcome)]);
    // The watch over the file is quicker now and then, and then there is one more.
    assert!(outcome("applied") >= reloads as f64 && outcome("refused") == 0.0, "{} refused", outcome("refused"));
    for change in ["add", "remove"] {
        for kind in ["listener", "route", "cluster", "endpoint"] {
            assert!(seen.contains(&format!("\"{change}\" \"{kind}\"")), "{seen:?}");
        }
    }
    assert!(done.exchanges() > reloads, "the clients were to be busy: {done:?}");
    assert!(grown <= 1.15, "resident memory grew to {grown:.2} in the last quarter of the reloads: {resident:?}");

    drop(kept);
    // With the endpoints go the connections to them, and then nothing is left that was not there in the beginning.
    stage.http = Stage::backends().await;
    odin.reload(&stage.config(0)).await.has_status(200);
    // Idle connections to endpoints are closed after 50 s, also those that the endpoint has reset.
    let given_back = async {
        while process::descriptors(odin.pid()) > before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(70), given_back).await.is_err() {
        panic!(
            "{before} descriptors at first, and then for more than a minute: {:#?}",
            process::open_files(odin.pid())
        );
    }
    odin.stop().await;
}

#[test]
fn two_thousand_reloads_under_load_fail_nothing_where_sockets_are_bound() {
    netns::run(async || {
        // Below the ports that the system gives to clients, or one of them may have what a reload is about to add.
        let moving = (0..MOVING).map(|n| format!("127.0.0.1:{}", 2000 + n)).collect();
        let stage = Stage::new("bind", "\"127.0.0.1:0\"", "\"127.0.0.1:0\"", moving).await;
        reloads(stage, RELOADS, &[], &[]).await;
    });
}

#[test]
fn a_thousand_reloads_under_load_fail_nothing_where_connections_are_steered() {
    netns::run(async || {
        let moving = (0..MOVING).map(|n| match n % 4 {
            0 => format!("192.0.2.{n}:80"),
            1 => format!("[::]:{0}00-{0}99", 90 + n),
            // Inside of what stays: a longer prefix, and taken out of it again and again.
            2 => format!("198.51.100.{}/28:8080", 16 * n),
            _ => format!("203.0.113.0/24:{}", 6000 + n),
        });
        let web = "[\"198.51.100.0/24:8080\", \"127.0.0.1:7000-7099\"]";
        let stage = Stage::new("bpf", web, "[\"0.0.0.0:5001\"]", moving.collect()).await;
        let web = ["198.51.100.200:8080", "127.0.0.1:7042"].map(|address| address.parse().unwrap());
        reloads(stage, STEERED_RELOADS, &web, &["127.0.0.1:5001".parse().unwrap()]).await;
        dial::refused("198.51.100.200:8080").await;
    });
}

#[tokio::test]
async fn a_kept_connection_sees_the_new_routes_after_each_reload() {
    let (a, b) = (HttpBackend::named("a", Protocol::Http1).await, HttpBackend::named("b", Protocol::Http1).await);
    let config = |path: &str| {
        format!(
            "workers = 2\ndrain-timeout = \"1s\"\nadmin = \"127.0.0.1:0\"\nsteering = \"bind\"\n\
             [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [[listeners.routes]]\npath = \"{path}\"\ncluster = \"b\"\n[[listeners.routes]]\ncluster = \"a\"\n\
             [clusters.a]\nendpoints = [\"{}\"]\n[clusters.b]\nendpoints = [\"{}\"]\n",
            a.address(),
            b.address()
        )
    };
    let odin = Odin::builder().with_config(config("/0")).start().await;
    let (mut one, mut two) = (odin.connect().await, odin.connect_http2().await);
    for turn in 1..=50 {
        odin.reload(&config(&format!("/{turn}"))).await.has_status(200);
        for client in [&mut one, &mut two] {
            // The workers are told, and do it when they come round.
            let path = format!("/{turn}");
            while client.get(&path).await.has_status(200).lacks_field("connection").field("backend").unwrap() != "b" {}
            client.get(&format!("/{}", turn - 1)).await.has_status(200).has_field("backend", "a");
        }
    }
}
