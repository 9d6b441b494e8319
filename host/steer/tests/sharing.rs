//! Several processes: others that have a port already, one that takes over, one that dies.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use common::{Worker, has_counted, in_namespace, plan, refused, refused_soon, who};
use odin_steer::{Applied, Binding, ResumeError, SteerError, Steering, check_others, steered_by_others};

/// Set for a process that steers these bindings until its input ends.
const STEER: &str = "ODIN_TEST_STEER";

/// Not a test by itself: the other Odin.
#[test]
fn another_process() {
    let Ok(bindings) = std::env::var(STEER) else { return };
    let mut steering = Steering::attach().unwrap();
    let worker = Worker::hidden("other", &mut steering);
    let bindings: Vec<_> = bindings.split(' ').map(|binding| (binding, "other")).collect();
    steering.apply(&plan(&[("other", &[&worker])], &bindings)).unwrap();
    steering.announce().unwrap();
    println!("\nready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The other Odin, in this namespace.
fn other(bindings: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process", "--nocapture"])
        .env(STEER, bindings)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"), "the other process did not come up");
    child
}

fn bindings(texts: &[&str]) -> Vec<Binding> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn what_listens_is_not_taken() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let worker = Worker::hidden("a", &mut steering);
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&worker])];
        let _four = TcpListener::bind("127.0.0.1:80").unwrap();
        let _every = TcpListener::bind("[::]:81").unwrap();
        for (binding, by) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.0/8:1-80", "127.0.0.1:80"),
            ("[::]:80", "127.0.0.1:80"),
            ("192.0.2.1:81", "[::]:81"),
            ("[2001:db8::/32]:80-90", "[::]:81"),
        ] {
            let error = steering.apply(&plan(listeners, &[("192.0.2.1:79", "a"), (binding, "a")])).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("listener \"a\": {binding} is taken by a socket that listens on {by}")
            );
        }
        // A binding of any port is meant to cover others; a bound port elsewhere is none of its business.
        steering.apply(&plan(listeners, &[("192.0.2.1:80", "a"), ("127.0.0.1:*", "a")])).unwrap();
        assert_eq!(who("127.0.0.1:80"), "a");
        // What is steered already is not asked for again.
        let _late = TcpListener::bind("192.0.2.1:80").unwrap();
        steering.apply(&plan(listeners, &[("192.0.2.1:80", "a"), ("192.0.2.1:82", "a")])).unwrap();
    });
}

#[test]
fn another_odin_is_asked_and_dies_without_a_trace() {
    in_namespace(|| {
        assert!(steered_by_others().unwrap().is_empty());
        let mut child = other("192.0.2.1:80 192.0.2.0/25:7000-7999 [2001:db8::/32]:*");
        assert_eq!(who("192.0.2.1:80"), "other");
        let others = steered_by_others().unwrap();
        assert_eq!(others, [(child.id(), bindings(&["192.0.2.1:80", "192.0.2.0/25:7000-7999", "[2001:db8::/32]:*"]))]);

        let mut steering = Steering::attach().unwrap();
        steering.announce().unwrap();
        assert_eq!(steered_by_others().unwrap().len(), 1, "the own answer is not another's");
        let worker = Worker::hidden("a", &mut steering);
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&worker])];
        for taken in ["192.0.2.1:80", "0.0.0.0:80", "192.0.2.0/24:7500", "[2001:db8:1::]:1", "192.0.2.1:*"] {
            let error = steering.apply(&plan(listeners, &[(taken, "a")])).unwrap_err();
            let expected =
                format!("listener \"a\": {taken} is taken by Odin {} (process id) of uid 0, which steers", child.id());
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert!(matches!(check_others(&bindings(&["192.0.2.3:1", taken])), Err(SteerError::Taken { .. })));
        }
        let free = ["192.0.2.200:7500", "192.0.2.1:81", "127.0.0.0/8:80"];
        check_others(&bindings(&free)).unwrap();
        // The other's hidden socket listens, but is nobody else's business.
        steering.apply(&plan(listeners, &[("127.0.0.0/8:1024-65535", "a")])).unwrap();
        steering.apply(&plan(listeners, &[("192.0.2.1:81", "a")])).unwrap();
        assert_eq!((who("192.0.2.1:81"), who("192.0.2.1:80")), ("a".to_owned(), "other".to_owned()));

        child.kill().unwrap();
        child.wait().unwrap();
        assert!(refused("192.0.2.1:80"), "nothing is left of it");
        assert!(steered_by_others().unwrap().is_empty());
        steering.apply(&plan(listeners, &[("192.0.2.1:80", "a"), ("[2001:db8::/32]:*", "a")])).unwrap();
        assert_eq!((who("192.0.2.1:80"), who("[2001:db8::1]:5")), ("a".to_owned(), "a".to_owned()));

        drop(steering);
        assert!(refused_soon("192.0.2.1:80"), "nothing is left of this one either");
    });
}

