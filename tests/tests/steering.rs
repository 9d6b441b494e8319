//! Steering, as clients see it: thousands of ports and whole networks on one listener, each connection where it belongs.
//!
//! Every test has a network namespace of its own; without the capabilities for that it is skipped.

use std::collections::BTreeMap;

use odin_tests::dial::{below, greeting, refused};
use odin_tests::steered::{NOWHERE, bindings, has_counted, listener, somewhere, with};
use odin_tests::{BOTH, Connection, HttpBackend, Protocol, Raw, Steering, Target, TcpPeer, echoed, netns, until};
use serde_json::Value;

/// Fails unless every binding has counted what came to it, and all together hardly more.
fn have_counted(counted: &BTreeMap<String, u64>, wanted: &BTreeMap<String, u64>) {
    assert!(counted.keys().eq(wanted.keys()), "{counted:?} was counted, and {wanted:?} was dialled");
    for (binding, count) in counted {
        assert!(count >= &wanted[binding], "{binding}: {count} counted, {} dialled", wanted[binding]);
    }
    has_counted(counted.values().sum(), wanted.values().sum());
}

fn counts(steering: &Steering, name: &str) -> BTreeMap<String, u64> {
    let bindings = steering.listener(name)["bindings"].as_array().unwrap();
    let count = |one: &Value| (one["address"].as_str().unwrap().to_string(), one["steered"].as_u64().unwrap());
    bindings.iter().map(count).filter(|(_, steered)| *steered > 0).collect()
}

#[test]
fn connections_to_any_of_five_thousand_ports_and_a_network_arrive_and_are_counted() {
    netns::run(async || {
        let backend = HttpBackend::named("web", Protocol::Http1).await;
        let odin = with(2, "bpf", &[listener("web", "http", &bindings(), &backend)]).start().await;
        odin.log_contains(&["steering by bpf"]).await;
        let mut wanted = BTreeMap::new();
        for turn in 0..600 {
            let (address, binding) = somewhere();
            let at = address.parse().unwrap();
            let mut client = match BOTH[turn % 2] {
                Protocol::Http1 => Connection::http1(at).await,
                Protocol::Http2 => Connection::http2(at).await,
            };
            let answer = client.get("/").await.has_status(200).has_field("backend", "web").json();
            let dialled = echoed(&answer, "x-saw").concat();
            assert!(dialled.contains(&address), "dialled {address}, and the plugin saw {dialled}");
            *wanted.entry(binding).or_insert(0) += 1;
        }
        for address in NOWHERE {
            refused(address).await;
        }
        let steering = odin.steering().await;
        assert_eq!(steering.mode(), "bpf");
        have_counted(&counts(&steering, "web"), &wanted);
        assert_eq!(steering.listener("web")["accepted"], 600);
        for binding in steering.listener("web")["bindings"].as_array().unwrap() {
            assert_eq!(
                (&binding["by"], &binding["serving"], &binding["dropped"]),
                (&"bpf".into(), &true.into(), &0.into())
            );
        }

        let said = odin.run(&["steer", "status"]).await;
        assert!(said.success(), "{said:?}");
        let rows = said.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let shown = rows.filter_map(|row| match row[..] {
            ["web", address, "bpf", steered, "0", ..] => Some((address.to_string(), steered.parse().unwrap())),
            _ => None,
        });
        let shown: BTreeMap<String, u64> = shown.collect();
        assert_eq!(shown.len(), bindings().len(), "{}", said.stdout);
        have_counted(&shown.into_iter().filter(|(_, steered)| *steered > 0).collect(), &wanted);
        odin.ends_without_errors().await;
    });
}

#[test]
fn tcp_connections_to_any_of_them_are_relayed_to_the_listeners_own_cluster() {
    netns::run(async || {
        let (one, other) = (TcpPeer::echo("one\n").await, TcpPeer::echo("other\n").await);
        let listeners = [
            listener("one", "tcp", &bindings(), &one),
            listener("other", "tcp", &["[::]:23000-23999", "203.0.113.0/24:*"], &other),
        ];
        let odin = with(2, "auto", &listeners).start().await;
        let mut dialled = Vec::new();
        for turn in 0..300 {
            let (address, wanted) = match turn % 3 {
                0 => (format!("203.0.113.{}:{}", below(256), 24_000 + below(41_536)), "other\n"),
                1 => (format!("[::1]:{}", 23_000 + below(1_000)), "other\n"),
                _ => (somewhere().0, "one\n"),
            };
            let mut client = Raw::connect(address.parse().unwrap()).await;
            assert_eq!(client.read(wanted.len()).await, wanted.as_bytes(), "{address}");
            client.send(&address).await;
            client.finish().await;
            assert_eq!(client.rest().await.0, address.as_bytes());
            dialled.push((client.local_address(), address));
        }
        for (from, address) in dialled {
            let saw = format!("recall=odin.local-address=text:{address} ");
            odin.access_log_contains(&[&format!("\"client\":\"{from}\""), &saw]).await;
        }
        for address in NOWHERE {
            refused(address).await;
        }
        let steering = odin.steering().await;
        let accepted = |name| steering.listener(name)["accepted"].clone();
        assert_eq!((accepted("one"), accepted("other")), (100.into(), 200.into()));
        has_counted(steering.steered("one"), 100);
        has_counted(steering.steered("other"), 200);
        odin.stop().await;
    });
}

