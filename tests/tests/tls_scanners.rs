//! What two scanners find: the table of docs/tls.md, and nothing weak.

use std::collections::BTreeSet;

use odin_tests::peers::{has, said, tool};
use odin_tests::tls::{Authority, offered};
use odin_tests::{HttpBackend, Odin, Protocol, skipped};
use serde_json::Value;
use tempfile::TempDir;

async fn serving(authority: &Authority) -> (Odin, HttpBackend) {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let (rsa, ecdsa) = (authority.issue_rsa(&["localhost"]), authority.issue(&["localhost"]));
    let tls = format!("tls = {{ certificates = [{}, {}] }}", ecdsa.pair(), rsa.pair());
    (Odin::builder().target(&backend).in_listener(&tls).start().await, backend)
}

fn json(file: &std::path::Path, said: &str) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{error}; it said:\n{said}"));
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn sslyze() {
    let Some(program) = tool("sslyze") else { return skipped("tests/tls/setup.sh, which `make peers` runs") };
    let (authority, folder) = (Authority::default(), TempDir::new().unwrap());
    let (odin, _backend) = serving(&authority).await;
    let file = folder.path().join("found.json");
    let place = format!("localhost:{}", odin.address("web").port());
    // Not the certificate: its serial number is larger than a number of JSON may be here.
    let checks = "--sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --compression --elliptic_curves --ems --heartbleed \
                  --openssl_ccs --reneg --robot --mozilla_config=disable";
    let checks: Vec<&str> = checks.split_whitespace().collect();
    let text = said(program, &[&checks[..], &["--json_out", file.to_str().unwrap(), &place]].concat()).await;
    let found = json(&file, &text);
    let scan = &found["server_scan_results"][0];
    assert_eq!(scan["scan_status"], "COMPLETED", "{text}");
    let result = |name: &str| {
        let one = &scan["scan_result"][name];
        assert_eq!(one["status"], "COMPLETED", "{name}: {text}");
        one["result"].clone()
    };
    let suites = |name: &str| -> BTreeSet<String> {
        let accepted = result(name)["accepted_cipher_suites"].as_array().unwrap().clone();
        accepted.iter().map(|one| one["cipher_suite"]["openssl_name"].as_str().unwrap().to_owned()).collect()
    };
    for old in ["ssl_2_0_cipher_suites", "ssl_3_0_cipher_suites", "tls_1_0_cipher_suites", "tls_1_1_cipher_suites"] {
        assert_eq!(suites(old), BTreeSet::new(), "{old}");
    }
    assert_eq!(suites("tls_1_2_cipher_suites"), offered(&["suites of TLS 1.2"]));
    assert_eq!(suites("tls_1_3_cipher_suites"), offered(&["suites of TLS 1.3"]));
    let curves = result("elliptic_curves")["supported_curves"].clone();
    let curves: BTreeSet<&str> = curves.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(curves, BTreeSet::from(["X25519", "secp256r1", "secp384r1"]));
    for (check, key, value) in [
        ("tls_compression", "supports_compression", Value::Bool(false)),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", Value::Bool(false)),
        ("heartbleed", "is_vulnerable_to_heartbleed", Value::Bool(false)),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", Value::Bool(false)),
        ("session_renegotiation", "supports_secure_renegotiation", Value::Bool(true)),
        ("tls_extended_master_secret", "supports_ems_extension", Value::Bool(true)),
        ("robot", "robot_result", Value::from("NOT_VULNERABLE_RSA_NOT_SUPPORTED")),
    ] {
        assert_eq!(result(check)[key], value, "{check}");
    }
}

#[tokio::test]
async fn testssl() {
    if !has("testssl") {
        return skipped("testssl, of Debian's package testssl.sh");
    }
    let (authority, folder) = (Authority::default(), TempDir::new().unwrap());
    let (odin, _backend) = serving(&authority).await;
    let file = folder.path().join("found.json");
    let place = format!("https://localhost:{}/", odin.address("web").port());
    let checks = ["--warnings", "off", "--color", "0", "-p", "-s", "-f", "-U", "--jsonfile", file.to_str().unwrap()];
    let text = said("testssl", &[&checks[..], &[&place]].concat()).await;
    let found = json(&file, &text);
    let found = found.as_array().unwrap();
    assert!(found.len() > 30, "{text}");
    for one in found {
        let fine = ["OK", "INFO"].map(Value::from).contains(&one["severity"]);
        // Of the scanner's own openssl.
        assert!(fine || one["id"] == "engine_problem", "{one}");
    }
    let finding = |id: &str| {
        let one = found.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id} in {text}"));
        one["finding"].as_str().unwrap().to_owned()
    };
    let suites: BTreeSet<String> = finding("PFS_ciphers").split_whitespace().map(str::to_owned).collect();
    assert_eq!(suites, offered(&["suites of TLS 1.2", "suites of TLS 1.3"]));
    for old in ["SSLv2", "SSLv3", "TLS1", "TLS1_1"] {
        assert_eq!(finding(old), "not offered", "{old}");
    }
}
