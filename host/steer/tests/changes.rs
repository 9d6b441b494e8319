//! What changes costs nobody a connection, and what fails changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Worker, at_most, dial, has_counted, in_namespace, plan, refused, weight, who};
use odin_steer::{Applied, Plan, PlannedListener, SteerError, Steering};
use rustix::process::Uid;

#[test]
fn a_plan_that_changes_nothing_updates_nothing() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let (a, b) = (Worker::hidden("a", &mut steering), Worker::hidden("b", &mut steering));
        let bindings = [("192.0.2.0/24:80", "a"), ("[::]:81-90", "b"), ("192.0.2.1:82", "a")];
        let mut planned = plan(&[("a", &[&a, &b]), ("b", &[&b])], &bindings);
        planned.bindings[2].weights = vec![weight("a", None, 1), weight("b", None, 3)];
        let first = steering.apply(&planned).unwrap();
        // Two sockets; tables of two, one and eight slots; three ids with two counters and group. Two networks
        // and eleven ports with one, and one port with two.
        let slots = steering.status().unwrap().iter().map(|status| status.slots as usize).sum::<usize>();
        assert_eq!(first, Applied { added: 3, changed: 0, removed: 0, updates: 2 + slots + 9 + 13 + 3 });
        assert_eq!(steering.apply(&planned).unwrap(), Applied::default());
        // One weight more is one table and one group.
        planned.bindings[2].weights[1].weight = 4;
        let applied = steering.apply(&planned).unwrap();
        assert_eq!((applied.changed, applied.updates), (1, steering.status().unwrap()[2].slots as usize + 1));
        // A replaced socket is one update, whoever shares it.
        let c = Worker::hidden("c", &mut steering);
        planned.listeners[0].sockets[0] = c.socket.as_fd();
        let applied = steering.apply(&planned).unwrap();
        // And its predecessor's refusal is taken back.
        assert_eq!((applied.changed, applied.updates), (0, 2));
    });
}

#[test]
fn sockets_are_replaced_under_load_and_nothing_is_lost() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let mut workers: Vec<Worker> = (0..4).map(|_| Worker::hidden("w", &mut steering)).collect();
        let bindings = [("192.0.2.0/24:80", "a"), ("[2001:db8::/32]:80", "a")];
        let changing = ("192.0.2.0/24:1000-1099", "a");
        steering.apply(&plan(&[("a", &workers.iter().collect::<Vec<_>>())], &bindings)).unwrap();
        let (stop, dialled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients: Vec<_> = ["192.0.2.7:80", "[2001:db8::7]:80", "192.0.2.8:80"]
            .map(|address| {
                let (stop, dialled) = (Arc::clone(&stop), Arc::clone(&dialled));
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        dial(address).unwrap_or_else(|error| panic!("{address}: {error}"));
                        dialled.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .into();
        for round in 0..60 {
            // All workers replaced, and from time to time more or fewer of them, and ports come and go.
            let many = 2 + round % 4;
            let fresh: Vec<Worker> = (0..many).map(|_| Worker::hidden("w", &mut steering)).collect();
            let all: Vec<_> = fresh.iter().collect();
            let mut bindings = bindings.to_vec();
            bindings.extend((round % 2 == 0).then_some(changing));
            steering.apply(&plan(&[("a", &all)], &bindings)).unwrap();
            // Those before serve what is queued, then close: a connection may still be on its way to them.
            let before = dialled.load(Ordering::Relaxed);
            while dialled.load(Ordering::Relaxed) < before + 20 && clients.iter().all(|client| !client.is_finished()) {
                thread::yield_now();
            }
            workers = fresh;
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        println!("{} connections during 60 replacements", dialled.load(Ordering::Relaxed));
        let counted: u64 = steering.status().unwrap().iter().map(|status| status.steered).sum();
        has_counted(counted, dialled.load(Ordering::Relaxed));
        assert!(steering.status().unwrap().iter().all(|status| status.dropped == 0));
        drop(workers);
    });
}

#[test]
fn ports_that_go_to_another_listener_lose_nobody() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let (a, b) = (Worker::hidden("a", &mut steering), Worker::hidden("b", &mut steering));
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&a]), ("b", &[&b])];
        let moving = |to| [("192.0.2.0/24:80", to), ("192.0.2.1:80", "a"), ("192.0.2.0/24:7000-7099", to)];
        steering.apply(&plan(listeners, &moving("a"))).unwrap();
        let stop = AtomicBool::new(false);
        let counted = |steering: &Steering| steering.status().unwrap().iter().map(|status| status.steered).sum::<u64>();
        let mut sum = 0;
        let dialled = thread::scope(|scope| {
            let clients = ["192.0.2.7:80", "192.0.2.1:80", "192.0.2.7:7050"].map(|address| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut dialled = 0;
                    while !stop.load(Ordering::Relaxed) {
                        dial(address).unwrap_or_else(|error| panic!("{address}: {error}"));
                        dialled += 1;
                    }
                    dialled
                })
            });
            for round in 0..100 {
                thread::sleep(Duration::from_millis(2));
                // What stays is counted on, what goes is counted anew.
                let staying = steering.status().unwrap()[1].steered;
                sum += counted(&steering) - staying;
                let moved = steering.apply(&plan(listeners, &moving(["b", "a"][round % 2]))).unwrap();
                assert_eq!((moved.added, moved.changed, moved.removed), (0, 2, 0));
            }
            stop.store(true, Ordering::Relaxed);
            clients.map(|client| client.join().unwrap()).iter().sum::<u64>()
        });
        sum += counted(&steering);
        // Those between a look and the move count for nobody, and none counts twice.
        println!("{dialled} connections, {sum} counted");
        assert!(sum <= at_most(dialled) && sum > dialled / 2, "{sum} of {dialled}");
        assert!(steering.status().unwrap().iter().all(|status| status.dropped == 0));
    });
}