#[test]
fn an_exact_port_beats_every_port_and_a_longer_prefix_beats_a_shorter_one() {
    netns::run(async || {
        let places: [(&'static str, &[&str]); 8] = [
            ("all", &["0.0.0.0:80", "[::]:81"]),
            ("net", &["192.0.2.0/24:80", "[2001:db8::/64]:80"]),
            ("half", &["192.0.2.128/25:80", "[2001:db8::8000/113]:80"]),
            ("host", &["192.0.2.129:80", "[2001:db8::8001]:80"]),
            ("net-any", &["192.0.2.0/24:*", "[2001:db8::/64]:*"]),
            ("half-any", &["192.0.2.128/25:*", "[2001:db8::8000/113]:*"]),
            ("host-any", &["192.0.2.130:*", "[2001:db8::8002]:*"]),
            ("range", &["192.0.2.0/24:90-99", "[2001:db8::/64]:90-99"]),
        ];
        let (mut listeners, mut backends) = (Vec::new(), Vec::new());
        for (name, addresses) in places {
            let backend = TcpPeer::echo(name).await;
            listeners.push(listener(name, "tcp", addresses, &backend));
            backends.push(backend);
        }
        let odin = with(1, "bpf", &listeners).start().await;
        for (address, name) in [
            ("198.51.100.7:80", "all"),
            ("198.51.100.7:81", "all"),
            ("[2001:db8:1::7]:81", "all"),
            ("192.0.2.127:80", "net"),
            ("192.0.2.128:80", "half"),
            ("192.0.2.255:80", "half"),
            ("192.0.2.129:80", "host"),
            // The port counts first: the longer prefix is for any port.
            ("192.0.2.130:80", "half"),
            ("192.0.2.130:81", "all"),
            ("192.0.2.130:82", "host-any"),
            ("192.0.2.131:82", "half-any"),
            ("192.0.2.129:65535", "half-any"),
            ("192.0.2.1:1", "net-any"),
            ("192.0.2.1:89", "net-any"),
            ("192.0.2.1:90", "range"),
            ("192.0.2.130:99", "range"),
            ("192.0.2.130:100", "host-any"),
            ("[2001:db8::7fff]:80", "net"),
            ("[2001:db8::8000]:80", "half"),
            ("[2001:db8::8001]:80", "host"),
            ("[2001:db8::8002]:80", "half"),
            ("[2001:db8::8002]:81", "all"),
            ("[2001:db8::8002]:82", "host-any"),
            ("[2001:db8::8003]:82", "half-any"),
            ("[2001:db8::1]:1", "net-any"),
            ("[2001:db8::1]:95", "range"),
        ] {
            assert_eq!(greeting(address).await, name, "{address}");
        }
        refused("198.51.100.7:82").await;
        refused("[2001:db8:1::7]:80").await;
        odin.stop().await;
    });
}

#[test]
fn hidden_sockets_refuse_whoever_finds_them() {
    netns::run(async || {
        let (web, all) = (TcpPeer::echo("web").await, TcpPeer::echo("all").await);
        let every = ["[::]:80-89", "198.51.100.0/24:*"];
        let listeners = [listener("web", "tcp", &every[..1], &web), listener("all", "tcp", &every[1..], &all)];
        let odin = with(3, "bpf", &listeners).start().await;
        assert_eq!(greeting("[::1]:80").await, "web");
        let hidden = netns::hidden();
        assert_eq!(hidden.len(), 6, "two listeners, three workers: {hidden:?}");
        for socket in &hidden {
            refused(&format!("127.0.0.1:{}", socket.address.port())).await;
            refused(&format!("[::1]:{}", socket.address.port())).await;
            refused(&format!("[::ffff:127.0.0.1]:{}", socket.address.port())).await;
        }
        let steering = odin.steering().await;
        has_counted(steering.steered("web"), 1);
        assert_eq!(steering.steered("all"), 0);
        // One that comes later is no different.
        let more = listener("more", "tcp", &["[::]:90"], &web);
        let before = std::fs::read_to_string(odin.config_file()).unwrap();
        let after = before.replacen("[[listeners]]", &format!("{more}[[listeners]]"), 1);
        odin.reload(&after).await.has_status(200);
        assert_eq!(netns::hidden().len(), 9);
        for socket in netns::hidden() {
            refused(&format!("127.0.0.1:{}", socket.address.port())).await;
            refused(&format!("[::1]:{}", socket.address.port())).await;
            refused(&format!("[::ffff:127.0.0.1]:{}", socket.address.port())).await;
        }
        // And when the listener has gone, so have its sockets.
        odin.reload(&before).await.has_status(200);
        until("the sockets are closed", || async { (netns::hidden().len() == 6).then_some(()) }).await;
        odin.stop().await;
    });
}

#[test]
fn the_admin_pages_stay_where_they_are_beside_a_listener_for_every_port() {
    netns::run(async || {
        let backend = TcpPeer::echo("all").await;
        let listeners = [listener("all", "tcp", &["192.0.2.0/24:*"], &backend)];
        let odin = with(1, "bpf", &listeners).argument("--admin").argument("192.0.2.1:0").start().await;
        assert_eq!(greeting("192.0.2.1:1234").await, "all");
        for _ in 0..3 {
            // The admin pages answer, and are no connection of it.
            has_counted(odin.steering().await.steered("all"), 1);
        }
        odin.stop().await;
    });
}

#[test]
fn endpoints_on_this_host_stay_where_they_are_beside_a_listener_for_every_port_of_every_address() {
    netns::run(async || {
        let (old, new) = (TcpPeer::echo("old").await, TcpPeer::echo("new").await);
        let config = |backend| listener("all", "tcp", &["[::]:*"], backend);
        let odin = with(2, "bpf", &[config(&old)]).start().await;
        let at = |peer: &TcpPeer| peer.address().to_string();
        let counted = async |dialled| has_counted(odin.steering().await.steered("all"), dialled);
        assert_eq!(greeting("127.0.0.1:1234").await, "old");
        assert_eq!(greeting("[::1]:1234").await, "old");
        // Neither the endpoint's own clients nor Odin's connections come to the listener.
        for _ in 0..3 {
            assert_eq!(greeting(&at(&old)).await, "old");
        }
        counted(2).await;
        assert_eq!(greeting(&at(&new)).await, "old", "another program's socket is the listener's");

        let changed = std::fs::read_to_string(odin.config_file()).unwrap().replace(&at(&old), &at(&new));
        odin.reload(&changed).await.has_status(200);
        for _ in 0..3 {
            assert_eq!(greeting(&at(&new)).await, "new");
        }
        counted(3).await;
        assert_eq!(greeting("127.0.0.1:1234").await, "new");
        assert_eq!(greeting(&at(&old)).await, "new", "what is no endpoint any more is the listener's");
        counted(5).await;
        odin.stop().await;
    });
}

/// How many of so many connections each worker gets.
async fn spread(workers: usize, connections: usize, port: impl Fn() -> u16) -> Vec<u64> {
    // What the backend's queue can hold when they all come at once.
    const AT_ONCE: usize = 100;
    let backend = TcpPeer::echo("web").await;
    let odin = with(workers, "bpf", &[listener("web", "tcp", &["[::]:10000-19999"], &backend)]).start().await;
    let accepted = async || {
        let accepted = odin.steering().await.listener("web")["accepted_by_worker"].clone();
        serde_json::from_value::<Vec<u64>>(accepted).expect("a number for each worker")
    };
    // While Odin stands still, the queues of its sockets tell; the pages must say the same.
    odin.freeze().await;
    let mut clients = Vec::new();
    for _ in 0..AT_ONCE {
        clients.push(Raw::connect(([127, 0, 0, 1], port()).into()).await);
    }
    let mut waiting: Vec<u64> = netns::hidden().iter().map(|socket| socket.waiting).collect();
    odin.thaw();
    for client in &mut clients {
        assert_eq!(client.read(3).await, b"web");
    }
    let mut first = accepted().await;
    waiting.sort_unstable();
    first.sort_unstable();
    assert_eq!(waiting, first);
    for _ in AT_ONCE..connections {
        assert_eq!(greeting(&format!("127.0.0.1:{}", port())).await, "web");
    }
    let accepted = accepted().await;
    println!("{connections} connections to {workers} workers: {accepted:?}");
    accepted
}

/// Fails unless so many of `all` are what a fair share `p` gives, within five standard deviations.
fn is_share(count: u64, all: usize, p: f64) {
    let (mean, deviation) = (all as f64 * p, (all as f64 * p * (1.0 - p)).sqrt());
    assert!((count as f64 - mean).abs() <= 5.0 * deviation, "{count} of {all}, and a share of {p} was wanted");
}

#[test]
fn connections_are_spread_evenly_over_the_workers() {
    netns::run(async || {
        const ALL: usize = 4000;
        for workers in [2, 4] {
            for waiting in
                [spread(workers, ALL, || 10_000).await, spread(workers, ALL, || 10_000 + below(10_000) as u16).await]
            {
                assert_eq!(waiting.iter().sum::<u64>(), ALL as u64, "{waiting:?}");
                for count in waiting {
                    is_share(count, ALL, 1.0 / workers as f64);
                }
            }
        }
    });
}

#[test]
fn a_host_without_ipv6_is_steered_as_well() {
    netns::run(async || {
        for interface in ["all", "lo"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1").unwrap();
        }
        assert!(tokio::net::TcpListener::bind("[::1]:0").await.is_err(), "this is a host without IPv6");
        let backend = TcpPeer::echo("web").await;
        let odin = with(2, "bpf", &[listener("web", "tcp", &["[::]:9000", "192.0.2.0/24:80"], &backend)]).start().await;
        for address in ["127.0.0.1:9000", "198.51.100.1:9000", "192.0.2.200:80"] {
            assert_eq!(greeting(address).await, "web");
        }
        odin.stop().await;
    });
}

#[test]
fn a_port_that_the_system_chooses_is_bound_beside_what_is_steered() {
    netns::run(async || {
        let backend = TcpPeer::echo("web").await;
        let addresses = ["127.0.0.1:0", "[::1]:0", "192.0.2.0/24:80"];
        let odin = with(2, "bpf", &[listener("web", "tcp", &addresses, &backend)]).start().await;
        let chosen: Vec<String> = odin.listeners().iter().map(|listening| listening.address.to_string()).collect();
        assert_eq!(chosen.len(), 2, "{chosen:?}");
        for address in chosen.iter().map(String::as_str).chain(["192.0.2.1:80"]) {
            assert_eq!(greeting(address).await, "web");
        }
        let steering = odin.steering().await;
        for address in &chosen {
            let binding = steering.binding("web", address);
            assert_eq!((&binding["by"], &binding["serving"]), (&"bind".into(), &true.into()), "{binding}");
        }
        assert_eq!(steering.binding("web", addresses[2])["by"], "bpf");
        // A reload keeps them.
        let before = std::fs::read_to_string(odin.config_file()).unwrap();
        odin.reload(&before.replace("192.0.2.0/24:80", "192.0.2.0/24:81")).await.has_status(200);
        for address in chosen.iter().map(String::as_str).chain(["192.0.2.1:81"]) {
            assert_eq!(greeting(address).await, "web");
        }
        odin.stop().await;
    });
}

#[test]
fn an_address_of_its_own_beats_every_address_however_they_came_to_be() {
    netns::run(async || {
        let (all, own) = (TcpPeer::echo("all").await, TcpPeer::echo("own").await);
        for steering in ["bpf", "bind"] {
            let listen_all = listener("all", "tcp", &["[::]:5000-5009"], &all);
            let listen_own = listener("own", "tcp", &["127.0.0.1:5000", "[::1]:5001"], &own);
            let is_right = async |own: &str| {
                for (address, name) in [
                    ("127.0.0.1:5000", own),
                    ("[::1]:5001", own),
                    ("127.0.0.2:5000", "all"),
                    ("[::1]:5000", "all"),
                    ("127.0.0.1:5001", "all"),
                ] {
                    let there = async || (greeting(address).await == name).then_some(());
                    until(&format!("{steering}: {address} is {name}"), there).await;
                }
            };
            let both = [listen_all.clone(), listen_own.clone()];
            let odin = with(2, steering, &both).start().await;
            is_right("own").await;
            let start = std::fs::read_to_string(odin.config_file()).unwrap();
            odin.reload(&start.replace(&listen_own, "")).await.has_status(200);
            is_right("all").await;
            odin.reload(&start).await.has_status(200);
            is_right("own").await;
            odin.stop().await;
        }
    });
}
