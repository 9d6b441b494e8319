//! Every config of `configs/` starts. Its ports are fixed, for people to read; here each gets a free one instead.

use std::collections::BTreeMap;
use std::path::Path;

use odin_tests::dial::{greeting, refused};
use odin_tests::schema::Schema;
use odin_tests::tcp::ReservedPort;
use odin_tests::tls::Authority;
use odin_tests::{Connection, HttpBackend, Odin, Protocol, TcpPeer, netns, paths};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

#[tokio::test]
async fn every_config_of_the_repository_starts_and_stops() {
    let (schema, authority) = (Schema::of_odin(), Authority::default());
    let mut started = 0;
    for entry in std::fs::read_dir(paths::workspace().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        // The units of systemd are there as well.
        if path.extension().is_some_and(|ending| ending == "service" || ending == "socket") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (text, _reserved) = with_free_ports(&authority.in_config(&with_absolute_plugins(&text)));
        let name = path.file_name().unwrap().to_str().unwrap();
        let odin =
            Odin::builder().with_config_named(name, text).argument("--admin").argument("127.0.0.1:0").start().await;
        assert!(odin.is_ready().await, "{name}");
        assert!(!odin.listeners().is_empty(), "{name}");
        // What Odin tells of its config is a config.
        schema.takes(name, &odin.admin("/config").await.has_status(200).json());
        odin.stop().await;
        started += 1;
    }
    assert!(started >= 6, "{started} configs");
}

#[test]
fn the_config_about_steering_serves_every_address_that_it_names() {
    netns::run(async || {
        let listen = async |address| TcpListener::bind(address).await.unwrap();
        let _web = HttpBackend::named_on(listen("127.0.0.1:9061").await, "web", Protocol::Http1);
        let _tcp = TcpPeer::on(listen("127.0.0.1:9062").await, |mut stream, _| async move {
            let _ = stream.write_all(b"tcp").await;
        });
        let odin = Odin::builder().config_file(paths::config("steering.toml")).start().await;
        assert_eq!(odin.steering().await.mode(), "bpf");
        for address in ["127.0.0.1:8090", "[::1]:8090", "127.76.0.0:8091", "127.76.0.255:8091"] {
            Connection::http1(address.parse().unwrap())
                .await
                .get("/")
                .await
                .has_status(200)
                .has_field("backend", "web");
        }
        for address in ["127.0.0.1:7100", "127.0.0.1:7109", "127.0.0.1:7120", "127.76.0.1:8092", "127.76.255.9:8091"] {
            assert_eq!(greeting(address).await, "tcp", "{address}");
        }
        for address in ["127.0.0.1:7110", "127.0.0.1:8091", "127.77.0.1:8091"] {
            refused(address).await;
        }
        odin.stop().await;
    });
}

/// Plugin paths are relative to the folder of the config, which is another one here.
fn with_absolute_plugins(text: &str) -> String {
    text.replace("../plugins/", &format!("{}/", Path::new(&paths::workspace()).join("plugins").display()))
}

/// Puts a free port for each number that can be one, and for each range of them. The few limits that are in the same
/// range do not mind.
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
        rest = if plain { after_range(tail) } else { tail };
    }
    out.push_str(rest);
    (out, free.into_values().collect())
}

/// What follows `-7109`, the rest of a range of ports.
fn after_range(tail: &str) -> &str {
    match tail.strip_prefix('-') {
        Some(end) if end.starts_with(|c: char| c.is_ascii_digit()) => {
            end.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => tail,
    }
}
