//! Clients that misbehave behind the ClientHello, with the keys of the session: tests/tls/hostile.py by tlslite-ng. What comes
//! before stands in tls_hostile.rs.

use std::collections::BTreeMap;

use odin_tests::peers::{tls_folder, told, tool};
use odin_tests::tls::Authority;
use odin_tests::{HttpBackend, Odin, Protocol, skipped};

/// These are fine, if odd.
const SERVED: [&str; 4] = ["one warning", "a request byte by byte", "a key update", "a few key updates"];

#[tokio::test]
async fn a_bad_record_or_message_ends_with_an_alert_or_a_close_and_hurts_nobody() {
    let Some(python) = tool("python") else { return skipped("tests/tls/setup.sh, which `make peers` runs") };
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let tls = format!("tls = {{ certificates = [{}] }}", authority.issue(&["localhost"]).pair());
    let times = "[timeouts]\nheader = '2s'\nidle = '2s'\n";
    let odin = Odin::builder().target(&backend).in_listener(&tls).section(times).start().await;
    let script = tls_folder().join("hostile.py");
    let port = odin.address("web").port().to_string();
    let mut resident = Vec::new();
    for _ in 0..3 {
        let told = told(&python, &[script.to_str().unwrap(), &port]).await;
        let outcomes: BTreeMap<String, String> = told
            .iter()
            .map(|one| (one["case"].as_str().unwrap().to_owned(), one["outcome"].as_str().unwrap().to_owned()))
            .collect();
        assert!(outcomes.len() >= 60, "{outcomes:?}");
        for (case, outcome) in &outcomes {
            let name = case.rsplit_once(',').unwrap().0;
            let fine = match SERVED.contains(&name) {
                true => outcome == "served",
                false => outcome == "closed" || outcome.starts_with("alert "),
            };
            assert!(fine, "{case}: {outcome}");
        }
        for (case, outcome) in [
            ("random bytes as data, TLS 1.3", "alert bad_record_mac"),
            ("a point that is not on the curve, TLS 1.2", "alert illegal_parameter"),
            ("a wrong Finished, TLS 1.2", "alert decrypt_error"),
            ("a new handshake, TLS 1.2", "alert no_renegotiation"),
        ] {
            assert_eq!(outcomes[case], outcome, "{case}");
        }
        let answer = authority.client(&[]).ask(odin.address("web"), "localhost", "localhost", "/").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        resident.push(odin.resident_bytes());
    }
    assert!(resident[2] < resident[0] + (8 << 20), "memory grows: {resident:?}");
}
