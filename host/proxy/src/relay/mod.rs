//! The relay: moves bytes between two TCP connections until both directions ended.
//!
//! It serves TCP listeners and what follows an HTTP upgrade. No byte is lost, reordered or changed, a slow receiver slows its
//! sender down, and a stream that broke never ends like one that was finished: FIN is passed on as FIN, everything else
//! as RST. Must never look at the bytes, spawn tasks, or hold more than one left-over or one pipe per direction.
//!
//! `flow` is one direction, `pipe` the pool for `splice(2)`, `idle` the only timer, `sys` the system calls.

mod flow;
mod idle;
mod pipe;
mod sys;
#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{io::Interest, net::TcpStream, task::yield_now};

use flow::{Fault, Flow, Turn};
use idle::IdleTimer;

/// After one connection failed, what it had sent before is still delivered, but for no longer than this.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// How a relay behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct RelayOptions {
    /// Ends a relay on which no byte moved in either direction for this long. `None`: never.
    pub(crate) idle: Option<Duration>,
}

/// What a relay did.
#[derive(Debug)]
pub(crate) struct RelayReport {
    /// Bytes taken from `a` and written to `b`, early ones included.
    pub(crate) a_to_b: u64,
    /// Bytes taken from `b` and written to `a`, early ones included.
    pub(crate) b_to_a: u64,
    /// Why it ended.
    pub(crate) end: RelayEnd,
}

/// Why a relay ended.
#[derive(Debug)]
pub(crate) enum RelayEnd {
    /// Both sides sent their FIN and got the other's.
    Closed,
    /// Nothing moved for the idle time.
    Idle,
    /// A connection failed; the other one is reset when it is dropped.
    Error {
        /// Whose connection failed.
        side: Side,
        /// The direction that met the failure: reading from `side` or writing to it.
        #[allow(dead_code, reason = "part of what the relay knows; the log names the side")]
        direction: Direction,
        /// What the system said.
        error: io::Error,
    },
}

/// One of the two connections of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first one.
    A,
    /// The second one.
    B,
}

/// One of the two directions of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From `a` to `b`.
    AToB,
    /// From `b` to `a`.
    BToA,
}

/// Relays in both directions until both ended, one connection failed, or nothing moved for the idle time.
///
/// `early_from_a` is what was read from `a` before (it goes to `b` first), `early_from_b` the opposite. An end of one
/// direction is passed on as a half-close; the other goes on. The caller then drops both connections: after an error, and
/// after an idle end that cut bytes off, they are set to send RST, so that neither peer takes a broken stream for a
/// whole one. Dropping the future earlier loses what it holds; set a zero linger first if the peers must notice.
///
/// Needs a tokio runtime with I/O, and with time unless nothing ever fails and `idle` is `None`. Set `TCP_NODELAY` on
/// both connections: the relay writes each piece as soon as it has it.
pub(crate) async fn relay(
    a: &TcpStream,
    b: &TcpStream,
    early_from_a: Bytes,
    early_from_b: Bytes,
    options: &RelayOptions,
) -> RelayReport {
    let mut relay = Relay {
        a_to_b: Flow::new(a, b, early_from_a),
        b_to_a: Flow::new(b, a, early_from_b),
        idle: options.idle.map(IdleTimer::new),
        failure: None,
        last_bytes: None,
    };
    // Nobody reads from a connection whose bytes cannot be delivered; these notice when it is reset meanwhile.
    let mut reset_a = pin!(reset(a));
    let mut reset_b = pin!(reset(b));
    let end = poll_fn(|cx| relay.poll(cx, reset_a.as_mut(), reset_b.as_mut())).await;
    let cut = relay.a_to_b.holds_bytes() || relay.b_to_a.holds_bytes();
    if cut || matches!(end, RelayEnd::Error { .. }) {
        // Fails only on a connection that is gone.
        let _ = a.set_zero_linger();
        let _ = b.set_zero_linger();
    }
    RelayReport { a_to_b: relay.a_to_b.delivered, b_to_a: relay.b_to_a.delivered, end }
}

