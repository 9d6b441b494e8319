//! What a person sees of a change. The configs are those of files, so that the keys are the true ones.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const BEFORE: &str = r#"
admin = "off"
[[listeners]]
name = "web"
address = "127.0.0.1:80"
cluster = "web"
[[listeners.routes]]
host = "api.example.com"
path = "/v1"
cluster = "api"
[[listeners]]
name = "api"
protocol = "tcp"
address = ["0.0.0.0:5001", "0.0.0.0:5002"]
cluster = "api"
[clusters.web]
endpoints = ["10.0.0.1:80", "10.0.0.2:80"]
[clusters.api]
endpoints = ["10.0.0.1:81"]
"#;

fn json(name: &str, text: &str) -> Value {
    let file = std::env::temp_dir().join(format!("odin-diff-{}-{name}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let (config, _) = crate::config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    std::fs::remove_file(&file).unwrap();
    serde_json::to_value(&config).unwrap()
}

/// What a reader sees when these texts of `BEFORE` are replaced.
fn seen(name: &str, replaced: &[(&str, &str)]) -> Vec<String> {
    let mut after = BEFORE.to_owned();
    for (from, to) in replaced {
        assert!(after.contains(from), "{from}");
        after = after.replace(from, to);
    }
    lines(&json(name, BEFORE), &json(name, &after))
}

fn lines(before: &Value, after: &Value) -> Vec<String> {
    diff(before, after).iter().map(Change::to_string).collect()
}

#[test]
fn the_same_config_is_no_change_and_neither_is_another_order() {
    assert_eq!(seen("same", &[]), [""; 0]);
    let order = [("\"10.0.0.1:80\", \"10.0.0.2:80\"", "\"10.0.0.2:80\", \"10.0.0.1:80\"")];
    assert_eq!(seen("order", &order), [""; 0]);
}

#[test]
fn a_setting_is_told_by_its_path_with_what_it_was() {
    let changes = seen("setting", &[("admin = \"off\"", "workers = 4\ntimeouts = { connect = \"1s\" }")]);
    let expected = [
        "~ setting admin: off -> 127.0.0.1:9901",
        "~ setting timeouts.connect: 3s -> 1s",
        "~ setting workers: none -> 4",
    ];
    assert_eq!(changes, expected);
}

#[test]
fn addresses_come_and_go_one_by_one() {
    let changes = seen("binding", &[("\"0.0.0.0:5002\"", "\"192.0.2.0/24:80\", \"0.0.0.0:6000-6999\"")]);
    let expected = ["- binding api 0.0.0.0:5002", "+ binding api 192.0.2.0/24:80", "+ binding api 0.0.0.0:6000-6999"];
    assert_eq!(changes, expected);
    // One text instead of a list is the same.
    assert_eq!(seen("one", &[("\"127.0.0.1:80\"", "[\"127.0.0.1:80\"]")]), [""; 0]);
}

#[test]
fn a_listener_comes_and_goes_with_its_addresses_and_routes() {
    let changes = seen("listener", &[("name = \"web\"", "name = \"www\"")]);
    let expected = [
        "- listener web",
        "+ listener www",
        "- binding web 127.0.0.1:80",
        "+ binding www 127.0.0.1:80",
        "- route web api.example.com/v1",
        "- route web */",
        "+ route www api.example.com/v1",
        "+ route www */",
    ];
    assert_eq!(changes, expected);
}

#[test]
fn routes_are_told_by_what_they_match() {
    let changes = seen("route", &[("path = \"/v1\"\ncluster = \"api\"", "path = \"/v2\"\ncluster = \"api\"")]);
    assert_eq!(changes, ["- route web api.example.com/v1", "+ route web api.example.com/v2"]);
    let changes = seen("route-cluster", &[("path = \"/v1\"\ncluster = \"api\"", "path = \"/v1\"\ncluster = \"web\"")]);
    assert_eq!(changes, ["~ route web api.example.com/v1: cluster api -> web"]);
}

#[test]
fn what_changes_in_a_listener_or_cluster_is_told_in_one_line() {
    let changes = seen(
        "whole",
        &[
            ("cluster = \"api\"\n[clusters.web]", "cluster = \"web\"\n[clusters.web]\nprotocol = \"http2\""),
            ("[clusters.api]", "[clusters.api]\nbalancer = \"lb\""),
            ("admin = \"off\"", "admin = \"off\"\n[plugins.lb]\npath = \"/bin/sh\""),
        ],
    );
    let expected = [
        "~ listener api: cluster api -> web",
        "~ cluster api: balancer none -> lb",
        "~ cluster web: protocol http1 -> http2",
        "+ plugin lb",
    ];
    assert_eq!(changes, expected);
}

#[test]
fn endpoints_are_told_by_address_and_counted() {
    let changes = seen("endpoint", &[("\"10.0.0.1:80\", ", "{ address = \"10.0.0.3:80\", weight = 2 }, ")]);
    assert_eq!(changes, ["- endpoint web 10.0.0.1:80", "+ endpoint web 10.0.0.3:80: weight 2"]);
    let weight = seen("weight", &[("\"10.0.0.2:80\"", "{ address = \"10.0.0.2:80\", weight = 2 }")]);
    assert_eq!(weight, ["~ endpoint web 10.0.0.2:80: weight 1 -> 2"]);
    let twice = seen("twice", &[("\"10.0.0.2:80\"", "\"10.0.0.1:80\", \"10.0.0.2:80\"")]);
    assert_eq!(twice, ["+ endpoint web 10.0.0.1:80"]);
    let cluster = seen("cluster", &[("[clusters.web]", "[clusters.new]\nendpoints = [\"a:1\"]\n[clusters.web]")]);
    assert_eq!(cluster, ["+ cluster new", "+ endpoint new a:1"]);
}

#[test]
fn the_settings_of_a_plugin_are_told_by_their_paths() {
    let plugin = |config: &str| json("plugin", &format!("{BEFORE}[plugins.limit]\npath = \"/bin/sh\"\n{config}"));
    let (none, ten) = (plugin(""), plugin("config = { rate = 10, by = [\"ip\"] }"));
    let twenty = plugin("config = { rate = 20, by = [\"ip\", \"a b\"] }\ngrant = [\"log\"]");
    assert_eq!(lines(&none, &ten), ["~ plugin limit: config.by is new, config.rate is new"]);
    let expected = ["~ plugin limit: config.by is another, config.rate is another, grant [] -> [log]"];
    assert_eq!(lines(&ten, &twenty), expected);
    assert_eq!(lines(&ten, &json("plugin", BEFORE)), ["- plugin limit"]);
    // Settings may be of any type, and none of them is shown.
    for (before, after) in [("\"one\"", "\"two\""), ("[1]", "[1, 2]"), ("1", "2"), ("\"none\"", "\"other\"")] {
        let [before, after] = [before, after].map(|config| plugin(&format!("config = {config}")));
        assert_eq!(lines(&before, &after), ["~ plugin limit: config is another"]);
        assert_eq!(lines(&none, &after), ["~ plugin limit: config is new"]);
        assert_eq!(lines(&after, &none), ["~ plugin limit: config is gone"]);
    }
}

#[test]
fn a_change_as_json_has_words() {
    let change =
        Change { op: Op::Add, kind: Subject::Endpoint, name: "web 10.0.0.3:80".to_owned(), detail: String::new() };
    let json = serde_json::to_value(&change).unwrap();
    assert_eq!(json, serde_json::json!({ "op": "add", "kind": "endpoint", "name": "web 10.0.0.3:80" }));
}

#[test]
fn ten_thousand_addresses_are_compared_at_once() {
    let config = |from: usize| {
        let addresses: Vec<String> = (from..from + 10_000).map(|port| format!("0.0.0.0:{port}")).collect();
        serde_json::json!({ "listeners": [{ "name": "many", "address": addresses }] })
    };
    let begin = std::time::Instant::now();
    let changes = lines(&config(10_000), &config(10_001));
    assert_eq!(changes, ["- binding many 0.0.0.0:10000", "+ binding many 0.0.0.0:20000"]);
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
}
