//! How the connections of a listener come to their end: the listener was removed, or the whole worker stops.

use std::cell::Cell;
use std::time::Duration;

/// Between the deadline and the cut: for what ends by itself when it is told, and for its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// From leaving to draining: by then, clients that use a connection have used it and were told.
const LEAVING: Duration = Duration::from_secs(5);

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
    /// Exchanges that run go on; a connection ends when it is idle.
    Draining,
    /// The deadline is over: relays end now.
    Over,
    /// What is still there is dropped.
    Cut,
}

/// The phases that follow each other from a removal to the last cut, and how long each takes, when `deadline` is the
/// time from the first to [`Phase::Over`].
pub(crate) fn schedule(deadline: Duration) -> [(Phase, Duration); 4] {
    let leaving = LEAVING.min(deadline);
    [
        (Phase::Leaving, leaving),
        (Phase::Draining, deadline - leaving),
        (Phase::Over, LAST_WORDS),
        (Phase::Cut, Duration::ZERO),
    ]
}

/// What the connections of one listener look at. They are woken when it changes.
#[derive(Debug, Default)]
pub(crate) struct Drain(Cell<Phase>);

impl Drain {
    /// The connection shall not be kept.
    pub(crate) fn begun(&self) -> bool {
        self.0.get() >= Phase::Leaving
    }

    /// A connection without an exchange ends now.
    pub(crate) fn ends_idle(&self) -> bool {
        self.0.get() >= Phase::Draining
    }

    /// What has no end of its own ends now.
    pub(crate) fn over(&self) -> bool {
        self.0.get() >= Phase::Over
    }

    pub(crate) fn cut(&self) -> bool {
        self.0.get() >= Phase::Cut
    }

    /// Goes on to a phase; never back.
    pub(crate) fn advance(&self, phase: Phase) {
        self.0.set(self.0.get().max(phase));
    }
}
