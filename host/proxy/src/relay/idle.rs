//! One timer for a whole relay: it ends a connection on which nothing has moved for a while.
//!
//! Traffic only writes down the time. The timer is armed again when it fires and finds that something moved, so it must
//! never be touched on the path of a message.

use std::{
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Longer limits are cut to this (ten years), so that adding one to the clock cannot overflow.
const LONGEST: Duration = Duration::from_secs(315_360_000);

/// Fires once nothing has moved for `limit`.
pub(super) struct IdleTimer {
    limit: Duration,
    moved_at: Instant,
    timer: Pin<Box<Sleep>>,
    armed_for: Option<Waker>,
}

impl IdleTimer {
    /// Needs a runtime with its time driver on.
    pub(super) fn new(limit: Duration) -> IdleTimer {
        let limit = limit.min(LONGEST);
        IdleTimer { limit, moved_at: Instant::now(), timer: Box::pin(sleep(limit)), armed_for: None }
    }

    /// True when the time is over. `moved` says that bytes moved since the last call. Wakes the task of `cx` when due.
    pub(super) fn poll(&mut self, moved: bool, cx: &mut Context<'_>) -> bool {
        if moved {
            self.moved_at = Instant::now();
            let armed = self.armed_for.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if armed && self.moved_at < self.timer.deadline() {
                return false;
            }
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.moved_at + self.limit;
            if due <= Instant::now() {
                return true;
            }
            self.timer.as_mut().reset(due);
        }
        self.armed_for = Some(cx.waker().clone());
        false
    }
}
