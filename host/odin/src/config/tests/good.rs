//! Configs that load: the defaults, the three syntaxes side by side, the way to JSON and back, and configs/.

use std::time::Duration;

use odin_steer::Binding;
use serde_json::json;

use super::super::syntax::{self, Syntax};
use super::super::{
    Config, Endpoint, EndpointAddress, Limits, LogFormat, OnFailure, Plugin, SteeringMode, Timeouts, Traffic,
    UpstreamProtocol,
};
use super::Folder;

const TOML: &str = r#"
workers = 3
shutdown-grace = "250ms"
drain-timeout = "1m"
steering = "bpf"
user = "odin"
admin = "off"
access-log = { enabled = false, format = "json", context = ["tenant", "user"] }
[[listeners]]
address = "[::1]:8080"
trust-forwarded = true
cluster = "web"
plugins = ["lb"]
[[listeners.routes]]
host = "*.Example.com"
path = "/v1/"
cluster = "api"
[[listeners]]
name = "db"
address = ["127.0.0.1:0", "[::]:7000-7999", "192.0.2.0/24:80", "10.0.0.1:*"]
steer = "lb"
protocol = "tcp"
cluster = "web"
plugins = ["other", "lb"]
[clusters.web]
endpoints = ["127.0.0.1:9000", { address = "db.example:9001", weight = 2 }]
balancer = "lb"
[clusters.api]
endpoints = ["127.0.0.1:9002"]
protocol = "http2"
[plugins.lb]
path = "lb.wasm"
config = { list = [1, 2.5, true, "x"], table = { "a b" = "" } }
on-failure = "open"
isolation = "fresh"
timeout = "5ms"
memory = 65536
stack = "1MiB"
host-allocation = "64KiB"
log-rate = 0
recycle-after = 1
grant = ["shared", "log"]
cpu-budget = "9ms"
slice = "3ms"
outbound = ["web", "api"]
clusters = ["api"]
outbound-timeout = "250ms"
shared-space = "sessions"
shared-size = "16MiB"
body-limit = 0
body-overflow = "partial"
body-wait = "1m"
breaker = { percent = 0, calls = 7, window = "1m", pause = "2s" }
[plugins.other]
path = "lb.wasm"
[timeouts]
tcp-idle = "0s"
[limits]
head-bytes = "1MiB"
"#;

const YAML: &str = r#"
workers: 3
shutdown-grace: 250ms
drain-timeout: 1m
steering: bpf
user: odin
admin: off
access-log: {enabled: false, format: json, context: [tenant, user]}
listeners:
  - address: "[::1]:8080"
    trust-forwarded: true
    cluster: web
    plugins: [lb]
    routes:
      - {host: "*.Example.com", path: /v1/, cluster: api}
  - name: db
    address: ["127.0.0.1:0", "[::]:7000-7999", 192.0.2.0/24:80, 10.0.0.1:*]
    steer: lb
    protocol: tcp
    cluster: web
    plugins: [other, lb]
clusters:
  web:
    endpoints:
      - 127.0.0.1:9000
      - address: db.example:9001
        weight: 2
    balancer: lb
  api:
    endpoints: [127.0.0.1:9002]
    protocol: http2
plugins:
  lb:
    path: lb.wasm
    config:
      list: [1, 2.5, true, x]
      table: {a b: ""}
    on-failure: open
    isolation: fresh
    timeout: 5ms
    memory: 0x10000
    stack: 1MiB
    host-allocation: 64KiB
    log-rate: 0
    recycle-after: 1
    grant: [log, shared]
    cpu-budget: 9ms
    slice: 3ms
    outbound: [web, api]
    clusters: [api]
    outbound-timeout: 250ms
    shared-space: sessions
    shared-size: 16MiB
    body-limit: 0
    body-overflow: partial
    body-wait: 1m
    breaker: {percent: 0, calls: 7, window: 1m, pause: 2s}
  other: {path: lb.wasm}
timeouts:
  tcp-idle: 0s
limits:
  head-bytes: 1MiB
"#;