#[test]
fn a_failing_plan_changes_nothing() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let (a, b) = (Worker::hidden("a", &mut steering), Worker::hidden("b", &mut steering));
        let good: &[(&str, &str)] = &[("192.0.2.1:80", "a"), ("192.0.2.1:81-90", "b")];
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&a]), ("b", &[&b])];
        steering.apply(&plan(listeners, good)).unwrap();
        let check = |steering: &mut Steering| {
            assert_eq!((who("192.0.2.1:80"), who("192.0.2.1:85")), ("a".to_owned(), "b".to_owned()));
            assert!(refused("192.0.2.1:79") && refused("192.0.2.9:85"));
            assert_eq!(steering.apply(&plan(listeners, good)).unwrap(), Applied::default());
        };

        // What is seen before anything is done.
        let with = |more: (&'static str, &'static str)| [("192.0.2.1:80", "b"), more];
        for (bad, expected) in [
            (with(("192.0.2.1:70-80", "a")), "192.0.2.1:80 and 192.0.2.1:70-80 are the same network and share ports"),
            (with(("192.0.2.1:70", "x")), "192.0.2.1:70 goes to the listener `x`, which does not exist"),
            (with(("192.0.2.1:0", "a")), "port 0"),
        ] {
            let error = steering.apply(&plan(listeners, &bad)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            check(&mut steering);
        }
        let mut weighted = plan(listeners, good);
        weighted.bindings[0].weights = vec![weight("b", Some(1), 1)];
        let of_a = |error| match error {
            SteerError::OfListener { listener, error } if listener == "a" => *error,
            error => panic!("{error}"),
        };
        assert!(matches!(of_a(steering.apply(&weighted).unwrap_err()), SteerError::NoWorker { worker: 1, .. }));
        weighted.bindings[0].weights = vec![weight("b", Some(0), 0)];
        assert!(matches!(of_a(steering.apply(&weighted).unwrap_err()), SteerError::NoWeight { .. }));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut deaf = plan(listeners, good);
        deaf.listeners[0].sockets = vec![b.socket.as_fd(), udp.as_fd()];
        assert!(matches!(steering.apply(&deaf), Err(SteerError::NotListening { slot: 1, .. })));
        check(&mut steering);
        let wide: Vec<String> = (1..6).map(|host| format!("192.0.2.{}:1-65535", host + 10)).collect();
        let wide: Vec<_> = wide.iter().map(|text| (text.as_str(), "a")).collect();
        let error = steering.apply(&plan(listeners, &wide)).unwrap_err();
        let expected = "no room: networks on ports that have many are limited to 262144; what a change removes counts \
                        until it is over";
        assert_eq!(error.to_string(), expected);
        check(&mut steering);

        // The kernel's map is full, of which this Steering knows nothing: it finds out in the middle.
        let (state, descriptors) = steering.hand_over().unwrap();
        let mut other = Steering::resume(&state, descriptors).unwrap();
        let mut full: Vec<(&str, &str)> = good.to_vec();
        let wide = ["192.0.2.11:1-65535", "192.0.2.12:1-65535", "192.0.2.13:1-65535", "192.0.2.14:1-65500"];
        full.extend(wide.map(|text| (text, "a")));
        other.apply(&plan(listeners, &full)).unwrap();
        let c = Worker::hidden("c", &mut steering);
        let more: &[(&str, &[&Worker])] = &[("a", &[&c, &a]), ("b", &[&a]), ("c", &[&c])];
        let bad = [
            ("192.0.2.1:80", "b"),
            ("192.0.2.1:70-79", "a"),
            ("192.0.2.9:2000-2999", "c"),
            ("192.0.2.8:2000-2999", "c"),
        ];
        let error = steering.apply(&plan(more, &bad)).unwrap_err();
        assert!(matches!(error, SteerError::Full { .. }), "{error}");
        check_shared(&mut steering);

        // What the other one wrote is removed by whom it is not known to.
        drop(other);
        steering.restore().unwrap();
        assert!(refused("192.0.2.12:1234"));
        steering.apply(&plan(listeners, good)).unwrap();
        check(&mut steering);

        fn check_shared(steering: &mut Steering) {
            assert_eq!((who("192.0.2.1:80"), who("192.0.2.1:85")), ("a".to_owned(), "b".to_owned()));
            assert!(refused("192.0.2.1:75") && refused("192.0.2.9:2000") && refused("192.0.2.8:2000"));
            assert_eq!(steering.status().unwrap().len(), 2);
        }
    });
}

