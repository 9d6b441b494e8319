//! Where connections go.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::net::{IpAddr, SocketAddr, TcpListener};

use common::{Worker, dial, dial_from, has_counted, in_namespace, plan, refused, refused_soon, weight, who};
use odin_steer::{Binding, Ports, SteerError, Steering};

#[test]
fn the_longest_prefix_wins_and_an_exact_port_comes_before_any_port() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let mut worker = |name: &str| Worker::hidden(name, &mut steering);
        let (wide, net, host, any, six) = (worker("wide"), worker("net"), worker("host"), worker("any"), worker("six"));
        let listeners: &[(&str, &[&Worker])] =
            &[("wide", &[&wide]), ("net", &[&net]), ("host", &[&host]), ("any", &[&any]), ("six", &[&six])];
        let bindings = [
            ("[::]:80", "wide"),
            ("192.0.2.0/24:80", "net"),
            ("192.0.2.0/24:7000-7009", "net"),
            ("192.0.2.77:80", "host"),
            ("192.0.2.77:*", "any"),
            ("[2001:db8::/32]:*", "any"),
            ("[2001:db8:5::/48]:80-81", "six"),
        ];
        steering.apply(&plan(listeners, &bindings)).unwrap();
        for (address, expected) in [
            ("127.0.0.1:80", "wide"),
            ("[::1]:80", "wide"),
            ("192.0.2.1:80", "net"),
            ("192.0.2.255:80", "net"),
            ("192.0.2.1:7000", "net"),
            ("192.0.2.1:7009", "net"),
            ("192.0.2.77:80", "host"),
            ("192.0.2.77:1", "any"),
            ("192.0.2.77:65535", "any"),
            // An exact port of a shorter prefix comes before any port of a longer one.
            ("192.0.2.77:7005", "net"),
            ("[2001:db8::9]:22", "any"),
            ("[2001:db8::9]:80", "wide"),
            ("[2001:db8:5::9]:80", "six"),
            ("[2001:db8:5::9]:81", "six"),
            ("[2001:db8:5::9]:82", "any"),
        ] {
            assert_eq!(who(address), expected, "{address}");
        }
        for address in ["127.0.0.1:81", "192.0.2.1:7010", "192.0.2.1:1", "[::1]:22"] {
            assert!(refused(address), "nobody has {address}");
        }
    });
}

#[test]
fn what_is_not_steered_passes() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let steered = Worker::hidden("steered", &mut steering);
        steering.apply(&plan(&[("a", &[&steered])], &[("192.0.2.0/24:80", "a")])).unwrap();
        let plain = Worker::new("plain", TcpListener::bind("127.0.0.1:80").unwrap());
        assert_eq!(who("127.0.0.1:80"), "plain");
        assert_eq!(who("192.0.2.3:80"), "steered");
        drop(plain);
    });
}

#[test]
fn what_is_to_pass_goes_to_its_own_socket_though_bindings_cover_it() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let steered = Worker::hidden("steered", &mut steering);
        let plain = Worker::new("plain", TcpListener::bind("127.0.0.1:9901").unwrap());
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&steered])];
        let all = [("[::]:*", "a")];
        let mut wanted = plan(listeners, &all);
        wanted.passed = vec!["127.0.0.1:9901".parse().unwrap()];
        steering.apply(&wanted).unwrap();
        assert_eq!((who("127.0.0.1:9901").as_str(), who("127.0.0.1:9902").as_str()), ("plain", "steered"));
        // Another process goes on with it.
        let (state, descriptors) = steering.hand_over().unwrap();
        drop(steering);
        let mut steering = Steering::resume(&state, descriptors).unwrap();
        steering.apply(&wanted).unwrap();
        assert_eq!(who("127.0.0.1:9901"), "plain");
        // And the other way, when nobody asks for it any more.
        steering.apply(&plan(listeners, &all)).unwrap();
        assert_eq!(who("127.0.0.1:9901"), "steered");
        drop(plain);
    });
}

