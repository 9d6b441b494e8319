//! What plugins may ask of the host, from inside a guest: context, routing, shared state, metrics, random numbers, time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::*;
use http::Uri;
use odin_chain::{Hook, Routed, Routing, Value};
use odin_runtime::{CustomMetric, CustomValue, Plugin, WorkerPlugin};

/// Traps unless the integer at `name` of the context is this.
fn expect_integer(at: u32, length: u32, value: u32) -> String {
    format!("(call $context-get (i32.const {at}) (i32.const {length}) (i32.const 64))")
        + &expect_byte(64, 1)
        + &expect_byte(72, 1)
        + &expect("(i32.wrap_i64 (i64.load (i32.const 80)))", value)
}

#[test]
fn the_context_carries_values_from_plugin_to_plugin() {
    // Traps unless `turn` is integer(n); then sets it to integer(n + 1), and a private value of its own.
    let code = on_request(
        "(call $reset)
          (call $context-get (i32.const 1072) (i32.const 4) (i32.const 64))
          (if (i32.ne (i32.load8_u (i32.const 72)) (i32.const 1)) (then unreachable))
          (call $context-set (i32.const 1072) (i32.const 4) (i32.const 1)
            (i64.add (i64.load (i32.const 80)) (i64.const 1)) (i32.const 0) (i32.const 64))
          (call $context-set (i32.const 1104) (i32.const 11) (i32.const 0) (i64.const 1) (i32.const 0) (i32.const 64))",
    );
    let wasm = guest(&["request-headers"], &code);
    let mut state = exchange();
    state.context.set("turn", Value::Integer(1)).unwrap();
    for plugin in ["one", "two"] {
        now(worker(spec(plugin), &wasm).pin().decide(Hook::RequestHeaders, &mut state)).unwrap();
    }
    assert_eq!(state.context.get("turn"), Some(&Value::Integer(3)));
    assert_eq!(state.context.get("private:key"), None);
    assert_eq!(state.context.iter().count(), 1);
}

#[test]
fn a_value_of_the_connection_shows_where_the_exchange_has_none() {
    let set_on_connection = "(call $context-set-on (i32.const 1072) (i32.const 4) (i32.const 1) (i64.const 7) (i32.const 0) (i32.const 64))";
    let set =
        "(call $context-set (i32.const 1072) (i32.const 4) (i32.const 1) (i64.const 8) (i32.const 0) (i32.const 64))";
    let code = on_request(
        &[
            set_on_connection,
            &expect_byte(64, 0),
            &expect_integer(1072, 4, 7),
            set,
            &expect_integer(1072, 4, 8),
            "(call $context-remove (i32.const 1072) (i32.const 4))",
            &expect_integer(1072, 4, 7),
        ]
        .concat(),
    );
    let first = exchange();
    let connection = first.connection.clone();
    let mut first = first;
    call_request(&code, &mut first).unwrap();
    assert_eq!(first.context.iter().count(), 0);
    assert_eq!(connection.context.lock().unwrap().get("turn"), Some(&Value::Integer(7)));

    // The next exchange of the connection sees it.
    let mut second = exchange();
    second.connection = connection;
    call_request(&on_request(&expect_integer(1072, 4, 7)), &mut second).unwrap();
}

#[test]
fn facts_are_read_only() {
    let data = "(data (i32.const 2000) \"odin.status\") (data (i32.const 2016) \"odin.nothing\")";
    let set = |name: &str| {
        format!(
            "(call ${name} (i32.const 2000) (i32.const 11) (i32.const 1) (i64.const 1) (i32.const 0) (i32.const 64))"
        ) + &expect_byte(64, 1)
            + &expect_byte(65, 2)
    };
    let code = [
        expect_integer(2000, 11, 200),
        set("context-set"),
        set("context-set-on"),
        "(call $context-get (i32.const 2016) (i32.const 12) (i32.const 64))".to_owned(),
        expect_byte(64, 0),
    ];
    call_request(&format!("{data} {}", on_request(&code.concat())), &mut answered()).unwrap();
}

#[test]
fn configure_has_no_exchange() {
    let set =
        "(call $context-set (i32.const 1072) (i32.const 4) (i32.const 1) (i64.const 1) (i32.const 0) (i32.const 64))";
    let code = [
        set,
        &expect_byte(64, 1),
        &expect_byte(65, 1),
        "(call $context-get (i32.const 1072) (i32.const 4) (i32.const 64))",
        &expect_byte(64, 0),
        "(call $rematch (i32.const 64))",
        &expect_byte(65, 2),
    ];
    load(&guest(&["lifecycle"], &configure(&code.concat()))).unwrap();
}

