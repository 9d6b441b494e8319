//! The TLS handshakes of a worker that go on. When there are too many the oldest one ends: a client that answers is through in
//! an instant, so the oldest is most likely of one that does not, and those cannot keep others out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Anybody can make a handshake fail: the log tells of one in so long.
const TOLD_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Handshakes {
    begun: Cell<u64>,
    /// By when they began, each with what ends it.
    open: RefCell<BTreeMap<u64, Rc<Notify>>>,
    told: Cell<Option<Instant>>,
}

impl Handshakes {
    /// One begins, and goes on as long as what is returned is there. There are `limit` of them at most.
    pub(crate) fn begin(self: &Rc<Self>, limit: usize) -> Handshake {
        let mut open = self.open.borrow_mut();
        while open.len() >= limit
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.notify_one();
        }
        let (number, over) = (self.begun.get(), Rc::new(Notify::new()));
        self.begun.set(number + 1);
        open.insert(number, over.clone());
        Handshake { of: self.clone(), number, over }
    }

    /// Whether the log may tell of one that has failed.
    pub(crate) fn may_tell(&self) -> bool {
        let now = Instant::now();
        let may = self.told.get().is_none_or(|told| now - told >= TOLD_EVERY);
        if may {
            self.told.set(Some(now));
        }
        may
    }
}

/// See [`Handshakes::begin`].
pub(crate) struct Handshake {
    of: Rc<Handshakes>,
    number: u64,
    over: Rc<Notify>,
}

impl Handshake {
    /// What `work` makes; none when others need the place before.
    pub(crate) async fn race<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.over.notified() => None,
            done = work => Some(done),
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.of.open.borrow_mut().remove(&self.number);
    }
}
