//! Plugins that make HTTP calls: they wait, many at a time, and whatever becomes of a call, the exchange comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::*;
use http::{HeaderMap, Response};
use odin_chain::{Decision, Hook, Reply};
use odin_runtime::{CallError, Cause, OutboundCall, OutboundError, Plugin, PluginSpec, WorkerPlugin};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const STRINGS: &str = r#"(data (i32.const 2000) "auth") (data (i32.const 2008) "GET") (data (i32.const 2016) "/check?x=1")
    (data (i32.const 2032) "other") (data (i32.const 2040) "auth.example:81") (data (i32.const 2064) "body")
    (data (i32.const 2080) "\40\04\00\00\0e\00\00\00\20\04\00\00\04\00\00\00")"#;

/// Sends `GET /check?x=1` to `auth`; the answer lies at 64.
const SEND: &str =
    "(call $send (i32.const 2000) (i32.const 4) (i32.const 2008) (i32.const 3) (i32.const 2016) (i32.const 10)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 0) (i32.const 0) (i32.const 64))";
/// Sets `x-odin` to the body of the answer.
const TELL: &str =
    "(call $set (i32.const 1040) (i32.const 6) (i32.load (i32.const 80)) (i32.load (i32.const 84)) (i32.const 200))";

fn module(hook: &str) -> Vec<u8> {
    guest(&["request-headers"], &format!("{STRINGS} {hook}"))
}

/// Asks `auth`, and traps unless it gets an answer, whose body it puts into `x-odin`.
fn asking() -> Vec<u8> {
    module(&on_request(&format!("(call $reset) {SEND} {} {TELL}", expect_byte(64, 0))))
}

/// Traps unless `send` answers this error.
fn refused_with(send: &str, error: u32) -> Vec<u8> {
    module(&on_request(&format!("(call $reset) {send} {} {}", expect_byte(64, 1), expect_byte(68, error))))
}

fn granted(name: &str) -> PluginSpec {
    let mut spec = spec(name);
    spec.grants.outbound.push("auth".to_owned());
    spec
}

/// A worker's side, and the other end of its calls.
fn calling(spec: PluginSpec, wasm: &[u8]) -> (WorkerPlugin, UnboundedReceiver<OutboundCall>) {
    let (sender, receiver) = unbounded_channel();
    let plugin = Plugin::load(&runtime(), spec, wasm).expect("the guest loads");
    (WorkerPlugin::new(plugin, 0, Some(sender)), receiver)
}

fn poll<F: Future + ?Sized>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn reply(body: &'static str) -> Result<Reply, OutboundError> {
    let head = Response::builder().header("x-user", "me").body(()).unwrap().into_parts().0;
    Ok(Reply { head, body: Bytes::from_static(body.as_bytes()), trailers: HeaderMap::new() })
}

/// Calls the request hook to its end; every call that it makes is answered so.
fn call(
    worker: &WorkerPlugin,
    calls: &mut UnboundedReceiver<OutboundCall>,
    answer: fn() -> Result<Reply, OutboundError>,
) -> Result<Decision, CallError> {
    let (pin, mut state) = (worker.pin(), exchange());
    let mut future = pin!(pin.decide(Hook::RequestHeaders, &mut state));
    loop {
        if let Poll::Ready(result) = poll(&mut future) {
            return result;
        }
        // With none it has given way to others.
        if let Ok(call) = calls.try_recv() {
            call.answer.send(answer()).expect("it waits");
        }
    }
}

#[test]
fn a_call_waits_for_its_answer() {
    let (worker, mut calls) = calling(granted("door"), &asking());
    assert!(worker.pin().may_wait());
    let (pin, mut state) = (worker.pin(), exchange());
    {
        let mut future = pin!(pin.decide(Hook::RequestHeaders, &mut state));
        assert!(poll(&mut future).is_pending());
        let call = calls.try_recv().unwrap();
        assert_eq!((&*call.plugin, call.cluster.as_str(), call.depth), ("door", "auth", 1));
        assert_eq!((call.request.method().as_str(), call.request.uri().to_string().as_str()), ("GET", "/check?x=1"));
        assert_eq!((call.authority, call.timeout, call.max_body_bytes), (None, Duration::from_secs(1), 1 << 20));
        assert!(poll(&mut future).is_pending());
        call.answer.send(reply("welcome")).unwrap();
        assert!(matches!(poll(&mut future), Poll::Ready(Ok(Decision::Continue))));
    }
    assert_eq!(state.request.unwrap().headers["x-odin"], "welcome");
    let stats = worker.pin().plugin().stats();
    assert_eq!((stats.outbound_calls, stats.outbound_failures, stats.hook(Hook::RequestHeaders).calls), (1, 0, 1));
}

