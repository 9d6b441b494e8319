//! Plugins that loop, grow, recurse, trap or cheat: each costs the call that it is in, and says why.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::*;
use odin_chain::Hook;
use odin_runtime::{CallError, Cause, WorkerPlugin};

/// A hook that misbehaves when the request has no fields, and goes on otherwise.
fn sometimes(misbehaviour: &str) -> String {
    on_request(&format!(
        "(call $reset)
         (if (i32.eqz (call $has (i32.const 1024) (i32.const 10))) (then {misbehaviour}))"
    ))
}

/// Provokes the misbehaviour once: the exchange must come back whole, and the next call must succeed.
fn provoke(worker: &WorkerPlugin) -> CallError {
    let mut state = exchange();
    let good = state.request.as_mut().unwrap().headers.remove("user-agent").unwrap();
    let error = now(worker.pin().decide(Hook::RequestHeaders, &mut state)).unwrap_err();
    let request = state.request.as_mut().expect("the exchange comes back");
    assert_eq!(request.uri, "/path?query");
    assert!(state.plugin_nanos > 0);
    request.headers.insert("user-agent", good);
    now(worker.pin().decide(Hook::RequestHeaders, &mut state)).expect("the next call succeeds");
    assert_eq!(error.hook(), Hook::RequestHeaders);
    error
}

fn worker_of(code: &str) -> WorkerPlugin {
    common::worker_of("request-headers", code)
}

#[test]
fn a_trap_costs_one_call_and_tells_the_guests_functions() {
    let code = format!("(func $deep unreachable) (func $outer (call $deep)) {}", sometimes("(call $outer)"));
    let worker = worker_of(&code);
    let error = provoke(&worker);
    assert_eq!(error.to_string(), "plugin \"test\": request-headers trapped: unreachable executed");
    let frames: Vec<_> = error.backtrace().lines().take(2).collect();
    assert_eq!(frames, ["deep", "outer"]);
    let stats = worker.pin().plugin().stats();
    assert_eq!((stats.traps, stats.timeouts, stats.hook(Hook::RequestHeaders).failures), (1, 0, 1));
}

#[test]
fn other_traps_say_what_they_are() {
    let divided = provoke(&worker_of(&sometimes("(drop (i32.div_u (i32.const 1) (i32.const 0)))")));
    assert_eq!(divided.to_string(), "plugin \"test\": request-headers trapped: integer divide by zero");
    let outside = provoke(&worker_of(&sometimes("(drop (i32.load (i32.const -8)))")));
    assert!(outside.to_string().contains("trapped: out of bounds memory access"), "{outside}");
}

#[test]
fn a_loop_is_ended_at_its_time_limit() {
    let worker = worker_of(&format!("(func $spin (loop $l (br $l))) {}", sometimes("(call $spin)")));
    let error = provoke(&worker);
    assert_eq!(error.to_string(), "plugin \"test\": request-headers overran its time limit of 10ms");
    assert_eq!(error.backtrace(), "spin");
    assert_eq!(worker.pin().plugin().stats().timeouts, 1);
}

#[test]
fn a_loop_through_host_calls_is_ended_too() {
    let call = "(loop $l (call $get (i32.const 1024) (i32.const 10) (i32.const 64)) (br $l))";
    assert!(matches!(provoke(&worker_of(&sometimes(call))).cause(), Cause::Timeout { .. }));
}

#[test]
fn a_bomb_stops_at_its_memory_limit() {
    // Grows page by page until it is refused, as an allocator does, then gives up as Rust does.
    let bomb = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    let error = provoke(&worker_of(&sometimes(bomb)));
    assert_eq!(error.to_string(), "plugin \"test\": request-headers ran out of memory (the limit is 16384 KiB)");
}

#[test]
fn a_guest_that_takes_a_refusal_well_goes_on_but_its_instance_does_not() {
    // Grows to 15 of 16 MiB and is refused more.
    let grow = "(drop (memory.grow (i32.const 240))) (drop (memory.grow (i32.const 240)))";
    let worker = worker_of(&sometimes(grow));
    let mut state = exchange();
    state.request.as_mut().unwrap().headers.clear();
    now(worker.pin().decide(Hook::RequestHeaders, &mut state)).unwrap();
    let before = worker.pin().plugin().stats().instances_created;
    now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
    now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
    assert_eq!(worker.pin().plugin().stats().instances_created, before + 1);
}

#[test]
fn tables_have_a_limit() {
    let code = format!(
        "(table $t 1 funcref) {}",
        sometimes("(if (i32.eq (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)) (then unreachable))")
    );
    assert!(matches!(provoke(&worker_of(&code)).cause(), Cause::Trap { .. }));
}

#[test]
fn what_a_guest_says_before_it_traps_is_told_in_one_short_line() {
    let panics = format!(
        "(data (i32.const 2000) \"panicked at src/lib.rs:7:5:\\nas asked\") {}",
        sometimes("(call $report (i32.const 2000) (i32.const 36)) unreachable")
    );
    let error = provoke(&worker_of(&panics));
    assert_eq!(error.to_string(), "plugin \"test\": request-headers trapped: panicked at src/lib.rs:7:5: as asked");
    let long = "(memory.fill (i32.const 5000) (i32.const 97) (i32.const 40000))\
        (call $report (i32.const 5000) (i32.const 40000)) unreachable";
    let words = provoke(&worker_of(&sometimes(long))).to_string();
    assert!(words.len() < 1_200 && words.ends_with("(cut: 1024 of 40000 bytes)"), "{words}");
    // Of another trap it says nothing.
    let other = "(call $report (i32.const 1024) (i32.const 10)) (drop (i32.div_u (i32.const 1) (i32.const 0)))";
    assert!(provoke(&worker_of(&sometimes(other))).to_string().ends_with("trapped: integer divide by zero"));
}

