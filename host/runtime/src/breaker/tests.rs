//! When a breaker pauses a hook on a route, and how it comes back.

use std::net::SocketAddr;

use odin_chain::ConnectionInfo;

use super::*;

const HOOK: Hook = Hook::RequestHeaders;
const SECOND: Duration = Duration::from_secs(1);

fn on(route: &str) -> Box<HookState> {
    let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let mut state = HookState::new(Arc::new(ConnectionInfo::new(address, address, "web".into())), 0);
    state.facts.route = Some(route.into());
    state
}

/// Trips at half of at least four calls within ten seconds.
fn breaker() -> (Breaker, Instant) {
    let policy = BreakerPolicy { percent: 50, calls: 4, window: 10 * SECOND, pause: SECOND, max_pause: 3 * SECOND };
    (Breaker::new("test", policy, 2), Instant::now())
}

fn fail(breaker: &Breaker, times: u32, now: Instant) {
    (0..times).for_each(|_| breaker.failed(HOOK, &on("a"), now));
}

fn succeed(breaker: &Breaker, times: u32, now: Instant) {
    (0..times).for_each(|at| breaker.succeeded(at as usize % 2, HOOK, &on("a"), || now));
}

fn admits(breaker: &Breaker, now: Instant) -> bool {
    breaker.admit(HOOK, &on("a"), || now).is_ok()
}

fn state(breaker: &Breaker, now: Instant) -> BreakerState {
    breaker.units(now)[0].state
}

#[test]
fn a_share_of_enough_calls_pauses_it_and_no_row_of_failures_does() {
    let (breaker, now) = breaker();
    fail(&breaker, 3, now);
    assert!(admits(&breaker, now), "three calls are too few to tell");
    succeed(&breaker, 10, now);
    fail(&breaker, 6, now);
    assert!(admits(&breaker, now), "9 of 19");
    fail(&breaker, 1, now);
    assert!(!admits(&breaker, now), "10 of 20");
    let unit = &breaker.units(now)[0];
    assert_eq!((unit.failures, unit.calls, unit.state), (10, 20, BreakerState::Open { retry_in: SECOND }));
    assert_eq!((&*unit.listener, unit.route.as_deref(), unit.hook), ("web", Some("a"), HOOK));
    assert_eq!(breaker.trips(), 1);
}

#[test]
fn failures_of_another_window_do_not_count() {
    let (breaker, now) = breaker();
    fail(&breaker, 3, now);
    fail(&breaker, 3, now + 11 * SECOND);
    assert!(admits(&breaker, now + 11 * SECOND));
    fail(&breaker, 1, now + 11 * SECOND);
    assert!(!admits(&breaker, now + 11 * SECOND));
}

#[test]
fn other_routes_and_other_hooks_go_on() {
    let (breaker, now) = breaker();
    fail(&breaker, 4, now);
    assert!(!admits(&breaker, now));
    assert!(breaker.admit(HOOK, &on("b"), || now).is_ok());
    assert!(breaker.admit(Hook::Balancer, &on("a"), || now).is_ok());
}

#[test]
fn after_a_pause_shares_of_the_calls_are_made_until_it_is_well() {
    let (breaker, mut now) = breaker();
    fail(&breaker, 4, now);
    for (percent, one_in) in [(1, 100), (5, 20), (25, 4)] {
        now += SECOND;
        if percent > 1 {
            // The call that ends the share before.
            succeed(&breaker, 1, now);
        }
        assert!(admits(&breaker, now), "the first of a share");
        assert_eq!(state(&breaker, now), BreakerState::HalfOpen { percent });
        let made = (0..1_000).filter(|_| admits(&breaker, now)).count();
        assert_eq!(made, 1_000 / one_in);
        succeed(&breaker, 1, now);
    }
    now += SECOND;
    succeed(&breaker, 1, now);
    assert_eq!(state(&breaker, now), BreakerState::Closed);
    assert!((0..100).all(|_| admits(&breaker, now)));
}

#[test]
fn failures_of_a_share_pause_it_again_for_twice_as_long() {
    let (breaker, mut now) = breaker();
    fail(&breaker, 4, now);
    for pause in [1, 2, 3, 3] {
        assert_eq!(state(&breaker, now), BreakerState::Open { retry_in: pause * SECOND });
        assert!(!admits(&breaker, now));
        now += pause * SECOND;
        assert!(admits(&breaker, now));
        fail(&breaker, 1, now);
    }
    assert_eq!(breaker.trips(), 5);
}

#[test]
fn a_call_without_an_outcome_keeps_none_from_being_tried() {
    let (breaker, now) = breaker();
    fail(&breaker, 4, now);
    assert!(admits(&breaker, now + SECOND));
    assert!(!admits(&breaker, now + SECOND));
    assert!(admits(&breaker, now + 2 * SECOND));
}

#[test]
fn failures_of_calls_that_began_before_the_pause_do_not_lengthen_it() {
    let (breaker, now) = breaker();
    fail(&breaker, 9, now);
    assert_eq!((breaker.trips(), state(&breaker, now)), (1, BreakerState::Open { retry_in: SECOND }));
}

#[test]
fn a_swap_closes_it_and_zero_percent_turns_it_off() {
    let (breaker, now) = breaker();
    fail(&breaker, 4, now);
    breaker.swapped();
    assert!(admits(&breaker, now) && breaker.units(now).is_empty());
    let off = Breaker::new("test", BreakerPolicy { percent: 0, ..BreakerPolicy::default() }, 1);
    (0..100).for_each(|_| off.failed(HOOK, &on("a"), now));
    assert!(admits(&off, now) && off.units(now).is_empty());
}

#[test]
fn what_is_well_again_is_forgotten() {
    let (breaker, now) = breaker();
    fail(&breaker, 1, now);
    breaker.sweep(now + SECOND);
    assert!(breaker.watching.load(Relaxed));
    breaker.sweep(now + 11 * SECOND);
    assert!(!breaker.watching.load(Relaxed) && breaker.units(now).is_empty());
    fail(&breaker, 4, now);
    breaker.sweep(now + 11 * SECOND);
    assert!(!breaker.units(now).is_empty(), "what is paused is not forgotten");
}
