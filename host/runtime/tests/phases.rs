//! The other hooks: bodies, trailers, the end of an exchange, and TCP connections.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::*;
use odin_chain::{ConnectDecision, Decision, Hook, Hooks, PieceDecision};

fn on(interface: &str, body: &str) -> String {
    let function = match interface {
        "connection" => "on-connect".to_owned(),
        interface => format!("on-{interface}"),
    };
    hook(interface, &function) + body + ZERO
}

fn piece(words: &[u32], end: bool) -> PieceDecision {
    let worker = worker_of("request-body", &on("request-body", &answering(words)));
    now(worker.pin().piece(Hook::RequestBody, &mut exchange(), end)).unwrap()
}

#[test]
fn a_body_hook_says_what_becomes_of_a_piece() {
    let words = Bytes::from_static(b"no thanks");
    assert!(matches!(piece(&[0, 0], false), PieceDecision::Pass));
    assert!(matches!(piece(&[0, 1, 1152, 9], false), PieceDecision::Replace(bytes) if bytes == words));
    assert!(matches!(piece(&[0, 2, 1152, 9], false), PieceDecision::Append(bytes) if bytes == words));
    assert!(matches!(piece(&[0, 3], false), PieceDecision::Hold));
    assert!(matches!(piece(&[0, 3], true), PieceDecision::Hold));
    assert!(matches!(piece(&[0, 4], false), PieceDecision::Skip));
    let PieceDecision::Reply(reply) = piece(&[0, 5, 403, 0, 0, 1152, 9, 0, 0], false) else { panic!("no reply") };
    assert_eq!((reply.head.status.as_u16(), reply.body), (403, words));
    assert!(matches!(piece(&[0, 6, 1152, 9], false), PieceDecision::Reject(reason) if reason == "no thanks"));
    assert!(matches!(piece(&[0, 7, 1152, 9], false), PieceDecision::Cut(reason) if reason == "no thanks"));
}

#[test]
fn a_body_hook_reads_its_piece() {
    for (interface, hook) in [("request-body", Hook::RequestBody), ("response-body", Hook::ResponseBody)] {
        // Bytes 6 to the end, of which there are 5; then the whole as it comes.
        let code = expect("(local.get $length)", 11)
            + &expect("(local.get $end)", 1)
            + "(call $reset) (call $read (i32.const 6) (i32.const 1000) (i32.const 64))"
            + &expect("(i32.load (i32.const 68))", 5)
            + &expect("(i32.load8_u (i32.load (i32.const 64)))", u32::from(b'w'))
            + "(call $read (i32.const 11) (i32.const 1) (i32.const 64))"
            + &expect("(i32.load (i32.const 68))", 0);
        let worker = worker_of(interface, &on(interface, &code));
        let mut state = answered();
        state.piece = Bytes::from_static(b"hello world");
        let decision = now(worker.pin().piece(hook, &mut state, true));
        assert!(matches!(decision.unwrap(), PieceDecision::Pass));
        assert_eq!(state.piece, "hello world");
        assert_eq!(worker.pin().plugin().stats().hook(hook).calls, 1);
    }
}

#[test]
fn a_large_body_goes_in_and_comes_out_whole() {
    // Reads 128 KiB and answers with them; the limit on what a call copies is less.
    let code = "(call $reset) (call $read (i32.const 0) (i32.const 131072) (i32.const 64))
        (i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const 1))
        (i32.store (i32.const 8) (i32.load (i32.const 64))) (i32.store (i32.const 12) (i32.load (i32.const 68)))
        (return (i32.const 0))";
    let mut spec = spec("test");
    spec.limits.host_allocation_bytes = 1 << 10;
    spec.limits.body_bytes = 128 << 10;
    let worker = worker(spec, &guest(&["response-body"], &on("response-body", code)));
    let mut state = answered();
    state.piece = (0..128 << 10).map(|n| (n % 251) as u8).collect();
    let PieceDecision::Replace(bytes) = now(worker.pin().piece(Hook::ResponseBody, &mut state, true)).unwrap() else {
        panic!("not replaced")
    };
    assert_eq!(bytes, state.piece);
}

#[test]
fn a_held_head_may_be_changed_in_the_body_hook() {
    let code = "(call $set (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))".to_owned()
        + &expect_byte(64, 0);
    let worker = worker_of("request-body", &on("request-body", &code));
    let mut state = exchange();
    now(worker.pin().piece(Hook::RequestBody, &mut state, true)).unwrap();
    assert_eq!(state.request.unwrap().headers["x-odin"], "seen");
}

#[test]
fn a_header_hook_has_no_piece_and_no_trailers() {
    let code = "(call $read (i32.const 0) (i32.const 100) (i32.const 64))".to_owned()
        + &expect("(i32.load (i32.const 68))", 0)
        + &expect("(call $has-trailer (i32.const 1040) (i32.const 6))", 0)
        + "(call $set-trailer (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))"
        + &expect_byte(64, 1)
        + &expect_byte(65, 4);
    let mut state = exchange();
    state.piece = Bytes::from_static(b"of another hook");
    state.trailers.insert("x-odin", "1".parse().unwrap());
    call_request(&on_request(&code), &mut state).unwrap();
    assert_eq!(state.trailers["x-odin"], "1");
}