#[test]
fn the_three_syntaxes_are_one_schema() {
    let folder = Folder::new("syntaxes");
    let config = folder.good(TOML, "a.toml");
    assert_eq!(folder.good(YAML, "a.yaml"), config);
    assert_eq!(folder.good(YAML, "a.YML"), config);
    assert_eq!(folder.good(&TOML.replace('\n', "\r\n"), "a.toml"), config);
    assert_eq!(folder.good(&YAML.replace('\n', "\r\n"), "a.yaml"), config);
    assert_eq!(folder.good(&format!("\u{feff}{YAML}"), "a.yaml"), config);

    let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["[::1]:8080", "db"]);
    let addresses = ["127.0.0.1:0", "[::]:7000-7999", "192.0.2.0/24:80", "10.0.0.1:*"];
    assert_eq!(texts(&config.listeners[1].addresses), addresses);
    assert_eq!((&config.listeners[0].steer, config.listeners[1].steer.as_deref()), (&None, Some("lb")));
    assert_eq!((config.steering, config.user.as_deref()), (SteeringMode::Bpf, Some("odin")));
    assert_eq!(config.drain_timeout, Duration::from_secs(60));
    let Traffic::Http { rules, routes } = &config.listeners[0].traffic else { panic!() };
    assert!(rules.trust_forwarded);
    assert_eq!(routes[0].host.as_deref(), Some("*.example.com"));
    assert_eq!(routes[0].path.as_deref(), Some("/v1"));
    assert_eq!((&routes[1].host, &routes[1].path, &routes[1].plugins), (&None, &None, &vec!["lb".to_owned()]));
    let name = EndpointAddress::Name { host: "db.example".to_owned(), port: 9001 };
    assert_eq!(config.clusters["web"].endpoints[1], Endpoint { address: name, weight: 2 });
    assert_eq!(config.clusters["api"].protocol, UpstreamProtocol::Http2);
    let Traffic::Tcp { cluster, plugins } = &config.listeners[1].traffic else { panic!() };
    assert_eq!((cluster.as_str(), plugins.join(" ").as_str()), ("web", "other lb"));
    assert_eq!(config.plugins["other"], Plugin::new(folder.path("lb.wasm")));
    // All else as it is written, but for what has several ways.
    let (lb, mut written) =
        (&config.plugins["lb"], syntax::read(TOML, Syntax::Toml, "a".as_ref()).unwrap().to_json().unwrap());
    let written = written["plugins"]["lb"].as_object_mut().unwrap();
    assert_eq!((lb.memory, lb.timeout, lb.on_failure), (65536, Duration::from_millis(5), OnFailure::Open));
    written.extend([("path".to_owned(), json!(folder.path("lb.wasm"))), ("memory".to_owned(), json!("64KiB"))]);
    written.extend([("body-limit".to_owned(), json!("0B")), ("grant".to_owned(), json!(["log", "shared"]))]);
    written["breaker"]["max-pause"] = json!("1m");
    let shown = serde_json::to_value(lb).unwrap();
    written.iter().for_each(|(key, value)| assert_eq!(shown[key], *value, "{key}"));
    assert_eq!((config.workers, config.admin), (Some(3), None));
    assert_eq!((config.access_log.enabled, config.access_log.format), (false, LogFormat::Json));
    assert_eq!(config.access_log.context, ["tenant", "user"]);
    assert_eq!(config.timeouts, Timeouts { tcp_idle: Duration::ZERO, ..Timeouts::default() });
    assert_eq!(config.limits, Limits { head_bytes: 1 << 20, ..Limits::default() });
}

