//! A hook that fails too often on a route is left out there, tried again, and let in again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::*;
use odin_chain::{Decision, Hook};
use odin_runtime::{BreakerPolicy, BreakerState, CallError, Cause, PluginSpec, WorkerPlugin};

/// Traps when the request has no fields.
fn touchy() -> Vec<u8> {
    guest(
        &["request-headers"],
        &on_request("(if (i32.eqz (call $has (i32.const 1024) (i32.const 10))) (then unreachable))"),
    )
}

fn spec_with(pause: Duration) -> PluginSpec {
    let max_pause = Duration::from_secs(60);
    let breaker =
        BreakerPolicy { percent: 50, calls: 6, pause, max_pause: max_pause.max(pause), ..BreakerPolicy::default() };
    PluginSpec { breaker, ..spec("test") }
}

fn good(worker: &WorkerPlugin) -> Result<Decision, CallError> {
    now(worker.pin().decide(Hook::RequestHeaders, &mut exchange()))
}

fn bad(worker: &WorkerPlugin) -> CallError {
    let mut state = exchange();
    state.request.as_mut().unwrap().headers.clear();
    now(worker.pin().decide(Hook::RequestHeaders, &mut state)).unwrap_err()
}

#[test]
fn failures_pause_the_hook_on_every_worker() {
    let plugin = odin_runtime::Plugin::load(&runtime(), spec_with(Duration::from_secs(3600)), &touchy()).unwrap();
    let (one, two) = (WorkerPlugin::new(plugin.clone(), 0, None), WorkerPlugin::new(plugin.clone(), 1, None));
    bad(&one);
    bad(&two);
    good(&one).unwrap();
    assert_eq!(plugin.status().breaker[0].state, BreakerState::Closed);
    for worker in [&one, &two, &one] {
        assert!(!bad(worker).is_pause());
    }
    let error = good(&two).unwrap_err();
    assert!(error.is_pause());
    assert_eq!(
        error.to_string(),
        "plugin \"test\": request-headers was not called: it is paused on this route, for it failed too often"
    );
    let unit = &plugin.status().breaker[0];
    assert!(matches!(unit.state, BreakerState::Open { .. }), "{unit:?}");
    // The first failure makes the unit: the call that succeeded was counted, too.
    assert_eq!((unit.failures, unit.calls), (5, 6));
    let stats = plugin.stats();
    assert_eq!((stats.paused, stats.breaker_trips, stats.traps), (1, 1, 5));
}

#[test]
fn a_swap_lets_it_in_again() {
    let worker = worker(spec_with(Duration::from_secs(3600)), &touchy());
    for _ in 0..6 {
        bad(&worker);
    }
    assert!(good(&worker).unwrap_err().is_pause());
    worker.pin().plugin().swap(&guest(&["request-headers"], &get_set())).unwrap();
    good(&worker).unwrap();
}

#[test]
fn after_the_pause_good_calls_let_it_in_again() {
    let pause = Duration::from_millis(20);
    let worker = worker(spec_with(pause), &touchy());
    for _ in 0..6 {
        bad(&worker);
    }
    assert!(good(&worker).unwrap_err().is_pause());
    let start = Instant::now();
    while worker.pin().plugin().status().breaker[0].state != BreakerState::Closed {
        let _ = good(&worker);
        assert!(start.elapsed() < 500 * pause, "it is never let in");
    }
    assert!((0..100).all(|_| good(&worker).is_ok()));
    assert!(!bad(&worker).is_pause());
}

#[test]
fn the_plugins_own_errors_count_for_nothing() {
    let worker =
        worker(spec_with(Duration::from_secs(60)), &guest(&["request-headers"], &on_request(&answering(&[1, 0, 0]))));
    for _ in 0..100 {
        assert!(matches!(good(&worker).unwrap_err().cause(), Cause::Refused(_)));
    }
    let plugin = worker.pin().plugin().clone();
    assert!(plugin.status().breaker.is_empty());
    assert_eq!((plugin.stats().refused, plugin.stats().paused), (100, 0));
}

#[test]
fn what_fails_on_one_route_is_paused_there_alone() {
    let worker = worker(spec_with(Duration::from_secs(60)), &touchy());
    let on = |route: &str, fails: bool| {
        let mut state = exchange();
        state.facts.route = Some(route.into());
        if fails {
            state.request.as_mut().unwrap().headers.clear();
        }
        now(worker.pin().decide(Hook::RequestHeaders, &mut state))
    };
    for _ in 0..6 {
        on("a", true).unwrap_err();
    }
    assert!(on("a", false).unwrap_err().is_pause());
    on("b", false).unwrap();
    let units = worker.pin().plugin().status().breaker;
    assert_eq!((units.len(), units[0].route.as_deref()), (1, Some("a")));
}