#[test]
fn a_connection_to_an_endpoint_without_an_address_stays_on_this_host_and_does_not_come_back() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let steered = Worker::hidden("steered", &mut steering);
        let _plain = ["127.0.0.1:9000", "[::1]:9001"].map(|at| Worker::new("plain", TcpListener::bind(at).unwrap()));
        let mut planned = plan(&[("a", &[&steered])], &[("127.0.0.0/8:*", "a"), ("[::1]:*", "a")]);
        planned.endpoints = vec!["0.0.0.0:9000".parse().unwrap(), "[::]:9001".parse().unwrap()];
        steering.apply(&planned).unwrap();
        assert!(["0.0.0.0:9000", "[::]:9001"].iter().all(|address| dial(address).unwrap().starts_with("plain ")));
        assert_eq!((who("127.0.0.1:9001").as_str(), who("[::1]:9000").as_str()), ("steered", "steered"));
    });
}

#[test]
fn connections_are_spread_evenly_and_by_weights() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let workers: Vec<_> = (0..4).map(|at| Worker::hidden(at.to_string(), &mut steering)).collect();
        let canary = Worker::hidden("canary", &mut steering);
        let all: Vec<&Worker> = workers.iter().collect();
        let bindings = [("192.0.2.1:80", "main"), ("[2001:db8::1]:80", "main"), ("192.0.2.1:81", "main")];
        let mut plan = plan(&[("main", &all), ("canary", &[&canary])], &bindings);
        plan.bindings[2].weights = vec![weight("main", None, 95), weight("canary", None, 5)];
        steering.apply(&plan).unwrap();
        for address in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            let before: Vec<_> = workers.iter().map(Worker::accepted).collect();
            for _ in 0..8_000 {
                dial(address).unwrap();
            }
            let shares: Vec<_> =
                workers.iter().zip(before).map(|(worker, before)| worker.accepted() - before).collect();
            println!("8,000 to {address}: {shares:?}");
            // Five standard deviations are 194.
            assert!(shares.iter().all(|share| (1_800..=2_200).contains(share)), "{shares:?}");
        }
        for _ in 0..8_000 {
            dial("192.0.2.1:81").unwrap();
        }
        println!("of 8,000, the canary of 5 % got {}", canary.accepted());
        assert!((300..=500).contains(&canary.accepted()), "{}", canary.accepted());
        println!("{:?}, if kernel.bpf_stats_enabled", steering.run_stats().unwrap());
        let status = steering.status().unwrap();
        status.iter().for_each(|status| has_counted(status.steered, 8_000));
        assert_eq!(status.iter().map(|status| status.slots).collect::<Vec<_>>(), [4, 4, 80]);
    });
}

#[test]
fn no_client_can_choose_its_worker_by_its_port() {
    in_namespace(|| {
        let of_ports = |address| {
            let mut steering = Steering::attach().unwrap();
            let workers = ["0", "1"].map(|name| Worker::hidden(name, &mut steering));
            steering.apply(&plan(&[("main", &[&workers[0], &workers[1]])], &[("192.0.2.0/24:80", "main")])).unwrap();
            let one = |port| dial_from(&format!("192.0.2.9:{port}"), address).unwrap().remove(0);
            (20_000..20_064).map(one).collect::<String>()
        };
        // The address that is dialled is not in the hash, and nobody waits there for an old connection's end.
        let (one, other) = (of_ports("192.0.2.1:80"), of_ports("192.0.2.2:80"));
        println!("{one}\n{other}");
        assert_ne!(one, other, "every steering has a secret of its own, which chooses for each port");
    });
}

