//! Anyone can take a name that Odins ask at, and answer what they like.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;
use std::time::{Duration, Instant};

use common::{Worker, ask, in_namespace, plan, told, who};
use odin_steer::{Binding, SteerError, Steering, check_others, steered_by_others};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Uid;

const NOBODY: u32 = 65534;
/// Who has not read an answer by then goes without the rest.
const PATIENCE: Duration = Duration::from_secs(1);
const DEADLINE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

fn listen(name: &str) -> UnixListener {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

/// Does something as another user.
fn by<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> T {
    let uid = Uid::from_raw(uid);
    let work = || {
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Answers everyone who asks, with so many spaces behind it.
fn answer(uid: u32, name: &str, text: &str, spaces: usize) {
    let (listener, answer) = (by(uid, || listen(name)), text.to_owned() + &" ".repeat(spaces));
    // Who asks hangs up when it has heard enough.
    thread::spawn(move || listener.incoming().for_each(|asker| drop(asker.unwrap().write_all(answer.as_bytes()))));
}

fn says(pid: u32, bindings: &str, hidden: &str) -> String {
    format!(r#"{{"pid":{pid},"bindings":[{bindings}],"hidden":[{hidden}]}}"#)
}

fn bindings(texts: &[&str]) -> Vec<Binding> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn who_does_not_answer_or_lies_is_skipped() {
    in_namespace(|| {
        let _mute = listen("odin/steer/1");
        answer(0, "odin/steer/2", r#"{"pid": -1}"#, 0);
        answer(0, "odin/steer/3", &says(3, r#""192.0.2.0/24:443""#, ""), 0);
        assert_eq!(steered_by_others().unwrap(), [(3, bindings(&["192.0.2.0/24:443"]))]);
    });
}

#[test]
fn nobody_fills_the_memory_by_what_it_tells() {
    in_namespace(|| {
        const MEGA: usize = 1 << 20;
        let more_than_there_can_be = vec![r#""192.0.2.9:1""#; 70_000].join(",");
        answer(0, "odin/steer/1", &says(1, r#""192.0.2.1:1""#, ""), 9 * MEGA);
        answer(NOBODY, "odin/steer/2", &says(2, &more_than_there_can_be, ""), 0);
        let pids = || steered_by_others().unwrap().into_iter().map(|(pid, _)| pid).collect::<Vec<_>>();
        assert_eq!(pids(), [0; 0]);
        // Each of them could be an Odin's; all together cannot, and root's must be heard.
        for pid in 3..8 {
            answer(NOBODY, &format!("odin/steer/{pid}"), &says(pid, "", ""), 7 * MEGA);
        }
        answer(0, "odin/steer/9", &says(9, r#""192.0.2.1:9""#, ""), 7 * MEGA);
        let pids = pids();
        assert!(pids.len() <= 3 && pids.contains(&9), "{pids:?}");
        assert!(matches!(check_others(&bindings(&["192.0.2.1:9"])), Err(SteerError::Taken { .. })));
    });
}

#[test]
fn nobody_can_declare_another_ones_socket_hidden() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        let worker = Worker::hidden("a", &mut steering);
        let listeners: &[(&str, &[&Worker])] = &[("a", &[&worker])];
        let _roots = ["127.0.0.1:9100", "127.0.0.2:9100"].map(|at| TcpListener::bind(at).unwrap());
        let theirs = by(NOBODY, || TcpListener::bind("127.0.0.1:9200").unwrap());
        let all = r#""127.0.0.1:9100","127.0.0.1:9200""#;
        answer(NOBODY, "odin/steer/1", &says(1, "", all), 0);
        answer(0, "odin/steer/2", &says(2, "", r#""127.0.0.2:9100""#), 0);
        for taken in ["127.0.0.1:9100", "127.0.0.2:9100"] {
            let error = steering.apply(&plan(listeners, &[(taken, "a")])).unwrap_err();
            assert!(error.to_string().ends_with(&format!("is taken by a socket that listens on {taken}")), "{error}");
        }
        steering.apply(&plan(listeners, &[("127.0.0.1:9200", "a")])).unwrap();
        assert_eq!(who("127.0.0.1:9200"), "a");
        // Root opened its sockets before it became another, and more of them later.
        drop(theirs);
        answer(0, "odin/steer/3", &says(3, "", all), 0);
        steering.apply(&plan(listeners, &[("127.0.0.1:9100", "a")])).unwrap();
    });
}

#[test]
fn nobody_keeps_an_odin_from_having_a_name() {
    in_namespace(|| {
        let pid = std::process::id();
        let names = (1..100).map(|more| format!("odin/steer/{pid}/{more}"));
        let _taken: Vec<_> = names.chain([format!("odin/steer/{pid}")]).map(|name| listen(&name)).collect();
        let steering = Steering::attach().unwrap();
        let table = std::fs::read_to_string("/proc/thread-self/net/unix").unwrap();
        assert_eq!(table.matches(&format!("@odin/steer/{pid}")).count(), 101);
        drop(steering);
    });
}

#[test]
fn who_asks_and_does_not_listen_keeps_nobody_waiting() {
    in_namespace(|| {
        let mut steering = Steering::attach().unwrap();
        steering.announce().unwrap();
        let worker = Worker::hidden("a", &mut steering);
        // More than a socket holds for whom does not read.
        let many: Vec<String> = (0..40_000).map(|at| format!("10.1.{}.{}:80", at >> 8, at & 255)).collect();
        let bindings: Vec<_> = many.iter().map(|text| (text.as_str(), "a")).collect();
        steering.apply(&plan(&[("a", &[&worker])], &bindings)).unwrap();
        let deaf: Vec<_> = (0..200).map(|_| ask()).collect();
        let mut whole = 0;
        for _ in 0..20 {
            let begin = Instant::now();
            let text = told(ask());
            // One after the other they would take three minutes.
            assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
            let is_whole =
                text.starts_with(r#"{"pid":"#) && text.ends_with(r#""]}"#) && text.matches(":80").count() == 40_000;
            assert!(is_whole || begin.elapsed() >= PATIENCE, "cut after {:?}", begin.elapsed());
            whole += usize::from(is_whole);
        }
        assert!(whole > 0, "nobody had an answer within {PATIENCE:?}");
        // The last one asked last, and has its time like the others.
        for stream in &deaf {
            let ends = rustix::event::poll(&mut [PollFd::new(stream, PollFlags::empty())], Some(&DEADLINE));
            assert_eq!(ends, Ok(1), "who does not listen is hung up on");
        }
        let heard: Vec<_> = deaf.into_iter().map(told).collect();
        assert!(heard.iter().all(|text| text.matches(":80").count() < 40_000));
        assert_eq!(told(ask()).matches(":80").count(), 40_000);
        // Whom it has begun to answer hears the rest, though it stops.
        let asked = ask();
        let mut first = [0; 1];
        (&asked).read_exact(&mut first).unwrap();
        steering.retire();
        assert_eq!(told(asked).matches(":80").count(), 40_000);
    });
}
