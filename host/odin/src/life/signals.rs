//! The signals that Odin obeys.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Order;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

impl Signals {
    /// From here on none of them ends the process by itself.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// What the next one asks for. Safe to cancel.
    pub(super) async fn next(&mut self) -> Order {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.user2.recv() => Order::Upgrade(None),
            _ = self.hangup.recv() => Order::Reload(None),
        }
    }
}