/// One cluster, `seen`; one route, `/new`.
struct Routes;

impl Routing for Routes {
    fn has_cluster(&self, name: &str) -> bool {
        name == "seen"
    }
    fn matches(&self, authority: &str, uri: &Uri) -> bool {
        authority == "example.com" && uri.path() == "/new"
    }
}

#[test]
fn routing_notes_what_the_host_can_do() {
    let cluster =
        |at: u32, length: u32| format!("(call $set-cluster (i32.const {at}) (i32.const {length}) (i32.const 64))");
    let refused = |code: u32| expect_byte(64, 1) + &expect_byte(65, code);
    let rematch = "(call $rematch (i32.const 64))".to_owned();
    let run = |code: &[String], open: bool| {
        let mut state = exchange();
        state.routing = Some(Arc::new(Routes));
        state.request_open = open;
        let mut spec = spec("test");
        spec.grants.clusters = vec!["seen".to_owned()];
        let worker = worker(spec, &guest(&["request-headers"], &on_request(&code.concat())));
        now(worker.pin().decide(Hook::RequestHeaders, &mut state)).unwrap();
        state.routed
    };
    assert_eq!(run(&[cluster(1056, 4), expect_byte(64, 0)], true), Some(Routed::Cluster("seen".into())));
    assert_eq!(run(&[cluster(1072, 4), refused(0)], true), None);
    assert_eq!(run(&[rematch.clone(), refused(1)], true), None);
    let new_path = "(call $set-path (i32.const 1136) (i32.const 4) (i32.const 64))".to_owned();
    assert_eq!(run(&[new_path, rematch.clone(), expect_byte(64, 0)], true), Some(Routed::Rematch));
    assert_eq!(run(&[cluster(1056, 4), refused(2), rematch, refused(2)], false), None);
}

#[test]
fn a_tcp_connection_may_choose_its_cluster_but_matches_no_route() {
    let code = "(call $set-cluster (i32.const 1056) (i32.const 4) (i32.const 64))".to_owned()
        + &expect_byte(64, 0)
        + "(call $rematch (i32.const 64))"
        + &expect_byte(65, 1);
    let connect = hook("connection", "on-connect") + &code + ZERO;
    let mut spec = spec("test");
    spec.grants.clusters = vec!["seen".to_owned()];
    let worker = worker(spec, &guest(&["connection"], &(connect + &hook("connection", "on-close") + ZERO)));
    let mut state = exchange();
    state.request = None;
    state.routing = Some(Arc::new(Routes));
    now(worker.pin().connect(&mut state)).unwrap();
    assert_eq!(state.routed, Some(Routed::Cluster("seen".into())));
}

/// Sets `turn` in the shared space to `seen`, to expire or not.
fn shared_set(expires_ms: Option<u64>) -> String {
    let (is, ms) = (u32::from(expires_ms.is_some()), expires_ms.unwrap_or(0));
    format!(
        "(call $shared-set (i32.const 1072) (i32.const 4) (i32.const 1056) (i32.const 4) (i32.const {is}) (i64.const {ms}) (i32.const 64))"
    )
}
/// `turn` lies at 64: 1 when it is there, the value's place and length at 72 and 76, the version at 80.
const SHARED_GET: &str = "(call $reset) (call $shared-get (i32.const 1072) (i32.const 4) (i32.const 64))";

#[test]
fn shared_values_have_versions_and_conflicts() {
    let compare = |is: u32, version: u32| {
        format!(
            "(call $compare-and-set (i32.const 1072) (i32.const 4) (i32.const {is}) (i64.const {version})
            (i32.const 1056) (i32.const 4) (i32.const 0) (i64.const 0) (i32.const 64))"
        )
    };
    let code = [
        SHARED_GET.to_owned() + &expect_byte(64, 0),
        // The result's version is at 72.
        shared_set(None) + &expect_byte(64, 0) + &expect("(i32.load (i32.const 72))", 1),
        SHARED_GET.to_owned() + &expect_byte(64, 1) + &expect("(i32.load (i32.const 76))", 4),
        expect("(i32.load8_u (i32.load (i32.const 72)))", b's'.into()) + &expect("(i32.load (i32.const 80))", 1),
        // Not there: a conflict with version 1. Its case is at 72, its version's presence at 80, its version at 88.
        compare(0, 0)
            + &expect_byte(64, 1)
            + &expect_byte(72, 1)
            + &expect_byte(80, 1)
            + &expect("(i32.load (i32.const 88))", 1),
        compare(1, 1) + &expect_byte(64, 0) + &expect("(i32.load (i32.const 72))", 2),
        expect("(call $shared-remove (i32.const 1072) (i32.const 4))", 1),
        expect("(call $shared-remove (i32.const 1072) (i32.const 4))", 0),
        // It has expired at once.
        shared_set(Some(0)) + SHARED_GET + &expect_byte(64, 0),
    ];
    call_request(&on_request(&code.concat()), &mut exchange()).unwrap();
}