#[test]
fn a_stack_in_memory_that_runs_under_is_called_so() {
    // As toolchains do it: the stack begins at 64 KiB and grows down to 0.
    let code = "(global $sp (mut i32) (i32.const 65536))
        (func $f (param $n i32)
          (global.set $sp (i32.sub (global.get $sp) (i32.const 4096)))
          (i32.store (global.get $sp) (local.get $n))
          (call $f (i32.add (local.get $n) (i32.const 1)))
          (global.set $sp (i32.add (global.get $sp) (i32.const 4096))))"
        .to_owned()
        + &sometimes("(call $f (i32.const 0))");
    assert_eq!(provoke(&worker_of(&code)).to_string(), "plugin \"test\": request-headers overflowed its stack");
}

#[test]
fn endless_recursion_overflows_the_guests_stack_only() {
    let code = format!("(func $f (call $f) (call $f)) {}", sometimes("(call $f)"));
    let error = provoke(&worker_of(&code));
    assert_eq!(error.to_string(), "plugin \"test\": request-headers overflowed its stack");
    let frames = error.backtrace();
    assert!(frames.starts_with("f (repeated)") && frames.lines().count() <= 2, "{frames}");
}

#[test]
fn a_huge_string_is_refused_before_it_is_copied() {
    let mut spec = spec("test");
    spec.limits.host_allocation_bytes = 1000;
    spec.limits.body_bytes = 1000;
    let huge = "(call $log (i32.const 1) (i32.const 0) (i32.const 100000))";
    let error = provoke(&worker(spec, &guest(&["request-headers"], &sometimes(huge))));
    assert!(error.to_string().contains("trapped: too much data"), "{error}");
}

#[test]
fn many_copies_of_one_field_are_refused() {
    // Asks for the same field 20,000 times; it holds 900 bytes.
    let code = on_request(
        "(local $at i32)
          (drop (memory.grow (i32.const 20)))
          (loop $more
            (i32.store offset=65536 (local.get $at) (i32.const 1024))
            (i32.store offset=65540 (local.get $at) (i32.const 10))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $more (i32.lt_u (local.get $at) (i32.const 160000))))
          (call $get-many (i32.const 65536) (i32.const 20000) (i32.const 64))",
    );
    let mut state = exchange();
    let large = "x".repeat(900).parse().unwrap();
    state.request.as_mut().unwrap().headers.insert("user-agent", large);
    let error = call_request(&code, &mut state).unwrap_err();
    assert!(error.to_string().contains("host-allocation limit"), "{error}");
}

#[test]
fn handles_cannot_pile_up() {
    let code = sometimes("(loop $more (drop (call $counter (i32.const 1072) (i32.const 4))) (br $more))");
    let error = provoke(&worker_of(&code));
    assert!(matches!(error.cause(), Cause::Trap { .. }), "{error}");
}

#[test]
fn a_bad_metric_name_traps() {
    let error = provoke(&worker_of(&sometimes("(drop (call $metric (i32.const 1040) (i32.const 6)))")));
    assert!(error.to_string().contains("the name of a metric"), "{error}");
}

#[test]
fn an_instance_that_traps_is_not_used_again() {
    // The first call leaves a mark in memory and traps; a call that saw the mark would trap too.
    let code = "(if (global.get $mark) (then unreachable))
        (if (i32.eqz (call $has (i32.const 1024) (i32.const 10))) (then (global.set $mark (i32.const 1)) unreachable))";
    provoke(&worker_of(&format!("(global $mark (mut i32) (i32.const 0)) {}", on_request(code))));
}

#[test]
fn a_small_stack_ends_recursion_sooner() {
    // Goes 2,000 frames deep, each of some hundred bytes.
    let code = "(func $f (param $n i32) (result i64)
          (local $a i64) (local $b i64) (local $c i64) (local $d i64)
          (if (i32.eqz (local.get $n)) (then (return (i64.const 0))))
          (local.set $a (call $g)) (local.set $b (call $g)) (local.set $c (call $g)) (local.set $d (call $g))
          (i64.add (call $f (i32.sub (local.get $n) (i32.const 1)))
            (i64.add (i64.add (local.get $a) (local.get $b)) (i64.add (local.get $c) (local.get $d)))))
        (func $g (result i64) (i64.load (i32.const 0)))"
        .to_owned()
        + &sometimes("(drop (call $f (i32.const 2000)))");
    let run = |stack_bytes| {
        let mut spec = spec("test");
        spec.limits.stack_bytes = stack_bytes;
        let worker = worker(spec, &guest(&["request-headers"], &code));
        let mut state = exchange();
        state.request.as_mut().unwrap().headers.clear();
        now(worker.pin().decide(Hook::RequestHeaders, &mut state)).map_err(|error| error.cause().clone())
    };
    assert!(run(1 << 20).is_ok());
    assert_eq!(run(64 << 10).unwrap_err(), Cause::StackOverflow);
}
