//! How many connections one worker may have in use at one endpoint. Whoever finds no room waits in a queue; the first in
//! the queue gets the place that becomes free, and no newcomer does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use crate::error::{Error, Kind};
use crate::transport::timer::{Deadline, Elapsed};

/// See the module.
#[derive(Default)]
pub(crate) struct Gate {
    limit: Cell<usize>,
    used: Cell<usize>,
    /// The most that were in use at a time since [`Gate::take_peak`].
    peak: Cell<usize>,
    queue: RefCell<VecDeque<oneshot::Sender<Lease>>>,
    /// A connection in use has room for one more stream.
    stream_ended: Notify,
}

/// The right to have one connection in use. The next in the queue gets it when it is dropped.
pub(crate) struct Lease(Option<Rc<Gate>>);

impl Gate {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Gate { limit: Cell::new(limit), ..Gate::default() })
    }

    /// Another limit from now on. Leases over it run out by themselves; with a higher one, the queue moves up at once.
    pub(crate) fn set_limit(self: &Rc<Self>, limit: usize) {
        self.limit.set(limit);
        self.admit();
    }

    /// Connections in use.
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    /// The most that were in use at a time since this was asked last.
    pub(crate) fn take_peak(&self) -> usize {
        self.peak.replace(self.used.get())
    }

    /// Ready when a connection in use may have room for one more stream.
    pub(crate) fn stream_ended(&self) -> Notified<'_> {
        self.stream_ended.notified()
    }

    /// A lease, if there is room.
    pub(crate) fn try_lease(self: &Rc<Self>) -> Option<Lease> {
        let used = self.used.get();
        if used >= self.limit.get() {
            return None;
        }
        self.used.set(used + 1);
        self.peak.set(self.peak.get().max(used + 1));
        Some(Lease(Some(self.clone())))
    }

    /// A lease, after at most `patience` in the queue; zero waits as long as the deadline's limit allows.
    pub(crate) async fn lease(self: &Rc<Self>, patience: Duration, deadline: &mut Deadline) -> Result<Lease, Error> {
        if let Some(lease) = self.try_lease() {
            return Ok(lease);
        }
        let (sender, place) = oneshot::channel();
        self.queue.borrow_mut().push_back(sender);
        deadline.set(patience);
        match deadline.race(place).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_)) | Err(Elapsed) => {
                Err(Error::new(Kind::UpstreamBusy, format!("all {} connections to it are in use", self.limit.get())))
            }
        }
    }
}

impl Gate {
    /// Gives leases to the first in the queue, for as long as there is room.
    fn admit(self: &Rc<Self>) {
        loop {
            let Some(next) = self.queue.borrow_mut().pop_front() else { return };
            let Some(lease) = self.try_lease() else {
                self.queue.borrow_mut().push_front(next);
                return;
            };
            // One that waits no more is passed over. Its lease is given back here: its own `drop` would go on with the
            // queue inside this loop.
            if let Err(mut unwanted) = next.send(lease) {
                unwanted.0 = None;
                self.used.set(self.used.get() - 1);
            }
        }
    }
}

impl Lease {
    /// A stream of the connection has ended: one more may begin on it.
    pub(crate) fn stream_ended(&self) {
        if let Some(gate) = self.0.as_ref().filter(|gate| !gate.queue.borrow().is_empty()) {
            gate.stream_ended.notify_waiters();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(gate) = self.0.take() else { return };
        gate.used.set(gate.used.get() - 1);
        gate.admit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wait(gate: &Rc<Gate>, patience: Duration) -> Result<Lease, Error> {
        gate.lease(patience, &mut Deadline::default()).await
    }

    #[tokio::test]
    async fn the_first_in_the_queue_gets_what_becomes_free() {
        let gate = Gate::new(2);
        let (one, two) = (gate.try_lease().unwrap(), gate.try_lease().unwrap());
        assert!(gate.try_lease().is_none());
        let mut gone = Box::pin(wait(&gate, Duration::ZERO));
        let mut waiting = Box::pin(wait(&gate, Duration::ZERO));
        assert!(poll_once(&mut gone).await.is_none() && poll_once(&mut waiting).await.is_none());
        drop(gone);
        drop(one);
        assert_eq!(gate.used(), 2, "the one that waits has it already");
        assert!(gate.try_lease().is_none());
        let three = waiting.await.unwrap();
        drop((two, three));
        assert_eq!((gate.used(), gate.take_peak(), gate.take_peak()), (0, 2, 0));
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_it_may() {
        let gate = Gate::new(1);
        let held = gate.try_lease().unwrap();
        let error = wait(&gate, Duration::from_millis(10)).await.err().unwrap();
        assert_eq!(error.kind, Kind::UpstreamBusy);
        drop(held);
        assert!(wait(&gate, Duration::from_secs(1)).await.is_ok());
        assert_eq!(gate.used(), 0);
    }

    #[tokio::test]
    async fn a_higher_limit_lets_the_queue_move_up_at_once() {
        let gate = Gate::new(1);
        let _held = gate.try_lease().unwrap();
        let mut gone = Box::pin(wait(&gate, Duration::ZERO));
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(wait(&gate, Duration::ZERO))).collect();
        assert!(poll_once(&mut gone).await.is_none());
        for one in &mut waiting {
            assert!(poll_once(one).await.is_none());
        }
        drop(gone);
        gate.set_limit(3);
        let mut leases = Vec::new();
        for one in &mut waiting {
            leases.extend(poll_once(one).await.transpose().unwrap());
        }
        assert_eq!((leases.len(), gate.used()), (2, 3), "the first two go on, the third waits");
        gate.set_limit(1);
        drop(leases);
        assert!(poll_once(&mut waiting[2]).await.is_none(), "the lease that is left fills the lower limit");
        gate.set_limit(2);
        assert!(matches!(poll_once(&mut waiting[2]).await, Some(Ok(_))));
    }

    /// Polls once.
    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