#[test]
fn ten_thousand_ports_and_five_thousand_bindings() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let worker = Worker::hidden("a", &mut steering);
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&worker])];
        let timed = |what: &str, steering: &mut Steering, plan: &Plan<'_>| {
            let begin = Instant::now();
            let applied = steering.apply(plan).unwrap();
            println!("{what}: {:?}, {applied:?}", begin.elapsed());
            applied
        };
        let range = plan(listeners, &[("192.0.2.0/24:10000-19999", "a")]);
        assert_eq!(timed("10,000 ports of one range", &mut steering, &range).added, 1);
        assert_eq!(who("192.0.2.200:15432"), "a");
        assert_eq!(timed("nothing changed", &mut steering, &range).updates, 0);
        let single: Vec<String> = (10_000..20_000).map(|port| format!("192.0.2.0/24:{port}")).collect();
        let single: Vec<_> = single.iter().map(|text| (text.as_str(), "a")).collect();
        let five = plan(listeners, &single[..5_000]);
        timed("5,000 ports, each a binding, in place of the range", &mut steering, &five);
        assert_eq!(who("192.0.2.200:12345"), "a");
        assert!(refused("192.0.2.200:15432"));
        let ten = plan(listeners, &single);
        assert_eq!(timed("5,000 more", &mut steering, &ten).added, 5_000);
        assert_eq!(timed("nothing changed", &mut steering, &ten).updates, 0);
        let before = steering.run_stats().unwrap();
        for port in (10_000..20_000).step_by(7) {
            assert_eq!(who(&format!("192.0.2.{}:{port}", port % 250)), "a");
        }
        let after = steering.run_stats().unwrap();
        if let Some(nanos) = (after.nanos - before.nanos).checked_div(after.runs - before.runs) {
            println!("{nanos} ns a connection with 10,000 keys");
        }
        let applied = timed("all gone", &mut steering, &plan(listeners, &[]));
        assert_eq!(applied.removed, 10_000);
        assert!(refused("192.0.2.200:12345"));
    });
}

