//! A plugin that fails again and again is left out, tried again, and let in again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::*;
use odin_runtime::{BreakerPolicy, BreakerState, CallError, Decision, PluginSpec, WorkerPlugin};

/// Traps when the request has no fields.
fn touchy() -> Vec<u8> {
    guest(
        &["request-headers"],
        &on_request("(if (i32.eqz (call $has (i32.const 1024) (i32.const 10))) (then unreachable))"),
    )
}

fn spec_with(pause: Duration) -> PluginSpec {
    let breaker = BreakerPolicy { failures: 3, pause, max_pause: Duration::from_secs(60) };
    PluginSpec { breaker, ..spec("test") }
}

fn good(worker: &WorkerPlugin) -> Result<Decision, CallError> {
    now(worker.pin().request_headers(&mut exchange()))
}

fn bad(worker: &WorkerPlugin) -> CallError {
    let mut state = exchange();
    state.request.as_mut().unwrap().headers.clear();
    now(worker.pin().request_headers(&mut state)).unwrap_err()
}

#[test]
fn failures_in_a_row_pause_the_plugin_on_every_worker() {
    let plugin = odin_runtime::Plugin::load(&runtime(), spec_with(Duration::from_secs(3600)), &touchy()).unwrap();
    let (one, two) = (WorkerPlugin::new(plugin.clone(), 0, None), WorkerPlugin::new(plugin.clone(), 1, None));
    bad(&one);
    bad(&two);
    good(&one).unwrap();
    assert_eq!(plugin.status().breaker, BreakerState::Closed);
    for worker in [&one, &two, &one] {
        assert!(!bad(worker).is_pause());
    }
    let error = good(&two).unwrap_err();
    assert!(error.is_pause());
    assert_eq!(
        error.to_string(),
        "plugin \"test\": request-headers was not called: the plugin is paused, for it failed too often in a row"
    );
    assert!(matches!(plugin.status().breaker, BreakerState::Open { failures: 3, .. }));
    let stats = plugin.stats();
    assert_eq!((stats.paused, stats.breaker_trips, stats.traps), (1, 1, 5));
}

#[test]
fn a_swap_lets_it_in_again() {
    let worker = worker(spec_with(Duration::from_secs(3600)), &touchy());
    for _ in 0..3 {
        bad(&worker);
    }
    assert!(good(&worker).unwrap_err().is_pause());
    worker.pin().plugin().swap(&guest(&["request-headers"], &get_set())).unwrap();
    good(&worker).unwrap();
}

#[test]
fn after_the_pause_one_good_call_lets_it_in_again() {
    let pause = Duration::from_millis(20);
    let worker = worker(spec_with(pause), &touchy());
    for _ in 0..3 {
        bad(&worker);
    }
    assert!(good(&worker).unwrap_err().is_pause());
    let start = Instant::now();
    while good(&worker).is_err() {
        assert!(start.elapsed() < 100 * pause, "it is never let in");
    }
    assert_eq!(worker.pin().plugin().status().breaker, BreakerState::Closed);
    assert!(!bad(&worker).is_pause());
}

#[test]
fn the_plugins_own_errors_count_too() {
    let worker =
        worker(spec_with(Duration::from_secs(60)), &guest(&["request-headers"], &on_request(&answering(&[1, 0, 0]))));
    for _ in 0..3 {
        assert!(!good(&worker).unwrap_err().is_pause());
    }
    assert!(good(&worker).unwrap_err().is_pause());
}
