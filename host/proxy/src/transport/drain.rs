//! How the connections of a listener come to their end: the listener was removed, or the whole worker stops.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Between the deadline and the cut: for what ends by itself when it is told, and for its last words.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// From leaving to draining: by then, clients that use a connection have used it and were told.
const LEAVING: Duration = Duration::from_secs(5);

/// As much, for the few whom nobody could tell, when nobody serves in the place of this process and it is to go soon.
const STOPPING: Duration = Duration::from_secs(1);

/// Why a connection ended, for the log.
pub(crate) const DRAINED: &str = "the drain was over";

/// How far the end has come. Each phase holds for all later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nobody thinks of an end.
    #[default]
    Serving,
    /// Exchanges go on, and begin, and tell their clients that theirs was the last one of the connection: nobody who
    /// sends a request right now meets a closed door.
    Leaving,
    /// Exchanges that run go on; a connection ends when it is idle, and its client could know that it would.
    Draining,
    /// The deadline is over: relays end now.
    Over,
    /// What is still there is dropped.
    Cut,
}

/// The phases that follow each other until the last cut, and when each begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    steps: [(Phase, Instant); 4],
    patience: Duration,
}

impl Schedule {
    /// From now on, when `over` is the time of [`Phase::Over`]. Nobody has to leave for somebody else if not `leaving`.
    pub(crate) fn new(over: Instant, leaving: bool) -> Self {
        let now = Instant::now();
        let (draining, patience) = if leaving { (over.min(now + LEAVING), LEAVING) } else { (now, STOPPING) };
        let steps =
            [(Phase::Leaving, now), (Phase::Draining, draining), (Phase::Over, over), (Phase::Cut, over + LAST_WORDS)];
        Schedule { steps, patience }
    }

    /// The phase of this moment.
    pub(crate) fn phase(&self) -> Phase {
        let now = Instant::now();
        self.steps.iter().rev().find(|(_, at)| *at <= now).map_or(Phase::Serving, |(phase, _)| *phase)
    }

    /// When the phase after this one begins.
    pub(crate) fn after(&self, phase: Phase) -> Option<Instant> {
        self.steps.iter().find(|(other, _)| *other > phase).map(|(_, at)| *at)
    }
}

/// What the connections of one listener look at. They are woken when it changes.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    phase: Cell<Phase>,
    patience: Cell<Duration>,
}

impl Drain {
    /// The connection shall not be kept.
    pub(crate) fn begun(&self) -> bool {
        self.phase() >= Phase::Leaving
    }

    /// A connection without an exchange ends now.
    pub(crate) fn ends_idle(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// How long a client may take to its next request that was promised the connection, and learns only with that
    /// request that it ends: the response before it had begun before the drain had.
    pub(crate) fn patience(&self) -> Duration {
        self.patience.get()
    }

    /// What has no end of its own ends now.
    pub(crate) fn over(&self) -> bool {
        self.phase() >= Phase::Over
    }

    /// Runs the future until the drain is over, for a task that is woken then; none when it is.
    pub(crate) async fn race<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Pending if self.over() => Poll::Ready(None),
            polled => polled.map(Some),
        })
        .await
    }

    pub(crate) fn cut(&self) -> bool {
        self.phase() >= Phase::Cut
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Goes on to a phase; never back.
    pub(crate) fn advance(&self, phase: Phase, schedule: &Schedule) {
        self.phase.set(self.phase.get().max(phase));
        self.patience.set(schedule.patience);
    }
}
