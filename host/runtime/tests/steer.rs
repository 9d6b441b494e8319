//! The steer hook: what it is told, what it may answer, and that it fails alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use odin_chain::{Hook, Hooks, SteerBinding, SteerWeight};
use odin_runtime::{BreakerPolicy, CallError, Cause, CustomValue, LoadError, Plugin, PluginSpec, WorkerPlugin};

const BINDING: SteerBinding<'_> =
    SteerBinding { address: "192.0.2.0/24:80", listener: "web", workers: 2, listeners: &["web", "canary", "other"] };

fn steering(code: &str) -> Vec<u8> {
    guest(&["steer"], &weigh(code))
}

fn plugin(code: &str) -> Arc<Plugin> {
    load(&steering(code)).expect("the guest loads")
}

fn failure(code: &str) -> CallError {
    plugin(code).steer(&BINDING).unwrap_err()
}

fn share(listener: &str, worker: Option<u32>, weight: u32) -> SteerWeight {
    SteerWeight { listener: listener.to_owned(), worker, weight }
}

/// Answers so many weights from 2000 on, after these words were put there.
fn weights(words: &[&str], count: u32) -> String {
    let store = |(at, word): (usize, &&str)| format!("(i32.store (i32.const {}) {word})", 2000 + at * 4);
    words.iter().enumerate().map(store).collect::<String>() + &answering(&[0, 2000, count])
}

/// The binding told back: its own listener with the last worker, weighed by how many listeners there are, and the
/// second listener, weighed by the length of the address.
fn echo() -> String {
    let last_worker = "(i32.sub (local.get $workers) (i32.const 1))";
    let (name, len) = ("(i32.load offset=8 (local.get $listeners))", "(i32.load offset=12 (local.get $listeners))");
    let own = ["(local.get $listener)", "(local.get $listener-len)", "(i32.const 1)", last_worker];
    let rest = ["(local.get $listeners-len)", name, len, "(i32.const 0)", "(i32.const 0)", "(local.get $address-len)"];
    weights(&[own.as_slice(), &rest].concat(), 2)
}

#[test]
fn the_hook_is_told_the_binding_and_its_weights_come_back() {
    let plugin = plugin(&echo());
    assert!(plugin.hooks().has(Hook::Steer));
    let answer = plugin.steer(&BINDING).unwrap();
    assert_eq!(answer, [share("web", Some(1), 3), share("canary", None, 15)]);
    assert_eq!(plugin.stats().hook(Hook::Steer).calls, 1);
    assert!(self::plugin("").steer(&BINDING).unwrap().is_empty());
}

#[test]
fn a_plugin_without_the_hook_leaves_the_binding_alone() {
    let plugin = load(&guest(&["request-headers"], &noop())).unwrap();
    assert!(!plugin.hooks().has(Hook::Steer) && plugin.steer(&BINDING).unwrap().is_empty());
    assert_eq!(plugin.stats().hook(Hook::Steer).calls, 0);
}

#[test]
fn an_answer_that_cannot_be_written_is_a_bad_one() {
    let own = ["(local.get $listener)", "(local.get $listener-len)"];
    let of_own = |rest: [&str; 3]| weights(&[own.as_slice(), &rest].concat(), 1);
    let wrong = |code: &str, what: &str| {
        let error = failure(code);
        assert_eq!(error.to_string(), format!("plugin \"test\": steer gave a bad answer: {what}"));
    };
    let zero = "(i32.const 0)";
    wrong(&of_own([zero, zero, zero]), "weights that add up to 0");
    wrong(
        &of_own(["(i32.const 1)", "(i32.const 2)", "(i32.const 1)"]),
        "worker 2 of the listener \"web\" is past the end: there are 2",
    );
    wrong(
        &weights(&["(i32.const 1024)", "(i32.const 10)", zero, zero, "(i32.const 1)"], 1),
        "the listener \"user-agent\", which is none that is steered",
    );
    wrong(&answering(&[0, 65536, 5000]), "5000 weights, which is more than 4096");
}

#[test]
fn the_plugins_own_words_are_kept() {
    let error = failure(&answering(&[1, 1152, 9]));
    assert_eq!(error.to_string(), "plugin \"test\": steer failed: no thanks");
    assert_eq!((error.hook(), error.cause()), (Hook::Steer, &Cause::Refused("no thanks".to_owned())));
}

#[test]
fn limits_hold() {
    let start = Instant::now();
    assert!(matches!(failure("(loop $l (br $l))").cause(), Cause::Timeout { .. }));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(matches!(failure("unreachable").cause(), Cause::Trap { .. }));
    let bomb = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    assert!(matches!(failure(bomb).cause(), Cause::OutOfMemory { .. }));
    let outside = failure(&answering(&[0, 65536, u32::MAX / 20]));
    assert!(matches!(outside.cause(), Cause::Trap { .. }), "{outside}");
}

#[test]
fn every_call_has_a_fresh_instance() {
    let once = "(if (global.get $mark) (then unreachable)) (global.set $mark (i32.const 1))";
    let code = format!("(global $mark (mut i32) (i32.const 0)) {}", weigh(once));
    let plugin = load(&guest(&["steer"], &code)).unwrap();
    let made = plugin.stats().instances_created;
    plugin.steer(&BINDING).unwrap();
    plugin.steer(&BINDING).unwrap();
    assert_eq!(plugin.stats().instances_created, made + 2);
}