#[test]
fn a_config_as_json_is_a_config_file() {
    let folder = Folder::new("json");
    let prefix = "[[listeners]]\naddress='10.0.0.0/8:1'\ncluster='a'\n[clusters.a]\nendpoints=['[::1]:1']";
    for text in [TOML, prefix] {
        let config = folder.good(text, "a.toml");
        let json = serde_json::to_string_pretty(&config).unwrap();
        assert_eq!(folder.good(&json, "a.json"), config, "{json}");
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let folder = Folder::new("defaults");
    let text = "listeners:\n- address: 127.0.0.1:1\n  cluster: a\nclusters:\n  a: {endpoints: [a:1]}\n\
                plugins:\n  lb: {path: lb.wasm, breaker: , grant: , outbound: }\ntimeouts:\nlimits:\naccess-log:\n";
    let config = folder.good(text, "a.yaml");
    assert_eq!(config.plugins["lb"], Plugin::new(folder.path("lb.wasm")));
    let (listeners, clusters, plugins) = (config.listeners.clone(), config.clusters.clone(), config.plugins.clone());
    assert_eq!(config, Config { listeners, clusters, plugins, ..Config::default() });
}

#[test]
fn a_fly_style_file_is_tcp_listeners_and_clusters_in_any_syntax() {
    let folder = Folder::new("fly");
    let json = r#"{"Apps":[{"Name":"five-thousand","Ports":[5001,5200],"Targets":["tcp-echo.example:5001","127.0.0.1:9001"]}]}"#;
    let config = folder.good(json, "a.json");
    let listeners: Vec<_> =
        config.listeners.iter().map(|l| format!("{} {:?} {:?}", l.name, texts(&l.addresses), l.traffic)).collect();
    let cluster = r#"Tcp { cluster: "five-thousand", plugins: [] }"#;
    assert_eq!(listeners, [format!(r#"five-thousand ["0.0.0.0:5001", "0.0.0.0:5200"] {cluster}"#)]);
    let endpoints: Vec<_> = config.clusters["five-thousand"].endpoints.iter().map(|e| e.address.to_string()).collect();
    assert_eq!(endpoints, ["tcp-echo.example:5001", "127.0.0.1:9001"]);
    let toml = "[[Apps]]\nName='five-thousand'\nPorts=[5001,5200]\nTargets=['tcp-echo.example:5001','127.0.0.1:9001']";
    assert_eq!(folder.good(toml, "a.toml"), config);
    assert_eq!(folder.good(json, "a.yaml"), config);
}

fn texts(addresses: &[Binding]) -> Vec<String> {
    addresses.iter().map(Binding::to_string).collect()
}

#[test]
fn addresses_of_which_one_goes_before_the_other_stand_side_by_side() {
    let folder = Folder::new("addresses");
    let listener = |addresses: &str| format!("[[listeners]]\naddress = [{addresses}]\ncluster = 'a'\n");
    let text = listener("'0.0.0.0:80', '10.0.0.0/8:80', '10.0.0.0/8:*', '10.1.0.0/16:1-65535', '[::]:80', '[::]:*'")
        + &listener("'10.0.0.1:80', '10.0.0.0/8:81', '10.0.0.0/9:*', '127.0.0.1:*'")
        + "[clusters.a]\nendpoints = ['a:1']\n";
    assert_eq!(folder.good(&text, "a.toml").listeners.len(), 2);
}

#[test]
fn ten_thousand_addresses_are_read_at_once() {
    let folder = Folder::new("many");
    let ports = |from: u16| (from..from + 10_000).map(|port| format!("'0.0.0.0:{port}'")).collect::<Vec<_>>().join(",");
    let listener = |from| format!("[[listeners]]\naddress = [{}]\ncluster = 'a'\n", ports(from));
    let text = listener(10_000) + &listener(20_000) + "[clusters.a]\nendpoints = ['a:1']\n";
    let begin = std::time::Instant::now();
    assert_eq!(folder.good(&text, "a.toml").listeners[1].addresses.len(), 10_000);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn the_configs_of_the_repository_load() {
    let folder = Folder::new("configs");
    for plugin in ["lb_rr", "headers"] {
        folder.write(&format!("plugins/target/wasm32-unknown-unknown/release/{plugin}.wasm"), "");
    }
    folder.write("configs/here", "");
    for (file, text) in [
        ("demo.toml", include_str!("../../../../../configs/demo.toml")),
        ("tcp.toml", include_str!("../../../../../configs/tcp.toml")),
        ("proxy-protocol.toml", include_str!("../../../../../configs/proxy-protocol.toml")),
        ("http2.yaml", include_str!("../../../../../configs/http2.yaml")),
        ("headers.toml", include_str!("../../../../../configs/headers.toml")),
        ("steering.toml", include_str!("../../../../../configs/steering.toml")),
        ("fly.json", include_str!("../../../../../configs/fly.json")),
    ] {
        folder.good(text, &format!("configs/{file}"));
    }
}

/// A reload reads whatever is in the file, half-written ones too.
#[test]
fn no_damaged_text_makes_a_reader_panic() {
    let folder = Folder::new("damaged");
    let json = serde_json::to_string_pretty(&folder.good(TOML, "a.toml")).unwrap();
    for (file, text) in [("a.toml", TOML), ("a.yaml", YAML), ("a.json", &json)] {
        let path = folder.path(file);
        for (at, removed) in text.char_indices().step_by(3) {
            let (before, after) = (&text[..at], &text[at + removed.len_utf8()..]);
            let _ = super::super::parse(before, &path);
            for damage in ["", "\"", "[", "\t", "é", "&"] {
                let _ = super::super::parse(&format!("{before}{damage}{after}"), &path);
            }
        }
    }
}
