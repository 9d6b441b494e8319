//! What hooks see, what they change, what they answer.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::rc::Rc;

use common::*;
use odin_runtime::{Cause, Decision, Hook, Isolation, PluginSpec, Value};

#[test]
fn a_request_hook_reads_a_field_and_sets_one() {
    let mut state = exchange();
    assert!(matches!(call_request(&get_set(), &mut state).unwrap(), Decision::Continue));
    let request = state.request.unwrap();
    assert_eq!(request.headers["x-odin"], "seen");
    assert_eq!(request.headers["user-agent"], "curl/8");
    assert!(state.plugin_nanos > 0);
}

#[test]
fn a_warm_instance_serves_many_calls() {
    let worker = worker(PluginSpec::new("test"), &guest(&["request-headers"], &get_set()));
    for _ in 0..1000 {
        worker.pin().request_headers(&mut exchange()).unwrap();
    }
    let stats = worker.pin().plugin().stats();
    let calls = stats.hook(Hook::RequestHeaders);
    assert_eq!((calls.calls, calls.failures), (1000, 0));
    assert_eq!(calls.histogram.iter().sum::<u64>(), 1000);
    // One to try the file, one for the worker.
    assert_eq!(stats.instances_created, 2);
}

#[test]
fn instances_are_replaced_after_their_calls() {
    let mut spec = PluginSpec::new("test");
    spec.limits.recycle_after_calls = 100;
    let worker = worker(spec, &guest(&["request-headers"], &noop()));
    for _ in 0..1000 {
        worker.pin().request_headers(&mut exchange()).unwrap();
    }
    let made = worker.pin().plugin().stats().instances_created;
    assert!((9..=16).contains(&made), "{made}");
}

#[test]
fn a_fresh_plugin_gets_a_new_instance_for_each_call() {
    let mut spec = PluginSpec::new("test");
    spec.isolation = Isolation::Fresh;
    let worker = worker(spec, &guest(&["request-headers"], &get_set()));
    for _ in 0..10 {
        worker.pin().request_headers(&mut exchange()).unwrap();
    }
    assert_eq!(worker.pin().plugin().stats().instances_created, 11);
}

#[test]
fn a_hook_that_is_not_exported_costs_nothing() {
    let worker = worker(PluginSpec::new("test"), &guest(&["request-headers"], &noop()));
    let mut state = answered();
    assert!(matches!(worker.pin().response_headers(&mut state).unwrap(), Decision::Continue));
    assert_eq!(state.plugin_nanos, 0);
    let error = worker.pin().pick(&mut state, Cluster::of(1)).unwrap_err();
    assert_eq!(error.to_string(), "plugin \"test\": balancer gave a bad answer: the plugin exports no balancer");
}

#[test]
fn framing_fields_are_refused_and_the_message_is_left_alone() {
    // Sets content-length, and traps unless the answer is err(forbidden).
    let code = format!(
        "{ON_REQUEST}
          (call $set (local.get $head) (i32.const 1088) (i32.const 14) (i32.const 1056) (i32.const 4) (i32.const 64))
          (if (i32.ne (i32.load16_u (i32.const 64)) (i32.const 0x0201)) (then unreachable))
          {DROP_HEAD} {ZERO}"
    );
    let mut state = exchange();
    call_request(&code, &mut state).unwrap();
    assert!(!state.request.unwrap().headers.contains_key("content-length"));
}

#[test]
fn a_head_cannot_grow_past_its_limit() {
    // Appends without end, until the answer is err(too-large).
    let code = format!(
        "{ON_REQUEST}
          (loop $more
            (call $append (local.get $head) (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))
            (br_if $more (i32.eqz (i32.load8_u (i32.const 64)))))
          (if (i32.ne (i32.load16_u (i32.const 64)) (i32.const 0x0301)) (then unreachable))
          {DROP_HEAD} {ZERO}"
    );
    let mut state = exchange();
    call_request(&code, &mut state).unwrap();
    let headers = state.request.unwrap().headers;
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    assert!((1024 - 14..=1024).contains(&bytes), "{bytes}");
}