#[test]
fn failures_pause_the_hook() {
    let hour = Duration::from_secs(3600);
    let breaker = BreakerPolicy { calls: 3, pause: hour, max_pause: hour, ..BreakerPolicy::default() };
    let plugin = Plugin::load(&runtime(), PluginSpec { breaker, ..spec("test") }, &steering("unreachable")).unwrap();
    for _ in 0..3 {
        assert!(!plugin.steer(&BINDING).unwrap_err().is_pause());
    }
    assert!(plugin.steer(&BINDING).unwrap_err().is_pause());
    let stats = plugin.stats();
    assert_eq!((stats.traps, stats.paused, stats.breaker_trips), (3, 1, 1));
}

#[test]
fn there_is_no_exchange_in_it() {
    let get = "(call $context-get (i32.const 1056) (i32.const 4) (i32.const 64))";
    let fact = "(call $context-get (i32.const 2100) (i32.const 13) (i32.const 64))";
    let set =
        "(call $context-set (i32.const 1056) (i32.const 4) (i32.const 0) (i64.const 1) (i32.const 0) (i32.const 64))";
    let code = format!(
        "{get} {none} {fact} {none} {set} {refused} {no_exchange} (call $remove (i32.const 1056) (i32.const 4) (i32.const 64))",
        none = expect_byte(64, 0),
        refused = expect_byte(64, 1),
        no_exchange = expect_byte(65, 1),
    );
    let data = r#"(data (i32.const 2100) "odin.listener")"#;
    let plugin = load(&guest(&["steer"], &format!("{data} {}", weigh(&code)))).unwrap();
    let error = plugin.steer(&BINDING).unwrap_err();
    assert!(error.to_string().contains("no request"), "{error}");
}

#[test]
fn what_is_granted_works_in_it() {
    let code = format!(
        "(call $log (i32.const 1) (i32.const 1152) (i32.const 9)) (drop (call $now)) (drop (call $random))
         (call $config-get (i32.const 1120) (i32.const 12) (i32.const 64)) {}
         (drop (call $add (call $counter (i32.const 1072) (i32.const 4)) (i64.const 1)))
         (call $count (call $metric (i32.const 1072) (i32.const 4)) (i64.const 1))",
        expect_byte(64, 1)
    );
    let spec = PluginSpec { config: r#"{"limits":{"burst":7}}"#.to_owned(), ..spec("test") };
    let plugin = Plugin::load(&runtime(), spec, &steering(&code)).unwrap();
    plugin.steer(&BINDING).unwrap();
    assert_eq!(plugin.stats().custom[0].value, CustomValue::Counter(1));
}

#[test]
fn an_outbound_call_is_unavailable_in_it() {
    let send =
        "(call $send (i32.const 2000) (i32.const 4) (i32.const 2000) (i32.const 4) (i32.const 2000) (i32.const 4)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 64))";
    let code = format!("{send} {} {} {}", expect_byte(64, 1), expect_byte(68, 7), echo());
    let mut spec = spec("test");
    spec.grants.outbound.push("auth".to_owned());
    let wasm = guest(&["steer"], &format!(r#"(data (i32.const 2000) "auth") {}"#, weigh(&code)));
    let plugin = Plugin::load(&runtime(), spec, &wasm).unwrap();
    assert_eq!(plugin.steer(&BINDING).unwrap().len(), 2);
    assert_eq!(plugin.steer(&BINDING).unwrap().len(), 2);
    assert_eq!(plugin.stats().outbound_calls, 2);
}

#[test]
fn callers_and_a_worker_at_once_lose_no_count() {
    let code = "(call $count (call $metric (i32.const 1072) (i32.const 4)) (i64.const 1))";
    let wasm = guest(
        &["steer", "request-headers"],
        &format!("{} {}", weigh(code), on_request(&format!("(call $reset) {code}"))),
    );
    let plugin = load(&wasm).unwrap();
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| (0..50).for_each(|_| drop(plugin.steer(&BINDING).unwrap())));
        }
        let worker = WorkerPlugin::new(plugin.clone(), 0, None);
        (0..50).for_each(|_| drop(now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap()));
    });
    let stats = plugin.stats();
    assert_eq!((stats.hook(Hook::Steer).calls, stats.hook(Hook::RequestHeaders).calls), (150, 50));
    assert_eq!(stats.custom[0].value, CustomValue::Counter(200));
}

#[test]
fn a_swap_keeps_the_hook() {
    let plugin = plugin("");
    let keeps = |hooks: Hooks| if hooks.has(Hook::Steer) { Ok(()) } else { Err("no steer hook".to_owned()) };
    let error =
        plugin.prepare(&guest(&["request-headers"], &noop())).and_then(|new| plugin.publish(new, keeps)).unwrap_err();
    assert_eq!(error, LoadError::Unfit("no steer hook".to_owned()));
    plugin.swap(&steering(&echo())).unwrap();
    assert_eq!(plugin.steer(&BINDING).unwrap().len(), 2);
}
