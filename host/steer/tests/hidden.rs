//! Hidden sockets: those of a listener share an address, which nobody reaches but by steering.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use common::{Worker, ask, dial, hidden_together, in_namespace, plan, refused, told, who, who_soon};
use odin_steer::{Applied, Steering};
use rustix::process::Uid;

fn addresses(workers: &[&Worker]) -> BTreeSet<SocketAddr> {
    workers.iter().map(|worker| worker.address()).collect()
}

/// How many of some connections each worker got.
fn shares(workers: &[&Worker], address: &str, connections: usize) -> Vec<u64> {
    let before: Vec<_> = workers.iter().map(|worker| worker.accepted()).collect();
    for _ in 0..connections {
        dial(address).unwrap();
    }
    workers.iter().zip(before).map(|(worker, before)| worker.accepted() - before).collect()
}

#[test]
fn sockets_of_a_listener_share_an_address_and_only_steering_chooses_among_them() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let [a0, a1, a2] = hidden_together(["a", "a", "a"], &mut steering);
        let [b] = hidden_together(["b"], &mut steering);
        let at = a0.address().to_string();
        assert_eq!(addresses(&[&a0, &a1, &a2]).len(), 1);
        assert_ne!(b.address(), a0.address(), "listeners share none");
        assert!(refused(&at), "before it is planned");
        let bindings = [("192.0.2.1:80", "a"), ("[2001:db8::1]:80", "a"), ("192.0.2.1:81", "b")];
        let mut planned = plan(&[("a", &[&a0, &a1, &a2]), ("b", &[&b])], &bindings);
        // A group would be asked for one of its own; all goes to one that has the same address as others.
        planned.bindings[1].weights = vec![common::weight("a", Some(1), 1)];
        steering.apply(&planned).unwrap();
        assert!((0..20).all(|_| refused(&at)), "while it is planned");
        assert_eq!(shares(&[&a0, &a1, &a2], "[2001:db8::1]:80", 60), [0, 60, 0]);
        let even = shares(&[&a0, &a1, &a2], "192.0.2.1:80", 300);
        assert!(even.iter().all(|share| (50..=150).contains(share)), "{even:?}");
        assert_eq!(who("192.0.2.1:81"), "b");
    });
}

#[test]
fn an_address_is_refused_until_no_socket_of_it_is_planned() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let [a, b, c] = hidden_together(["a", "b", "c"], &mut steering);
        let at = a.address().to_string();
        let binding = [("192.0.2.1:80", "x")];
        steering.apply(&plan(&[("x", &[&a, &b, &c])], &binding)).unwrap();
        // One goes, and closes; more come to the same place; another process goes on.
        steering.apply(&plan(&[("x", &[&b, &c])], &binding)).unwrap();
        drop(a);
        assert!((0..20).all(|_| refused(&at)));
        let more = steering.open_sockets(Some(b.socket.local_addr().unwrap()), 2).unwrap();
        let more: Vec<_> = more.into_iter().map(|socket| Worker::new("more", socket)).collect();
        assert!(more.iter().all(|worker| worker.address() == b.address()));
        let all: &[(&str, &[&Worker])] = &[("x", &[&b, &c, &more[0], &more[1]])];
        steering.apply(&plan(all, &binding)).unwrap();
        let (state, descriptors) = steering.hand_over().unwrap();
        drop(steering);
        let mut steering = Steering::resume(&state, descriptors).unwrap();
        assert_eq!(steering.apply(&plan(all, &binding)).unwrap(), Applied::default());
        assert_eq!(shares(&[&b, &c, &more[0], &more[1]], "192.0.2.1:80", 40).iter().sum::<u64>(), 40);
        steering.apply(&plan(&[("x", &[&more[1]])], &binding)).unwrap();
        drop((b, c));
        assert!((0..20).all(|_| refused(&at)));
        assert_eq!(who("192.0.2.1:80"), "more");
        steering.apply(&plan(&[], &[])).unwrap();
        assert_eq!(who_soon(&at), "more", "it is the caller's again");
    });
}

#[test]
fn another_user_gets_an_address_of_its_own() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let [a] = hidden_together(["a"], &mut steering);
        let nobody = Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let more = steering.open_sockets(Some(a.address()), 3).unwrap();
        let more: Vec<_> = more.into_iter().map(|socket| Worker::new("more", socket)).collect();
        let there = addresses(&more.iter().collect::<Vec<_>>());
        assert_eq!(there.len(), 1, "one port more, not three");
        assert!(!there.contains(&a.address()));
        let sockets: Vec<_> = more.iter().chain([&a]).collect();
        steering.apply(&plan(&[("x", &sockets)], &[("192.0.2.1:80", "x")])).unwrap();
        assert!(refused(&a.address().to_string()) && refused(&more[0].address().to_string()));
        assert_eq!(shares(&sockets, "192.0.2.1:80", 40).iter().sum::<u64>(), 40);
    });
}

#[test]
fn many_sockets_cost_the_host_one_port_and_little_time() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let begin = Instant::now();
        let sockets = steering.open_sockets(None, 800).unwrap();
        println!("800 sockets: {:?}", begin.elapsed());
        let ports: BTreeSet<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 1);
        assert!(steering.open_sockets(None, 0).unwrap().is_empty());
    });
}

#[test]
fn what_was_opened_for_a_change_that_failed_is_anybodys_again() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        steering.announce().unwrap();
        let [a] = hidden_together(["a"], &mut steering);
        let planned = plan(&[("a", &[&a])], &[("192.0.2.1:80", "a")]);
        steering.apply(&planned).unwrap();

        let _taken = TcpListener::bind("127.0.0.1:80").unwrap();
        let more = steering.open_sockets(Some(a.address()), 1).unwrap();
        let [b, c] = hidden_together(["b", "c"], &mut steering);
        let at = b.address();
        assert!(told(ask()).contains(&at.to_string()));
        let bad = [("192.0.2.1:80", "a"), ("127.0.0.1:80", "b")];
        steering.apply(&plan(&[("a", &[&a]), ("b", &[&b, &c])], &bad)).unwrap_err();
        drop((b, c, more));
        steering.forget_unplanned();
        assert!(!told(ask()).contains(&at.to_string()));
        let other = Worker::new("other", TcpListener::bind(at).unwrap());
        assert_eq!(who(&at.to_string()), "other");
        // What a plan has stays.
        assert!(told(ask()).contains(&a.address().to_string()) && refused(&a.address().to_string()));
        assert_eq!(who("192.0.2.1:80"), "a");
        assert_eq!(steering.apply(&planned).unwrap(), Applied::default());
        steering.forget_unplanned();
        assert!(refused(&a.address().to_string()));
        drop(other);

        // Nor does a binding over it that came before suffer.
        steering.apply(&plan(&[("a", &[&a])], &[("127.0.0.1:1024-65535", "a")])).unwrap();
        let [d] = hidden_together(["d"], &mut steering);
        steering.forget_unplanned();
        assert_eq!(who(&d.address().to_string()), "a");
    });
}