#[test]
fn path_and_authority_can_be_replaced() {
    let code = format!(
        "{ON_REQUEST}
          (call $set-path (local.get $head) (i32.const 1136) (i32.const 9) (i32.const 64))
          (if (i32.load8_u (i32.const 64)) (then unreachable))
          (call $set-authority (local.get $head) (i32.const 1056) (i32.const 4) (i32.const 64))
          (if (i32.load8_u (i32.const 64)) (then unreachable))
          (call $set-path (local.get $head) (i32.const 1056) (i32.const 4) (i32.const 64))
          (if (i32.ne (i32.load16_u (i32.const 64)) (i32.const 0x0101)) (then unreachable))
          {DROP_HEAD} {ZERO}"
    );
    let mut state = exchange();
    call_request(&code, &mut state).unwrap();
    assert_eq!(state.request.unwrap().uri, "/new?path");
    assert_eq!(state.authority, "seen");
}

#[test]
fn a_response_hook_changes_the_response_and_only_reads_the_request() {
    let code = format!(
        "{ON_RESPONSE}
          (call $set-response (local.get $head) (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))
          (call $set-status (local.get $head) (i32.const 404) (i32.const 64))
          (call $set-status (local.get $head) (i32.const 204) (i32.const 80))
          (if (i32.ne (i32.load16_u (i32.const 80)) (i32.const 0x0101)) (then unreachable))
          (call $set (local.get $request) (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))
          (call $drop-response (local.get $head)) (call $drop-request (local.get $request)) {ZERO}"
    );
    let worker = worker(PluginSpec::new("test"), &guest(&["response-headers"], &code));
    let mut state = answered();
    worker.pin().response_headers(&mut state).unwrap();
    let response = state.response.unwrap();
    assert_eq!((response.status.as_u16(), &response.headers["x-odin"]), (404, &"seen".parse().unwrap()));
    assert!(!state.request.unwrap().headers.contains_key("x-odin"));
}

/// A decision whose words lie in memory from 0 on.
fn answering(words: &[u32]) -> String {
    let stores: String = words
        .iter()
        .enumerate()
        .map(|(at, word)| format!("(i32.store (i32.const {}) (i32.const {word}))", at * 4))
        .collect();
    format!("{ON_REQUEST} {DROP_HEAD} {stores} (i32.const 0))")
}

