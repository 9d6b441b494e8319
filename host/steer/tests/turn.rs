//! Odins that look and take at the same time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Worker, in_namespace, plan};
use odin_steer::{Steering, turn};

/// How long a turn is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Set for a process that steers whatever binding it is told.
const TAKE: &str = "ODIN_TEST_TAKE";

/// Not a test by itself: one of the Odins. It takes each binding that it reads, as a reload does, and says what came of it.
#[test]
fn another_process() {
    if std::env::var(TAKE).is_err() {
        return;
    }
    let mut steering = Steering::attach().unwrap();
    let worker = Worker::hidden("a", &mut steering);
    steering.announce().unwrap();
    println!("\nready");
    let mut bindings = Vec::<String>::new();
    for binding in std::io::stdin().lines() {
        bindings.push(binding.unwrap());
        let planned: Vec<_> = bindings.iter().map(|binding| (binding.as_str(), "a")).collect();
        let _turn = turn();
        match steering.apply(&plan(&[("a", &[&worker])], &planned)) {
            Ok(_) => println!("took it"),
            Err(error) => {
                println!("{error}");
                bindings.pop();
            }
        }
    }
}

struct Odin {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Odin {
    fn start() -> Odin {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "another_process", "--nocapture"])
            .env(TAKE, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut output = BufReader::new(output).lines();
        assert!(output.any(|line| line.unwrap() == "ready"), "the process did not come up");
        Odin { process, input, output }
    }

    fn end(self) {
        let Odin { mut process, input, .. } = self;
        drop(input);
        process.wait().unwrap();
    }
}

#[test]
fn of_two_that_want_a_port_at_the_same_time_one_gets_it() {
    in_namespace(|| {
        let mut odins = [Odin::start(), Odin::start()];
        for port in 1000..1040 {
            odins.iter_mut().for_each(|odin| writeln!(odin.input, "192.0.2.1:{port}").unwrap());
            let said = odins.each_mut().map(|odin| odin.output.next().unwrap().unwrap());
            let taken = said.iter().filter(|said| *said == "took it").count();
            assert_eq!(taken, 1, "{said:?}");
            let refusal = format!("listener \"a\": 192.0.2.1:{port} is taken by Odin");
            assert!(said.iter().any(|said| said.starts_with(&refusal)), "{said:?}");
        }
        odins.into_iter().for_each(Odin::end);
    });
}

#[test]
fn who_holds_the_turn_for_ever_stops_nobody() {
    in_namespace(|| {
        drop(turn());
        let begin = Instant::now();
        let held = turn();
        assert!(begin.elapsed() < PATIENCE, "a turn that is over is free at once");
        let begin = Instant::now();
        let waiting = thread::spawn(|| drop(turn()));
        thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished(), "one waits for the other");
        drop(held);
        waiting.join().unwrap();
        assert!(begin.elapsed() < PATIENCE, "and has it when that one's is over");

        let _squatter = UnixListener::bind_addr(&SocketAddr::from_abstract_name("odin/turn").unwrap()).unwrap();
        let begin = Instant::now();
        drop(turn());
        assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    });
}
