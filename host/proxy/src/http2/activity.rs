//! What goes on in an HTTP/2 connection of a client: how many exchanges are open, and whether anything moves.
//!
//! hyper asks a body for more only when the client takes it, so a body cannot notice a client that stalls. The
//! connection can: it sees that there are responses and that none of them moves.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How long a connection that was told to end may take, once nothing is open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Shared by a connection and its exchanges.
#[derive(Default)]
pub(crate) struct Activity {
    /// Exchanges that wait for the head of their response: they have deadlines of their own.
    waiting: Cell<usize>,
    /// Exchanges whose response is being sent.
    sending: Cell<usize>,
    /// Grows with everything that happens.
    steps: Cell<u64>,
}

impl Activity {
    /// Changes whenever something has happened.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// True once there was an exchange.
    pub(crate) fn has_begun(&self) -> bool {
        self.steps.get() > 0
    }

    /// True when no exchange is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.get() + self.sending.get() == 0
    }

    /// How long nothing may happen from here on; zero for ever.
    pub(crate) fn patience(&self, idle: Duration, ending: bool) -> Duration {
        match (self.waiting.get(), self.sending.get()) {
            (0, 0) if ending => LAST_WORDS,
            (0, _) => idle,
            _ => Duration::ZERO,
        }
    }

    /// Something has happened.
    pub(crate) fn step(&self) {
        self.steps.set(self.steps.get().wrapping_add(1));
    }
}

/// One open exchange of a connection.
pub(crate) struct OpenExchange {
    activity: Rc<Activity>,
    sending: Cell<bool>,
}

impl OpenExchange {
    pub(crate) fn new(activity: &Rc<Activity>) -> Self {
        activity.waiting.set(activity.waiting.get() + 1);
        activity.step();
        OpenExchange { activity: activity.clone(), sending: Cell::new(false) }
    }

    /// The head of the response is there.
    pub(crate) fn answered(&self) {
        if !self.sending.replace(true) {
            self.activity.waiting.set(self.activity.waiting.get() - 1);
            self.activity.sending.set(self.activity.sending.get() + 1);
            self.activity.step();
        }
    }

    /// For the request's body: another task may be reading it.
    pub(crate) fn activity(&self) -> Rc<Activity> {
        self.activity.clone()
    }

    /// A piece of a body went through.
    pub(crate) fn moved(&self) {
        self.activity.step();
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        let count = if self.sending.get() { &self.activity.sending } else { &self.activity.waiting };
        count.set(count.get() - 1);
        self.activity.step();
    }
}