#[test]
fn what_the_plugin_asks_for_arrives() {
    let send =
        "(call $send (i32.const 2000) (i32.const 4) (i32.const 2008) (i32.const 3) (i32.const 2016) (i32.const 10)
        (i32.const 1) (i32.const 2040) (i32.const 15) (i32.const 0) (i32.const 0) (i32.const 2064) (i32.const 4)
        (i32.const 1) (i32.const 50) (i32.const 64))";
    let (worker, mut calls) = calling(granted("door"), &module(&on_request(send)));
    let (pin, mut state) = (worker.pin(), exchange());
    state.outbound_depth = 3;
    let mut future = pin!(pin.decide(Hook::RequestHeaders, &mut state));
    assert!(poll(&mut future).is_pending());
    let call = calls.try_recv().unwrap();
    assert_eq!(
        (call.authority.unwrap(), call.timeout, call.depth),
        ("auth.example:81".parse().unwrap(), Duration::from_millis(50), 4)
    );
    assert_eq!(call.request.body(), "body");
}

#[test]
fn several_calls_of_one_plugin_wait_at_once() {
    let (worker, mut calls) = calling(granted("door"), &asking());
    let pin = worker.pin();
    let (mut one, mut two) = (exchange(), exchange());
    {
        let mut first = pin!(pin.decide(Hook::RequestHeaders, &mut one));
        let mut second = pin!(pin.decide(Hook::RequestHeaders, &mut two));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        let (of_first, of_second) = (calls.try_recv().unwrap(), calls.try_recv().unwrap());
        of_second.answer.send(reply("two")).unwrap();
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_ready());
        of_first.answer.send(reply("one")).unwrap();
        assert!(poll(&mut first).is_ready());
    }
    assert_eq!(
        (&one.request.unwrap().headers["x-odin"], &two.request.unwrap().headers["x-odin"]),
        (&"one".parse().unwrap(), &"two".parse().unwrap())
    );
}

#[test]
fn a_dropped_call_gives_the_exchange_back_and_nobody_waits_for_the_answer() {
    let (worker, mut calls) = calling(granted("door"), &asking());
    let pin = worker.pin();
    let mut state = exchange();
    {
        let mut future = Box::pin(pin.decide(Hook::RequestHeaders, &mut state));
        assert!(poll(&mut future.as_mut()).is_pending());
    }
    assert_eq!(state.request.as_ref().unwrap().uri, "/path?query");
    assert_eq!(state.authority, "example.com");
    assert!(state.plugin_nanos > 0);
    assert!(calls.try_recv().unwrap().answer.is_closed());
    let before = worker.pin().plugin().stats().instances_created;
    call(&worker, &mut calls, || reply("again")).unwrap();
    // The instance that waited is in no known state.
    assert_eq!(worker.pin().plugin().stats().instances_created, before + 1);
}

#[test]
fn errors_reach_the_guest() {
    type Answer = fn() -> Result<Reply, OutboundError>;
    let errors: [(u32, Answer); 6] = [
        (0, || Err(OutboundError::NotGranted)),
        (2, || Err(OutboundError::Unreachable("refused".into()))),
        (3, || Err(OutboundError::Broken("cut".into()))),
        (4, || Err(OutboundError::Timeout)),
        (5, || Err(OutboundError::TooLarge)),
        (6, || Err(OutboundError::TooMany)),
    ];
    for (code, answer) in errors {
        let (worker, mut calls) = calling(granted("door"), &refused_with(SEND, code));
        call(&worker, &mut calls, answer).unwrap();
        assert_eq!(worker.pin().plugin().stats().outbound_failures, 1);
    }
    // The host gives up.
    let (worker, mut calls) = calling(granted("door"), &refused_with(SEND, 3));
    let (pin, mut state) = (worker.pin(), exchange());
    let mut future = pin!(pin.decide(Hook::RequestHeaders, &mut state));
    assert!(poll(&mut future).is_pending());
    drop(calls.try_recv().unwrap());
    assert!(matches!(poll(&mut future), Poll::Ready(Ok(_))));
}

/// The hook must end at once, without a call.
fn ends_without_a_call(spec: PluginSpec, wasm: &[u8], depth: u8) {
    let (worker, mut calls) = calling(spec, wasm);
    let mut state = exchange();
    state.outbound_depth = depth;
    now(worker.pin().decide(Hook::RequestHeaders, &mut state)).unwrap();
    assert!(calls.try_recv().is_err());
}

#[test]
fn what_is_not_allowed_is_refused_before_it_is_sent() {
    let other = SEND.replacen("(i32.const 2000) (i32.const 4)", "(i32.const 2032) (i32.const 5)", 1);
    ends_without_a_call(granted("door"), &refused_with(&other, 0), 0);
    let bad_path = SEND.replacen("(i32.const 2016) (i32.const 10)", "(i32.const 2000) (i32.const 4)", 1);
    ends_without_a_call(granted("door"), &refused_with(&bad_path, 1), 0);
    // content-length: seen
    let framing = SEND.replacen(
        "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)",
        "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2080) (i32.const 1)",
        1,
    );
    ends_without_a_call(granted("door"), &refused_with(&framing, 1), 0);
    ends_without_a_call(granted("door"), &refused_with(SEND, 6), 4);
}

