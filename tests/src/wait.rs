//! Waiting with a deadline. Never waits for a length of time: only for something to happen, or to be true.

use std::future::Future;
use std::time::Duration;

/// How long anything may take before the test fails. Generous: two cores run many tests at once.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The future's answer, or a failed test that says what did not happen.
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let what = what.to_string();
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(answer) => answer,
            Err(_) => panic!("{caller}: {what}: not within {DEADLINE:?}"),
        }
    }
}

/// Asks again and again until the answer is there. For what has no event to wait on: another process's memory, a file
/// watcher's effect.
#[track_caller]
pub fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> impl Future<Output = T> {
    within(what, async move {
        let mut turn = tokio::time::interval(Duration::from_millis(5));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    })
}