#[test]
fn trailer_hooks_read_and_set_trailers() {
    let code = expect("(call $has-trailer (i32.const 1072) (i32.const 4))", 1)
        + "(call $set-trailer (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))"
        + &expect_byte(64, 0)
        + "(call $set-trailer (i32.const 1088) (i32.const 14) (i32.const 1056) (i32.const 4) (i32.const 64))"
        + &expect_byte(65, 2);
    for interface in ["request-trailers", "response-trailers"] {
        let worker = worker_of(interface, &on(interface, &code));
        let mut state = answered();
        state.trailers.insert("turn", "1".parse().unwrap());
        let decision = match interface {
            "request-trailers" => now(worker.pin().decide(Hook::RequestTrailers, &mut state)),
            _ => now(worker.pin().decide(Hook::ResponseTrailers, &mut state)),
        };
        assert!(matches!(decision.unwrap(), Decision::Continue));
        assert_eq!((state.trailers.len(), &state.trailers["x-odin"]), (2, &"seen".parse().unwrap()));
    }
}

#[test]
fn a_trailer_hook_cannot_ask_for_the_body() {
    let worker = worker_of("request-trailers", &on("request-trailers", &answering(&[0, 1, 0])));
    let error = now(worker.pin().decide(Hook::RequestTrailers, &mut exchange())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"test\": request-trailers gave a bad answer: `read`, which only a header hook may answer"
    );
}

#[test]
fn the_end_of_an_exchange_is_told_and_heads_are_read_only() {
    let code = expect("(call $status)", 200)
        + &expect("(call $has (i32.const 1024) (i32.const 10))", 1)
        + "(call $set-status (i32.const 404) (i32.const 64))"
        + &expect_byte(65, 4);
    let worker = worker_of("exchange-end", &on("exchange-end", &code));
    let mut state = answered();
    state.response_open = false;
    now(worker.pin().exchange_end(&mut state)).unwrap();
    assert_eq!(state.response.unwrap().status, 200);
}

#[test]
fn a_connection_is_admitted_or_not() {
    let connect = |words: &[u32]| {
        let close = hook("connection", "on-close") + ZERO;
        let worker = worker_of("connection", &(on("connection", &answering(words)) + &close));
        let mut state = exchange();
        state.request = None;
        let decision = now(worker.pin().connect(&mut state)).unwrap();
        now(worker.pin().close(&mut state)).unwrap();
        let stats = worker.pin().plugin().stats();
        assert_eq!((stats.hook(Hook::Connect).calls, stats.hook(Hook::Close).calls), (1, 1));
        decision
    };
    assert_eq!(connect(&[0, 0]), ConnectDecision::Continue);
    assert_eq!(connect(&[0, 1]), ConnectDecision::SkipData);
    assert_eq!(connect(&[0, 2, 1152, 9]), ConnectDecision::Reject("no thanks".to_owned()));
}

#[test]
fn data_hooks_say_what_becomes_of_a_piece() {
    let is = |decision: PieceDecision| format!("{decision:?}");
    let words = Bytes::from_static(b"no thanks");
    for (interface, hook) in [("downstream-data", Hook::DownstreamData), ("upstream-data", Hook::UpstreamData)] {
        let data = |words: &[u32], end| {
            let code = "(call $reset) (call $read (i32.const 0) (i32.const 4) (i32.const 64))".to_owned()
                + &expect("(i32.load (i32.const 68))", 4)
                + &answering(words);
            let worker = worker_of(interface, &on(interface, &code));
            let mut state = exchange();
            state.request = None;
            state.piece = Bytes::from_static(b"ping");
            format!("{:?}", now(worker.pin().piece(hook, &mut state, end)).unwrap())
        };
        assert_eq!(data(&[0, 0], false), is(PieceDecision::Pass));
        assert_eq!(data(&[0, 1, 1152, 9], false), is(PieceDecision::Replace(words.clone())));
        assert_eq!(data(&[0, 2, 1152, 9], false), is(PieceDecision::Append(words.clone())));
        assert_eq!(data(&[0, 3], false), is(PieceDecision::Hold));
        assert_eq!(data(&[0, 3], true), is(PieceDecision::Hold));
        assert_eq!(data(&[0, 4], false), is(PieceDecision::Skip));
        assert_eq!(data(&[0, 5, 1152, 9], false), is(PieceDecision::Cut("no thanks".to_owned())));
    }
}

#[test]
fn hooks_that_are_not_exported_answer_as_if_there_were_no_plugin() {
    let worker = worker_of("lifecycle", &configure(""));
    let (pin, mut state) = (worker.pin(), answered());
    assert_eq!(pin.hooks(), Hooks::from_iter([Hook::Configure]));
    assert!(matches!(now(pin.decide(Hook::RequestHeaders, &mut state)), Ok(Decision::Continue)));
    assert!(matches!(now(pin.piece(Hook::RequestBody, &mut state, true)), Ok(PieceDecision::Pass)));
    assert!(matches!(now(pin.decide(Hook::RequestTrailers, &mut state)), Ok(Decision::Continue)));
    assert!(matches!(now(pin.decide(Hook::ResponseHeaders, &mut state)), Ok(Decision::Continue)));
    assert!(matches!(now(pin.piece(Hook::ResponseBody, &mut state, true)), Ok(PieceDecision::Pass)));
    assert!(matches!(now(pin.decide(Hook::ResponseTrailers, &mut state)), Ok(Decision::Continue)));
    assert!(matches!(now(pin.exchange_end(&mut state)), Ok(())));
    assert!(matches!(now(pin.pick(&mut state, Cluster::of(1))), Ok(None)));
    assert!(matches!(now(pin.connect(&mut state)), Ok(ConnectDecision::Continue)));
    assert!(matches!(now(pin.close(&mut state)), Ok(())));
    assert!(matches!(now(pin.piece(Hook::DownstreamData, &mut state, true)), Ok(PieceDecision::Pass)));
    assert!(matches!(now(pin.piece(Hook::UpstreamData, &mut state, true)), Ok(PieceDecision::Pass)));
    assert_eq!(state.plugin_nanos, 0);
}