#[test]
fn one_hook_makes_sixteen_calls() {
    let sends = format!("(call $reset) {SEND} {}", expect_byte(64, 0)).repeat(16);
    let hook = on_request(&format!("{sends} {SEND} {} {}", expect_byte(64, 1), expect_byte(68, 6)));
    let (worker, mut calls) = calling(granted("door"), &module(&hook));
    call(&worker, &mut calls, || reply("x")).unwrap();
    call(&worker, &mut calls, || reply("x")).unwrap();
    assert_eq!(worker.pin().plugin().stats().outbound_calls, 34);
}

#[test]
fn without_a_sender_and_in_configure_calls_are_unavailable() {
    let wasm = refused_with(SEND, 7);
    now(worker(granted("door"), &wasm).pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
    let in_configure = configure(&format!("{SEND} {} {}", expect_byte(64, 1), expect_byte(68, 7)));
    let wasm = guest(&["lifecycle"], &format!("{STRINGS} {in_configure}"));
    calling(granted("door"), &wasm);
}

#[test]
fn the_import_needs_a_cluster_in_the_config() {
    let error = Plugin::load(&runtime(), spec("door"), &asking()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "it imports `odin:plugin/outbound`, which its config does not grant: add outbound = [\"CLUSTER\"] to \
         [plugins.door], naming the clusters that it may call"
    );
    let plugin = Plugin::load(&runtime(), granted("door"), &asking()).unwrap();
    assert_eq!(plugin.status().imports, ["outbound"]);
}

#[test]
fn the_time_limit_counts_no_waiting() {
    let (worker, mut calls) = calling(granted("door"), &asking());
    let (pin, mut state) = (worker.pin(), exchange());
    let waited = Duration::from_millis(60);
    {
        let mut future = pin!(pin.decide(Hook::RequestHeaders, &mut state));
        assert!(poll(&mut future).is_pending());
        // Time passes on this thread, as when other exchanges are served meanwhile: six times the limit.
        let start = Instant::now();
        while start.elapsed() < waited {
            std::hint::spin_loop();
        }
        calls.try_recv().unwrap().answer.send(reply("late")).unwrap();
        assert!(matches!(poll(&mut future), Poll::Ready(Ok(_))));
    }
    assert!(Duration::from_nanos(state.plugin_nanos) < waited, "{}", state.plugin_nanos);
}

#[test]
fn a_loop_after_an_answer_is_ended() {
    let (worker, mut calls) = calling(granted("door"), &module(&on_request(&format!("{SEND} (loop $l (br $l))"))));
    let error = call(&worker, &mut calls, || reply("x")).unwrap_err();
    assert!(matches!(error.cause(), Cause::Timeout { .. }), "{error}");
}

#[test]
fn calls_that_wait_are_capped_and_some_instances_kept() {
    let (worker, mut calls) = calling(granted("door"), &asking());
    let pin = worker.pin();
    let wave = |calls: &mut UnboundedReceiver<OutboundCall>| {
        let mut states: Vec<_> = (0..WAITING / 2).map(|_| exchange()).collect();
        let mut futures: Vec<_> =
            states.iter_mut().map(|state| Box::pin(pin.decide(Hook::RequestHeaders, state))).collect();
        for future in &mut futures {
            assert!(poll(&mut future.as_mut()).is_pending());
        }
        let error = now(pin.decide(Hook::RequestHeaders, &mut exchange())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "plugin \"door\": request-headers was given up: {} other calls of this plugin wait on this worker, which is \
                 its share",
                WAITING / 2
            )
        );
        assert_eq!(worker.pin().plugin().stats().open, WAITING as u64 / 2);
        for future in &mut futures {
            calls.try_recv().unwrap().answer.send(reply("x")).unwrap();
            assert!(poll(&mut future.as_mut()).is_ready());
        }
    };
    wave(&mut calls);
    let made = worker.pin().plugin().stats().instances_created;
    wave(&mut calls);
    // Sixteen were kept.
    assert_eq!(worker.pin().plugin().stats().instances_created - made, WAITING as u64 / 2 - 16);
}

#[test]
fn the_future_of_a_call_that_cannot_wait_is_small() {
    let worker = worker_of("request-headers", &noop());
    let (pin, mut state) = (worker.pin(), exchange());
    assert!(!pin.may_wait());
    let size = size_of_val(&pin.decide(Hook::RequestHeaders, &mut state));
    assert!(size <= 256, "{size}");
}
