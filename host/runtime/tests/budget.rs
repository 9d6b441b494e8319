//! How long plugins may compute: one call, all calls of an exchange, and how long before others have their turn.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use common::*;
use odin_chain::{CpuBudget, Hook, HookState, Whose};
use odin_runtime::{CallError, Cause, PluginSpec, WorkerPlugin};
use rustix::time::{ClockId, clock_gettime};

const MS: Duration = Duration::from_millis(1);

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

/// Loops when the request has no fields.
fn sometimes_loops() -> String {
    on_request("(if (i32.eqz (call $has (i32.const 1024) (i32.const 10))) (then (loop $l (br $l))))")
}

fn loops(timeout: Duration) -> WorkerPlugin {
    let mut spec = spec("test");
    spec.limits.timeout = timeout;
    worker(spec, &guest(&["request-headers"], &sometimes_loops()))
}

fn looping() -> Box<HookState> {
    let mut state = exchange();
    state.request.as_mut().unwrap().headers.clear();
    state.cpu = CpuBudget::new(1_000 * MS, std::time::Instant::now());
    state
}

/// What one loop took of CPU time until it was ended.
fn burnt(worker: &WorkerPlugin) -> Duration {
    let (pin, mut state) = (worker.pin(), looping());
    let before = cpu();
    let error = in_turns(pin.decide(Hook::RequestHeaders, &mut state)).unwrap_err();
    assert!(matches!(error.cause(), Cause::Timeout { .. }), "{error}");
    cpu() - before
}

#[test]
fn an_overrun_ends_within_two_milliseconds_of_its_limit() {
    for limit in [10 * MS, MS] {
        // A machine that is busy with other tests may keep the clock's thread from its ticks now and then.
        let (worker, mut all) = (loops(limit), Vec::new());
        let ends = (0..50).any(|_| {
            let took = burnt(&worker);
            all.push(took);
            (limit..=limit + 2 * MS).contains(&took)
        });
        assert!(ends, "a limit of {limit:?}: {all:?}");
    }
}

#[test]
fn a_hook_that_ran_long_gives_way_from_then_on_and_others_are_called_as_before() {
    let worker = loops(20 * MS);
    let pin = worker.pin();
    burnt(&worker);
    let mut state = looping();
    let mut call = pin!(pin.decide(Hook::RequestHeaders, &mut state));
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "it gave way: {polled:?}");
    // The worker's other work: the same hook for another exchange, which is done at once.
    assert!(now(pin.decide(Hook::RequestHeaders, &mut exchange())).is_ok());
    let error = in_turns(call).unwrap_err();
    assert!(matches!(error.cause(), Cause::Timeout { .. }), "{error}");
}

#[test]
fn of_several_that_run_long_one_at_a_time_goes_on() {
    let worker = loops(200 * MS);
    let pin = worker.pin();
    burnt(&worker);
    let (mut a, mut b) = (looping(), looping());
    let (mut a, mut b) =
        (pin!(pin.decide(Hook::RequestHeaders, &mut a)), pin!(pin.decide(Hook::RequestHeaders, &mut b)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(a.as_mut().poll(&mut cx).is_pending() && b.as_mut().poll(&mut cx).is_pending());
    // The first has its turn (and, behind a look at other work, a slice); the second waits as long.
    let before = cpu();
    for _ in 0..50 {
        assert!(b.as_mut().poll(&mut cx).is_pending());
    }
    assert!(cpu() - before < MS, "it computed in another's turn");
    let before = cpu();
    assert!(a.as_mut().poll(&mut cx).is_pending() && a.as_mut().poll(&mut cx).is_pending());
    assert!(cpu() - before > MS / 4, "it did not go on");
}

#[test]
fn a_call_that_gives_way_and_is_dropped_lets_the_others_go_on() {
    let worker = loops(20 * MS);
    let pin = worker.pin();
    burnt(&worker);
    let mut dropped = looping();
    {
        let mut call = pin!(pin.decide(Hook::RequestHeaders, &mut dropped));
        for _ in 0..3 {
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    }
    assert!(dropped.request.is_some(), "the exchange comes back");
    burnt(&worker);
}

/// Calls the body hook, which burns some time, for pieces of so many bytes until it fails.
fn pieces(spec: PluginSpec, budget: Duration, bytes: usize) -> (u32, CallError) {
    let burn = "(local $n i32) (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $n) (i32.const 400000))))";
    let worker = worker(spec, &guest(&["request-body"], &on_body(burn)));
    let (pin, mut state) = (worker.pin(), exchange());
    state.cpu = CpuBudget::new(budget, std::time::Instant::now());
    for count in 0..100_000 {
        state.piece = vec![7; bytes].into();
        if let Err(error) = in_turns(pin.piece(Hook::RequestBody, &mut state, false)) {
            return (count, error);
        }
    }
    panic!("it computes for ever");
}

#[test]
fn many_small_pieces_share_the_budget_of_their_exchange() {
    let (count, error) = pieces(spec("test"), 20 * MS, 1);
    assert!(count > 2, "{count}");
    assert_eq!(error.cause(), &Cause::Budget { limit: 20 * MS, whose: Whose::Exchange });
    assert!(error.is_over_budget());
    let mut own = spec("test");
    own.limits.cpu_budget = Some(5 * MS);
    let (_, error) = pieces(own, 20 * MS, 1);
    assert_eq!(error.cause(), &Cause::Budget { limit: 5 * MS, whose: Whose::Plugin });
    assert!(!error.is_over_budget());
}

#[test]
fn a_spent_budget_is_nothing_that_the_breaker_counts_and_the_end_is_still_told() {
    let code = sometimes_loops() + &hook("exchange-end", "on-exchange-end") + ZERO;
    let worker = worker(spec("test"), &guest(&["request-headers", "exchange-end"], &code));
    let (pin, mut state) = (worker.pin(), looping());
    state.cpu = CpuBudget::new(MS, std::time::Instant::now());
    for _ in 0..40 {
        let error = in_turns(pin.decide(Hook::RequestHeaders, &mut state)).unwrap_err();
        assert!(error.is_over_budget(), "{error}");
    }
    assert!(pin.plugin().status().breaker.is_empty());
    assert!(now(pin.exchange_end(&mut state)).is_ok());
}
