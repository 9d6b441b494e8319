//! The relay: moves bytes between two connections until both directions ended.
//!
//! It serves TCP listeners and what follows an HTTP upgrade. No byte is lost, reordered or changed, a slow receiver slows its
//! sender down, and a stream that broke never ends like one that was finished: FIN is passed on as FIN, everything else
//! as RST. Must never look at the bytes, spawn tasks, or hold more than one left-over or one pipe per direction.
//!
//! `flow` is one direction, `socket` one of the two connections, which can be muted unless it is a stream, `pipe` the pool
//! for `splice(2)`, `idle` the only timer, `sys` the system calls.

mod flow;
mod idle;
mod pipe;
mod socket;
mod sys;
#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::task::yield_now;

use crate::error::Blame;
use crate::transport::conn::Conn;
use crate::transport::drain::{DRAINED, Drain};
use flow::{Fault, Flow, Turn};
use idle::IdleTimer;
use socket::Socket;

/// After one connection failed, what it had sent before is still delivered, but for no longer than this.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// How a relay behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct RelayOptions {
    /// Ends a relay on which no byte moved in either direction for this long. `None`: never.
    pub(crate) idle: Option<Duration>,
    /// Ends it when the drain is over.
    pub(crate) drain: Option<Rc<Drain>>,
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
    /// The drain was over.
    Drained,
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

impl RelayEnd {
    /// In words for the log, and who has to look into it, when `a` is the client's; none after a regular end.
    pub(crate) fn failure(&self) -> Option<(Blame, String)> {
        match self {
            RelayEnd::Closed => None,
            // Either side could have said something.
            RelayEnd::Idle => Some((Blame::Downstream, "idle timeout".to_owned())),
            RelayEnd::Drained => Some((Blame::Odin, DRAINED.to_owned())),
            RelayEnd::Error { side, error, .. } => {
                let blame = if *side == Side::A { Blame::Downstream } else { Blame::Upstream };
                Some((blame, format!("{}: {error}", blame.as_str())))
            }
        }
    }
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
/// direction is passed on as a half-close; the other goes on. Both connections are closed when this returns: after an
/// error, and after an idle end that cut bytes off, with RST, so that neither peer takes a broken stream for a whole
/// one. Dropping the future earlier is such an end too.
///
/// Needs a tokio runtime with I/O, and with time unless nothing ever fails and `idle` is `None`. Set `TCP_NODELAY` on
/// both sockets: the relay writes each piece as soon as it has it.
pub(crate) async fn relay(
    a: Conn,
    b: Conn,
    early_from_a: Bytes,
    early_from_b: Bytes,
    options: &RelayOptions,
) -> RelayReport {
    let (a, b) = (Socket::new(a), Socket::new(b));
    let mut relay = Relay {
        a: &a,
        b: &b,
        a_to_b: Flow::new(&a, &b, early_from_a),
        b_to_a: Flow::new(&b, &a, early_from_b),
        idle: options.idle.map(IdleTimer::new),
        drain: options.drain.as_deref(),
        failure: None,
        last_bytes: None,
        whole: false,
    };
    let end = poll_fn(|cx| relay.poll(cx)).await;
    let cut = relay.a_to_b.is_cut() || relay.b_to_a.is_cut();
    relay.whole = !cut && matches!(end, RelayEnd::Closed | RelayEnd::Idle);
    RelayReport { a_to_b: relay.a_to_b.delivered, b_to_a: relay.b_to_a.delivered, end }
}

/// Both directions, and what holds for them together.
struct Relay<'s> {
    a: &'s Socket,
    b: &'s Socket,
    a_to_b: Flow<'s>,
    b_to_a: Flow<'s>,
    idle: Option<IdleTimer>,
    drain: Option<&'s Drain>,
    /// Set once a connection failed: its last bytes are being delivered, then this is the end.
    failure: Option<Failure>,
    /// Runs while those last bytes have to wait.
    last_bytes: Option<IdleTimer>,
    /// It ended, and no byte was lost: the peers may see a regular end.
    whole: bool,
}

struct Failure {
    side: Side,
    direction: Direction,
    error: io::Error,
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.a.reset_on_drop();
            self.b.reset_on_drop();
        }
    }
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        if self.failure.is_some() {
            return self.poll_last_bytes(cx);
        }
        let before = self.a_to_b.moved + self.b_to_a.moved;
        let (there, back) = loop {
            let registrations = self.a.registrations().wrapping_add(self.b.registrations());
            let there = match poll_direction(&mut self.a_to_b, self.a, cx) {
                Ok(turn) => turn,
                Err(fault) => return self.fail(Direction::AToB, fault, cx),
            };
            let back = match poll_direction(&mut self.b_to_a, self.b, cx) {
                Ok(turn) => turn,
                Err(fault) => return self.fail(Direction::BToA, fault, cx),
            };
            // Who waited for a socket before it was registered anew must ask again.
            if registrations == self.a.registrations().wrapping_add(self.b.registrations()) {
                break (there, back);
            }
        };
        if (there, back) == (Turn::Closed, Turn::Closed) {
            return Poll::Ready(RelayEnd::Closed);
        }
        if self.drain.is_some_and(Drain::over) {
            return Poll::Ready(RelayEnd::Drained);
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

    /// Ends as soon as the failed connection has no more bytes, the other one fails too, or the time or the drain is over.
    fn poll_last_bytes(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let Some(Failure { side, .. }) = self.failure else { return Poll::Pending };
        let flow = match side {
            Side::A => &mut self.a_to_b,
            Side::B => &mut self.b_to_a,
        };
        flow.truncated = true;
        let over = self.drain.is_some_and(Drain::over);
        let turn = flow.poll(cx);
        // Waiting for a source that failed means that the driver has not told yet; it will.
        if let Ok(Turn::SinkFull | Turn::SourceEmpty | Turn::Spent) = turn {
            let timer = self.last_bytes.get_or_insert_with(|| IdleTimer::new(LAST_BYTES));
            if !over && !timer.poll(false, cx) {
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

/// Moves what can be moved. A source that is not to be read now is muted, and asked whether it was reset: a flow that
/// waits for its source hears of that by reading.
fn poll_direction(flow: &mut Flow<'_>, source: &Socket, cx: &mut Context<'_>) -> Result<Turn, Fault> {
    let turn = flow.poll(cx)?;
    if matches!(turn, Turn::SinkFull | Turn::Closed) {
        source.mute().map_err(Fault::Source)?;
        if let Poll::Ready(error) = source.poll_reset(cx) {
            return Err(Fault::Source(error));
        }
    }
    Ok(turn)
}

/// Wakes this task after all that are ready have run and the I/O driver was asked for news.
fn let_others_run(cx: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(cx);
}