#[test]
fn what_a_full_map_says_is_what_fits() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let worker = Worker::hidden("a", &mut steering);
        let all: Vec<String> = (0..=65_535_u32).map(|at| format!("10.{}.{}.1:80", at >> 8, at & 255)).collect();
        let all: Vec<_> = all.iter().map(|text| (text.as_str(), "a")).collect();
        let some = |some: &[(&str, &str)]| plan(&[("a", &[&worker])], some);
        let full = |error: SteerError| {
            let expected = "no room: bindings are limited to 65534; what a change removes counts until it is over";
            assert_eq!(error.to_string(), expected);
        };
        full(steering.apply(&some(&all[1..])).unwrap_err());
        assert_eq!(steering.apply(&some(&all[2..])).unwrap().added, 65_534);
        full(steering.apply(&some(&all[1..65_535])).unwrap_err());
        // In two steps there is room.
        steering.apply(&some(&all[3..])).unwrap();
        assert_eq!(steering.apply(&some(&[&all[..1], &all[3..]].concat())).unwrap().added, 1);
    });
}

#[test]
fn updates_need_no_capability() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        // As the host does when it has a user: the thread is nobody's from here on, and has no capability.
        let nobody = Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let sets = rustix::thread::capabilities(None).unwrap();
        assert!(sets.effective.is_empty() && sets.permitted.is_empty());
        let error = Steering::attach().err().unwrap().to_string();
        assert!(error.starts_with("the process lacks CAP_BPF and CAP_NET_ADMIN"), "{error}");
        let (a, b) = (Worker::hidden("a", &mut steering), Worker::hidden("b", &mut steering));
        steering.apply(&plan(&[("a", &[&a])], &[("192.0.2.1:80", "a")])).unwrap();
        assert_eq!(who("192.0.2.1:80"), "a");
        steering.apply(&plan(&[("a", &[&b])], &[("192.0.2.1:80", "a"), ("[::]:81", "a")])).unwrap();
        assert_eq!((who("192.0.2.1:80"), who("[::1]:81")), ("b".to_owned(), "b".to_owned()));
        steering.announce().unwrap();
        steering.restore().unwrap();
        let (state, descriptors) = steering.hand_over().unwrap();
        drop(steering);
        let mut steering = Steering::resume(&state, descriptors).unwrap();
        steering.apply(&plan(&[("a", &[&b])], &[("[::]:81", "a")])).unwrap();
        has_counted(steering.status().unwrap()[0].steered, 1);
        assert!(refused("192.0.2.1:80"));
        steering.run_stats().unwrap();
    });
}

#[test]
fn many_listeners_and_workers_come_and_go() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let workers: Vec<Worker> = (0..6).map(|at| Worker::hidden(at.to_string(), &mut steering)).collect();
        for round in 0..300_usize {
            // Some of six listeners, each with some of the sockets, in another order every time.
            let names: Vec<String> =
                (0..6).filter(|at| (round >> at) & 1 == 0 || round % 7 == 0).map(|at| at.to_string()).collect();
            let sockets = |at: usize| (0..=(round + at) % 3).map(move |more| (at + more * 2) % 6);
            let mut planned = Plan::default();
            for name in &names {
                let at: usize = name.parse().unwrap();
                let sockets = sockets(at).map(|at| workers[at].socket.as_fd()).collect();
                planned.listeners.push(PlannedListener { name, sockets });
                let binding = format!("192.0.2.{at}:{}", 1000 + round % 5);
                planned.bindings.extend(plan(&[], &[(&binding, name)]).bindings);
            }
            steering.apply(&planned).unwrap();
            for name in &names {
                let at: usize = name.parse().unwrap();
                let reached: usize = who(&format!("192.0.2.{at}:{}", 1000 + round % 5)).parse().unwrap();
                assert!(sockets(at).any(|socket| socket == reached), "round {round}");
            }
        }
        steering.apply(&Plan::default()).unwrap();
        assert!((0..6).all(|at| refused(&format!("192.0.2.{at}:1004"))));
    });
}