#[test]
fn a_common_space_is_shared_and_outlives_a_plugin_that_is_loaded_anew() {
    let runtime = runtime();
    let load = |name: &str, space: Option<&str>, code: &str| {
        let mut spec = spec(name);
        spec.grants.shared_space = space.map(str::to_owned);
        let plugin = Plugin::load(&runtime, spec, &guest(&["request-headers"], &on_request(code))).unwrap();
        now(WorkerPlugin::new(plugin.clone(), 0, None).pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
        plugin
    };
    let there = SHARED_GET.to_owned() + &expect_byte(64, 1);
    let not_there = SHARED_GET.to_owned() + &expect_byte(64, 0);
    let writer = load("writer", Some("sessions"), &shared_set(None));
    load("reader", Some("sessions"), &there);
    load("writer", None, &not_there);
    load("stranger", Some("other"), &not_there);
    // A reload: the new is loaded, then the old goes.
    let again = load("writer", Some("sessions"), &there);
    drop(writer);
    load("reader", Some("sessions"), &there);
    drop(again);
}

#[test]
fn gauges_and_histograms_are_counted_over_workers() {
    let data = "(data (i32.const 2000) \"open\") (data (i32.const 2008) \"size\")
        (data (i32.const 2048) \"\\00\\00\\00\\00\\00\\00\\f0\\3f\\00\\00\\00\\00\\00\\00\\24\\40\")";
    let code = on_request(
        "(local $g i32) (local $h i32)
         (local.set $g (call $gauge (i32.const 2000) (i32.const 4)))
         (call $gauge-add (local.get $g) (f64.const 1.5))
         (local.set $h (call $histogram (i32.const 2008) (i32.const 4) (i32.const 2048) (i32.const 2)))
         (call $observe (local.get $h) (f64.const 1)) (call $observe (local.get $h) (f64.const 5))
         (call $observe (local.get $h) (f64.const 50))",
    );
    let plugin = load(&guest(&["request-headers"], &format!("{data} {code}"))).unwrap();
    for number in 0..2 {
        now(WorkerPlugin::new(plugin.clone(), number, None).pin().decide(Hook::RequestHeaders, &mut exchange()))
            .unwrap();
    }
    let histogram = CustomValue::Histogram { bounds: vec![1.0, 10.0], buckets: vec![2, 2, 2], sum: 112.0 };
    assert_eq!(
        plugin.stats().custom,
        [
            CustomMetric { name: "open".to_owned(), value: CustomValue::Gauge(3.0) },
            CustomMetric { name: "size".to_owned(), value: histogram },
        ]
    );
}

#[test]
fn a_metric_keeps_its_kind() {
    let code = on_request(
        "(drop (call $metric (i32.const 1072) (i32.const 4))) (drop (call $gauge (i32.const 1072) (i32.const 4)))",
    );
    let error = call_request(&code, &mut exchange()).unwrap_err();
    assert!(error.to_string().contains("the metric \"turn\" is of another kind already"), "{error}");
}

#[test]
fn random_numbers_differ_and_are_bounded() {
    let code = "(call $reset) (if (i64.eq (call $random) (call $random)) (then unreachable))
        (call $random-bytes (i32.const 65536) (i32.const 64))"
        .to_owned()
        + &expect("(i32.load (i32.const 68))", 65536);
    call_request(&on_request(&code), &mut exchange()).unwrap();
    let error = call_request(&on_request("(call $random-bytes (i32.const 65537) (i32.const 64))"), &mut exchange());
    assert!(error.unwrap_err().to_string().contains("65537 random bytes at once"));
}

#[test]
fn time_goes_on() {
    let code = "(if (i64.lt_u (call $now) (i64.const 1700000000000000000)) (then unreachable))
        (if (i64.gt_u (call $monotonic) (call $monotonic)) (then unreachable))";
    call_request(&on_request(code), &mut exchange()).unwrap();
}