/// Both directions, and what holds for them together.
struct Relay<'s> {
    a_to_b: Flow<'s>,
    b_to_a: Flow<'s>,
    idle: Option<IdleTimer>,
    /// Set once a connection failed: its last bytes are being delivered, then this is the end.
    failure: Option<Failure>,
    /// Runs while those last bytes have to wait.
    last_bytes: Option<IdleTimer>,
}

struct Failure {
    side: Side,
    direction: Direction,
    error: io::Error,
}

impl Relay<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reset_a: Pin<&mut impl Future<Output = io::Error>>,
        reset_b: Pin<&mut impl Future<Output = io::Error>>,
    ) -> Poll<RelayEnd> {
        if self.failure.is_some() {
            return self.poll_last_bytes(cx);
        }
        let before = self.a_to_b.moved + self.b_to_a.moved;
        let there = match self.a_to_b.poll(cx) {
            Ok(turn) => turn,
            Err(fault) => return self.fail(Direction::AToB, fault, cx),
        };
        let back = match self.b_to_a.poll(cx) {
            Ok(turn) => turn,
            Err(fault) => return self.fail(Direction::BToA, fault, cx),
        };
        if (there, back) == (Turn::Closed, Turn::Closed) {
            return Poll::Ready(RelayEnd::Closed);
        }
        if let Some(error) = unless_read(there, reset_a, cx) {
            return self.fail(Direction::AToB, Fault::Source(error), cx);
        }
        if let Some(error) = unless_read(back, reset_b, cx) {
            return self.fail(Direction::BToA, Fault::Source(error), cx);
        }
        let moved = self.a_to_b.moved + self.b_to_a.moved != before;
        if self.idle.as_mut().is_some_and(|timer| timer.poll(moved, cx)) {
            return Poll::Ready(RelayEnd::Idle);
        }
        if there == Turn::Spent || back == Turn::Spent {
            let_others_run(cx);
        }
        Poll::Pending
    }

    /// One connection failed. Nothing is written to it any more; what it sent before still goes to the other one.
    fn fail(&mut self, direction: Direction, fault: Fault, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let (side, error) = match (direction, fault) {
            (Direction::AToB, Fault::Source(error)) | (Direction::BToA, Fault::Sink(error)) => (Side::A, error),
            (Direction::AToB, Fault::Sink(error)) | (Direction::BToA, Fault::Source(error)) => (Side::B, error),
        };
        self.failure = Some(Failure { side, direction, error });
        self.poll_last_bytes(cx)
    }

    /// Ends as soon as the failed connection has no more bytes, the other one fails too, or the time is over.
    fn poll_last_bytes(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let Some(Failure { side, .. }) = self.failure else { return Poll::Pending };
        let flow = match side {
            Side::A => &mut self.a_to_b,
            Side::B => &mut self.b_to_a,
        };
        flow.truncated = true;
        let turn = flow.poll(cx);
        if matches!(turn, Ok(Turn::SinkFull | Turn::Spent)) {
            let timer = self.last_bytes.get_or_insert_with(|| IdleTimer::new(LAST_BYTES));
            if !timer.poll(false, cx) {
                if matches!(turn, Ok(Turn::Spent)) {
                    let_others_run(cx);
                }
                return Poll::Pending;
            }
        }
        match self.failure.take() {
            Some(Failure { side, direction, error }) => Poll::Ready(RelayEnd::Error { side, direction, error }),
            None => Poll::Pending,
        }
    }
}

/// Completes with the error of a connection that was reset, also while nobody reads or writes it.
async fn reset(connection: &TcpStream) -> io::Error {
    match connection.ready(Interest::ERROR).await {
        Ok(_) => match connection.take_error() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
        },
        Err(error) => error,
    }
}

/// A flow that waits for its source hears of a reset by reading it; one that does not has to ask.
fn unless_read(turn: Turn, reset: Pin<&mut impl Future<Output = io::Error>>, cx: &mut Context<'_>) -> Option<io::Error> {
    match turn {
        Turn::SinkFull | Turn::Closed => match reset.poll(cx) {
            Poll::Ready(error) => Some(error),
            Poll::Pending => None,
        },
        Turn::SourceEmpty | Turn::Spent => None,
    }
}

/// Wakes this task after all that are ready have run and the I/O driver was asked for news.
fn let_others_run(cx: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(cx);
}
