//! One deadline per connection, moved often and armed seldom.
//!
//! Every exchange moves the deadline of its connection several times. The runtime's timer is touched only when it fires
//! or when the deadline comes nearer than what is armed, so a busy connection costs no timer work at all.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::error::{Error, Kind};

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// A deadline that may move.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    /// Whatever is set, it is over by then.
    limit: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// So long from now, or for ever when zero; but never past the limit.
    pub(crate) fn set(&mut self, after: Duration) {
        let at = (!after.is_zero()).then(|| Instant::now() + after);
        self.at = match (at, self.limit) {
            (Some(at), Some(limit)) => Some(at.min(limit)),
            (at, limit) => at.or(limit),
        };
    }

    /// Begins something that must be over after so long, or never when zero.
    pub(crate) fn begin(&mut self, limit: Duration) {
        self.limit = (!limit.is_zero()).then(|| Instant::now() + limit);
        self.at = self.limit;
    }

    /// The limit has passed, whatever was set.
    pub(crate) fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| Instant::now() >= limit)
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let Some(at) = self.at else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= at {
                return Poll::Ready(Elapsed);
            }
            sleep.as_mut().reset(at);
        }
    }

    /// Runs the future up to the limit, whatever was set before.
    pub(crate) async fn race_limit<F: Future>(&mut self, future: F) -> Result<F::Output, Elapsed> {
        self.set(Duration::ZERO);
        self.race(future).await
    }

    /// Runs the future up to the deadline.
    pub(crate) async fn race<F: Future>(&mut self, future: F) -> Result<F::Output, Elapsed> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }
}

/// The exchange's own time was over before there was a connection.
pub(crate) fn no_time_to_connect(Elapsed: Elapsed) -> Error {
    Error::new(Kind::UpstreamTimeout, "no time left to connect")
}