#[test]
fn a_hook_may_reject_with_a_reason() {
    match call_request(&answering(&[2, 1152, 9]), &mut exchange()).unwrap() {
        Decision::Reject(reason) => assert_eq!(reason, "no thanks"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hook_may_reply() {
    match call_request(&answering(&[1, 429, 0, 0, 1152, 9]), &mut exchange()).unwrap() {
        Decision::Reply(response) => {
            assert_eq!((response.status().as_u16(), &response.body()[..]), (429, &b"no thanks"[..]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_that_breaks_the_contract_is_a_bad_answer() {
    let error = call_request(&answering(&[1, 101, 0, 0, 0, 0]), &mut exchange()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"test\": request-headers gave a bad answer: a reply with status 101, which is not 200 to 599"
    );
    // One field, named content-length: the pair (name, value) lies at 32.
    let code = format!(
        "(data (i32.const 32) \"\\40\\04\\00\\00\\0e\\00\\00\\00\\20\\04\\00\\00\\04\\00\\00\\00\") {}",
        answering(&[1, 200, 32, 1, 0, 0])
    );
    assert!(matches!(call_request(&code, &mut exchange()).unwrap_err().cause(), Cause::BadAnswer(_)));
}

#[test]
fn a_balancer_picks_by_turns_among_the_eligible() {
    let worker = worker(PluginSpec::new("lb_rr"), &guest(&["balancer"], &round_robin()));
    let cluster = Rc::new(Cluster { len: 3, failed: vec![1], turns: Default::default() });
    let picks: Vec<_> = (0..4).map(|_| worker.pin().pick(&mut exchange(), cluster.clone()).unwrap()).collect();
    assert_eq!(picks, [Some(0), Some(2), Some(0), Some(2)]);
}

#[test]
fn an_index_out_of_range_is_a_bad_answer() {
    let worker = worker(PluginSpec::new("lb"), &guest(&["balancer"], &always(3)));
    assert_eq!(worker.pin().pick(&mut exchange(), Cluster::of(4)).unwrap(), Some(3));
    let error = worker.pin().pick(&mut exchange(), Cluster::of(3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"lb\": balancer gave a bad answer: endpoint index 3 is past the end: there are 3"
    );
    assert_eq!(worker.pin().pick(&mut exchange(), Cluster::of(4)).unwrap(), Some(3));
}

#[test]
fn asking_for_an_endpoint_past_the_end_traps_and_eligible_answers_false() {
    let eligible = format!(
        "{PICK} (i32.store (i32.const 0) (call $eligible (local.get $endpoints) (i32.const 9))) {DROP_PICK} (i32.const 0))"
    );
    let worker1 = worker(PluginSpec::new("lb"), &guest(&["balancer"], &eligible));
    assert_eq!(worker1.pin().pick(&mut exchange(), Cluster::of(4)).unwrap(), None);
    let address =
        format!("{PICK} (call $address (local.get $endpoints) (i32.const 9) (i32.const 64)) {DROP_PICK} {ZERO}");
    let worker2 = worker(PluginSpec::new("lb"), &guest(&["balancer"], &address));
    let error = worker2.pin().pick(&mut exchange(), Cluster::of(4)).unwrap_err();
    assert_eq!(error.to_string(), "plugin \"lb\": balancer trapped: endpoint index 9 is past the end: there are 4");
}

#[test]
fn a_connection_without_a_request_is_the_subject_itself() {
    let code = format!(
        "{PICK}
          (call $reset)
          (if (i32.ne (local.get $kind) (i32.const 1)) (then unreachable))
          (call $peer-address (local.get $subject) (i32.const 64))
          (if (i32.ne (i32.load (i32.const 68)) (i32.const 15)) (then unreachable))
          (call $drop-endpoints (local.get $endpoints)) (call $drop-connection (local.get $subject)) {ZERO}"
    );
    let worker = worker(PluginSpec::new("lb"), &guest(&["balancer"], &code));
    let mut state = exchange();
    state.request = None;
    assert_eq!(worker.pin().pick(&mut state, Cluster::of(1)).unwrap(), None);
}

#[test]
fn the_context_carries_values_from_plugin_to_plugin() {
    // Traps unless `turn` is integer(n); then sets it to integer(n + 1), and a private value of its own.
    let code = format!(
        "{ON_REQUEST}
          (call $reset)
          (call $context-get (i32.const 1072) (i32.const 4) (i32.const 64))
          (if (i32.ne (i32.load8_u (i32.const 72)) (i32.const 1)) (then unreachable))
          (call $context-set (i32.const 1072) (i32.const 4) (i32.const 1)
            (i64.add (i64.load (i32.const 80)) (i64.const 1)) (i32.const 0) (i32.const 64))
          (call $context-set (i32.const 1104) (i32.const 11) (i32.const 0) (i64.const 1) (i32.const 0) (i32.const 64))
          {DROP_HEAD} {ZERO}"
    );
    let wasm = guest(&["request-headers"], &code);
    let mut state = exchange();
    state.context.set("turn", Value::Integer(1)).unwrap();
    worker(PluginSpec::new("one"), &wasm).pin().request_headers(&mut state).unwrap();
    worker(PluginSpec::new("two"), &wasm).pin().request_headers(&mut state).unwrap();
    assert_eq!(state.context.get("turn"), Some(&Value::Integer(3)));
    assert_eq!(state.context.get("private:key"), None);
    assert_eq!(state.context.iter().count(), 1);
}