#[test]
fn without_a_socket_connections_are_refused_and_counted() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let worker = Worker::hidden("a", &mut steering);
        let bindings = [("192.0.2.1:80", "a"), ("192.0.2.1:81", "none")];
        steering.apply(&plan(&[("a", &[&worker]), ("none", &[])], &bindings)).unwrap();
        assert_eq!(who("192.0.2.1:80"), "a");
        assert!(refused("192.0.2.1:81"), "a listener without sockets");
        // A real listener there gets nothing either: the port is Odin's.
        let _real = TcpListener::bind("192.0.2.1:81").unwrap();
        assert!(refused("192.0.2.1:81"));
        drop(worker);
        assert!(refused_soon("192.0.2.1:80"), "a socket that was closed");
        let counts: Vec<_> = steering.status().unwrap().iter().map(|s| (s.steered, s.dropped)).collect();
        assert_eq!(counts[1], (0, 2));
        assert!(counts[0].0 >= 1 && counts[0].1 == 1, "{counts:?}");
    });
}

#[test]
fn a_hidden_socket_takes_no_direct_connection() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let worker = Worker::hidden("hidden", &mut steering);
        let address = worker.address();
        assert!(refused(&address.to_string()), "before it is planned");
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&worker])];
        steering.apply(&plan(listeners, &[("192.0.2.1:80", "a")])).unwrap();
        assert!(refused(&address.to_string()), "while it is planned");
        assert_eq!(who("192.0.2.1:80"), "hidden");

        // A user may want the very port, and gets it for as long as wanted.
        for binding in [address.to_string(), format!("[::]:{}", address.port()), "[::]:*".to_owned()] {
            steering.apply(&plan(listeners, &[("192.0.2.1:80", "a"), (&binding, "a")])).unwrap();
            assert_eq!(who(&address.to_string()), "hidden", "{binding}");
            // Steered, not direct.
            has_counted(steering.status().unwrap()[1].steered, 1);
            steering.apply(&plan(listeners, &[("192.0.2.1:80", "a")])).unwrap();
            assert!(refused(&address.to_string()), "{binding}");
        }

        steering.apply(&plan(&[], &[])).unwrap();
        assert_eq!(who(&address.to_string()), "hidden", "it is the caller's again");
    });
}

#[test]
fn counters_stay_with_a_binding_of_a_listener_and_start_anew_with_another() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let (a, b) = (Worker::hidden("a", &mut steering), Worker::hidden("b", &mut steering));
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&a]), ("b", &[&b])];
        steering.apply(&plan(listeners, &[("192.0.2.1:80", "a"), ("192.0.2.1:81", "a")])).unwrap();
        (0..3).for_each(|_| assert_eq!(who("192.0.2.1:80"), "a"));
        // Others come and go, and its weights change.
        let mut planned = plan(listeners, &[("192.0.2.1:82", "a"), ("192.0.2.1:80", "a")]);
        planned.bindings[1].weights = vec![weight("b", None, 1)];
        let applied = steering.apply(&planned).unwrap();
        assert_eq!((applied.added, applied.changed, applied.removed), (1, 1, 1));
        assert_eq!(who("192.0.2.1:80"), "b");
        assert!(refused("192.0.2.1:81"));
        let counts = |steering: &Steering| -> Vec<_> {
            let status = steering.status().unwrap().into_iter();
            status.map(|status| (status.binding.to_string(), status.listener, status.steered)).collect()
        };
        let (other, same) = (("192.0.2.1:82".to_owned(), "a".to_owned(), 0), "192.0.2.1:80".to_owned());
        assert_eq!(counts(&steering), [other, (same.clone(), "a".to_owned(), 4)]);
        // It goes to another listener, and comes back.
        let applied = steering.apply(&plan(listeners, &[("192.0.2.1:80", "b")])).unwrap();
        assert_eq!((applied.added, applied.changed, applied.removed), (0, 1, 1));
        assert_eq!(counts(&steering), [(same.clone(), "b".to_owned(), 0)]);
        assert_eq!(who("192.0.2.1:80"), "b");
        assert_eq!(counts(&steering), [(same.clone(), "b".to_owned(), 1)]);
        steering.apply(&plan(listeners, &[("192.0.2.1:80", "a")])).unwrap();
        assert_eq!(who("192.0.2.1:80"), "a");
        assert_eq!(counts(&steering), [(same.clone(), "a".to_owned(), 1)]);
        // It goes, and comes back.
        steering.apply(&plan(listeners, &[])).unwrap();
        steering.apply(&plan(listeners, &[("192.0.2.1:80", "a")])).unwrap();
        assert_eq!(counts(&steering), [(same, "a".to_owned(), 0)]);
    });
}

