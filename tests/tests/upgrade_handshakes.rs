//! Who is just connecting when a new binary takes over.

use std::ops::Range;
use std::time::{Duration, Instant};

use odin_tests::half_open::{self, HalfOpen};
use odin_tests::{Connection, HttpBackend, Odin, Target, netns};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// So long the old process accepts where no other one does, once it leaves.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Odin with one HTTP listener, upgraded while clients are connecting: to a file in which `from` is `to`. Answers what
/// the clients get whose handshakes are complete after that, and whether all were while the old process accepts for sure.
async fn upgraded_meanwhile(from: &str, to: &str, ports: Range<u16>) -> (Vec<Option<String>>, bool) {
    let http = HttpBackend::saying("ok").await;
    let config = format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\nsteering = \"bpf\"\n\
         [[listeners]]\nname = \"first\"\naddress = \"192.0.2.0/24:80\"\ncluster = \"web\"\n\
         [clusters.web]\nendpoints = [\"{}\"]\n",
        http.address()
    );
    let mut odin = Odin::builder().with_config(config).start().await;
    let old = odin.pid();
    let mut told = Connection::http2("192.0.2.7:80".parse().unwrap()).await;
    told.get("/").await.has_status(200);
    let mut connecting = Vec::new();
    for port in ports {
        connecting.push(HalfOpen::begin(port, "192.0.2.7:80".parse().unwrap()).await);
    }
    let text = std::fs::read_to_string(odin.config_file()).unwrap();
    // Right before, so that the new process reads it and the old one does not reload.
    odin.replace_config(&text.replace(from, to));
    let began = Instant::now();
    odin.upgrade().await;
    // The old process has begun to leave.
    told.closed().await;
    connecting.iter().for_each(|client| client.complete(REQUEST));
    let in_time = began.elapsed() < UNDER_WAY;
    let mut answers = Vec::new();
    for client in connecting {
        answers.push(client.answer().await.map(|answer| String::from_utf8(answer).unwrap()));
    }
    assert_eq!(odin.exit_code(old).await, Some(0));
    (answers, in_time)
}

#[test]
fn a_handshake_that_is_under_way_is_completed_by_the_new_process() {
    netns::run(async || {
        half_open::prepare();
        for answer in upgraded_meanwhile("", "", 5000..5010).await.0 {
            assert!(answer.as_ref().is_some_and(|answer| answer.starts_with("HTTP/1.1 200")), "{answer:?}");
        }
    });
}

#[test]
fn a_handshake_with_a_listener_that_the_new_process_does_not_have_is_completed_by_the_old_one() {
    netns::run(async || {
        half_open::prepare();
        let mut answers = Vec::new();
        for first in (5000..5100).step_by(10) {
            let in_time;
            (answers, in_time) = upgraded_meanwhile("\"first\"", "\"second\"", first..first + 10).await;
            if in_time || answers.iter().all(Option::is_some) {
                break;
            }
            // The machine may have stood still until it was too late: that says nothing about Odin.
        }
        for answer in answers {
            let answer = answer.expect("an answer, and no reset");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            // It tells the client to come back elsewhere.
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
    });
}