#[test]
fn another_goes_on_where_one_ends() {
    in_namespace(|| {
        let mut old = Steering::attach().unwrap();
        old.announce().unwrap();
        let (a, b) = (Worker::hidden("a", &mut old), Worker::hidden("b", &mut old));
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&a]), ("b", &[&b])];
        let planned: &[(&str, &str)] = &[("192.0.2.1:80", "a"), ("192.0.2.0/24:7000-7999", "b"), ("[::]:81", "b")];
        old.apply(&plan(listeners, planned)).unwrap();
        assert_eq!((who("192.0.2.1:80"), who("192.0.2.9:7777")), ("a".to_owned(), "b".to_owned()));

        let (state, descriptors) = old.hand_over().unwrap();
        let mut new = Steering::resume(&state, descriptors).unwrap();
        assert_eq!(new.apply(&plan(listeners, planned)).unwrap(), Applied::default(), "the same is no update");
        new.announce().unwrap();
        old.retire();
        drop(old);
        assert_eq!((who("192.0.2.1:80"), who("[::1]:81")), ("a".to_owned(), "b".to_owned()));
        // Counters go on.
        has_counted(new.status().unwrap()[0].steered, 2);
        assert!(refused(&format!("127.0.0.1:{}", a.socket.local_addr().unwrap().port())), "still hidden");

        // Sockets and bindings come and go as ever.
        let c = Worker::hidden("c", &mut new);
        new.apply(&plan(&[("a", &[&c]), ("b", &[&b])], &[("192.0.2.1:80", "a"), ("192.0.2.2:80", "b")])).unwrap();
        assert_eq!((who("192.0.2.1:80"), who("192.0.2.2:80")), ("c".to_owned(), "b".to_owned()));
        assert!(refused("192.0.2.9:7777"));
        drop(new);
        assert!(refused_soon("192.0.2.1:80"));
    });
}

#[test]
fn one_goes_on_when_the_other_fails() {
    in_namespace(|| {
        let mut old = Steering::attach().unwrap();
        old.announce().unwrap();
        let (a, b) = (Worker::hidden("a", &mut old), Worker::hidden("b", &mut old));
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&a]), ("b", &[&b])];
        let planned: &[(&str, &str)] = &[("192.0.2.1:80", "a"), ("192.0.2.0/24:7000-7099", "b"), ("[::]:81", "b")];
        old.apply(&plan(listeners, planned)).unwrap();

        let (state, descriptors) = old.hand_over().unwrap();
        let mut new = Steering::resume(&state, descriptors).unwrap();
        let c = Worker::hidden("c", &mut new);
        let other: &[(&str, &str)] = &[("192.0.2.1:80", "a"), ("192.0.2.0/24:7050-7200", "a"), ("192.0.2.7:*", "c")];
        new.apply(&plan(&[("a", &[&c]), ("c", &[&c])], other)).unwrap();
        assert_eq!((who("192.0.2.1:80"), who("192.0.2.7:1")), ("c".to_owned(), "c".to_owned()));
        drop((new, c));

        // It died, and took its sockets with it.
        old.restore().unwrap();
        let check = || {
            assert_eq!((who("192.0.2.1:80"), who("192.0.2.7:7050")), ("a".to_owned(), "b".to_owned()));
            assert_eq!(who("[::1]:81"), "b");
            assert!(refused("192.0.2.7:1") && refused("192.0.2.7:7150"));
        };
        check();
        let applied = old.apply(&plan(listeners, planned)).unwrap();
        assert_eq!((applied.added, applied.changed, applied.removed, applied.updates), (0, 0, 0, 2), "the sockets");
        check();
        assert_eq!(old.apply(&plan(listeners, planned)).unwrap(), Applied::default());
    });
}

#[test]
fn what_does_not_fit_is_not_resumed() {
    in_namespace(|| {
        let steering = Steering::attach().unwrap();
        let (state, descriptors) = steering.hand_over().unwrap();
        let other = state.replacen("\"layout\":", "\"layout\":9", 1);
        let error = Steering::resume(&other, descriptors).err().unwrap();
        assert!(matches!(error, ResumeError::Layout { theirs: 91, ours: 1 }), "{error}");
        let (state, mut descriptors) = steering.hand_over().unwrap();
        descriptors.pop();
        let error = Steering::resume(&state, descriptors).err().unwrap();
        assert!(matches!(error, ResumeError::Descriptors { got: 9, expected: 10 }), "{error}");
        assert!(matches!(Steering::resume("{", Vec::new()), Err(ResumeError::State(_))));
    });
}