/// Random plans, each on top of the one before, and now and then in other hands.
#[test]
fn whatever_comes_and_goes_connections_go_where_the_plan_says() {
    const NETWORKS: [&str; 9] = [
        "[::]",
        "0.0.0.0",
        "192.0.2.0/24",
        "192.0.2.0/25",
        "192.0.2.128/25",
        "192.0.2.7",
        "[2001:db8::/32]",
        "[2001:db8:1::/48]",
        "[2001:db8:1::7]",
    ];
    const ADDRESSES: [&str; 6] =
        ["192.0.2.7", "192.0.2.8", "192.0.2.200", "2001:db8:1::7", "2001:db8:1::8", "2001:db8::8"];
    const PORTS: [&str; 6] = ["1000", "1001", "1002", "1000-1001", "1001-1002", "*"];
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let workers: Vec<_> = ["a", "b", "c"].map(|name| (name, Worker::hidden(name, &mut steering))).into();
        let listeners: Vec<_> = workers.iter().map(|(name, worker)| (*name, [worker])).collect();
        let listeners: Vec<_> = listeners.iter().map(|(name, workers)| (*name, &workers[..])).collect();
        let mut state = 1_u32;
        let mut random = |limit: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % limit
        };
        let (mut planned, mut tried) = (Vec::<(String, &str)>::new(), 0);
        for round in 0..400 {
            if random(3) > 0 {
                planned.retain(|_| random(4) > 0);
            }
            for _ in 0..random(6) {
                let binding = format!("{}:{}", NETWORKS[random(NETWORKS.len())], PORTS[random(PORTS.len())]);
                planned.push((binding, ["a", "b", "c"][random(3)]));
            }
            let bindings: Vec<_> = planned.iter().map(|(binding, listener)| (binding.as_str(), *listener)).collect();
            match steering.apply(&plan(&listeners, &bindings)) {
                Ok(_) => {}
                Err(SteerError::OfListener { error, .. }) if matches!(*error, SteerError::Duplicate { .. }) => {
                    planned = steering
                        .status()
                        .unwrap()
                        .iter()
                        .map(|s| {
                            (s.binding.to_string(), ["a", "b", "c"].into_iter().find(|l| *l == s.listener).unwrap())
                        })
                        .collect();
                }
                Err(error) => panic!("{error}"),
            }
            if round % 10 == 9 {
                let (state, descriptors) = steering.hand_over().unwrap();
                drop(steering);
                steering = Steering::resume(&state, descriptors).unwrap();
            }
            if round % 16 == 15 {
                steering.restore().unwrap();
            }
            for _ in 0..6 {
                let address: IpAddr = ADDRESSES[random(ADDRESSES.len())].parse().unwrap();
                let address = SocketAddr::new(address, 1000 + random(4) as u16);
                let dialled = Binding::from(address);
                let expected = planned
                    .iter()
                    .map(|(binding, listener)| (binding.parse::<Binding>().unwrap(), listener))
                    .filter(|(binding, _)| binding.overlaps(&dialled))
                    .max_by_key(|(binding, _)| (binding.ports() != Ports::Any, binding.mapped().prefix_len()));
                match expected {
                    Some((_, listener)) => {
                        assert_eq!(who(&address.to_string()), **listener, "{address} in {planned:?}")
                    }
                    None => assert!(refused(&address.to_string()), "{address} in {planned:?}"),
                }
                tried += usize::from(expected.is_some());
            }
        }
        assert!(tried > 500, "a useful mix: {tried}");
    });
}
