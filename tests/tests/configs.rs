//! Every config of `configs/` starts. Its ports are fixed, for people to read; here each gets a free one instead.

use std::collections::BTreeMap;
use std::path::Path;

use odin_tests::tcp::ReservedPort;
use odin_tests::{Odin, paths};

#[tokio::test]
async fn every_config_of_the_repository_starts_and_stops() {
    let mut started = 0;
    for entry in std::fs::read_dir(paths::workspace().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (text, _reserved) = with_free_ports(&with_absolute_plugins(&text));
        let name = path.file_name().unwrap().to_str().unwrap();
        let odin =
            Odin::builder().with_config_named(name, text).argument("--admin").argument("127.0.0.1:0").start().await;
        assert!(odin.is_ready().await, "{name}");
        assert!(!odin.listeners().is_empty(), "{name}");
        odin.admin("/config").await.has_status(200);
        odin.stop().await;
        started += 1;
    }
    assert!(started >= 6, "{started} configs");
}

/// Plugin paths are relative to the folder of the config, which is another one here.
fn with_absolute_plugins(text: &str) -> String {
    text.replace("../plugins/", &format!("{}/", Path::new(&paths::workspace()).join("plugins").display()))
}

/// Puts a free port for each number that can be one. The few limits that are in the same range do not mind.
fn with_free_ports(text: &str) -> (String, Vec<ReservedPort>) {
    let mut free: BTreeMap<&str, ReservedPort> = BTreeMap::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let word = rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let digits = &rest[at..];
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (number, tail) = digits.split_at(end);
        out.push_str(&rest[..at]);
        let plain = !word && !tail.starts_with(|c: char| c.is_alphanumeric() || c == '.');
        match number.parse::<u16>() {
            Ok(1024..) if plain => {
                let port = free.entry(number).or_insert_with(ReservedPort::reserve).number();
                out.push_str(&port.to_string());
            }
            _ => out.push_str(number),
        }
        rest = tail;
    }
    out.push_str(rest);
    (out, free.into_values().collect())
}
