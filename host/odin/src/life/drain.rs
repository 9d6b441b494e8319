//! The end of the process: it was stopped, or a new process serves; what runs is waited for.

use std::pin::pin;
use std::time::Duration;

use odin_proxy::Draining;
use tokio::task::JoinHandle;

use super::hand_over::Upgrade;
use super::signals::Signals;
use super::state::{Act, End, Event, Patience};
use super::{Life, Odin, Order, Running, answer};
use crate::systemd;
use crate::upgrade::{Successor, Takeover};

/// How long a process that ends waits for a new one to be gone that it has cancelled.
const GONE: Duration = Duration::from_secs(1);

impl Life {
    pub(super) async fn drain(self, running: Running, end: End, takeover: Option<Takeover>) -> anyhow::Result<()> {
        let Life { odin, mut signals, admin, orders, reloads, watch } = self;
        // This tells clients that wait for an answer that the process takes no more orders.
        drop((orders, reloads, watch));
        // Another process may ask for certificates now.
        odin.acme.borrow_mut().stop();
        match end {
            End::Stopped(upgrade) => {
                systemd::stopping();
                let gone = upgrade.map(Upgrade::cancel);
                let result = odin.drain(&mut signals, running, Patience::Short, gone, None).await;
                // Not before: the pages tell of the drain until it is over. An answer that is due may be about its end.
                admin.stop().await;
                result
            }
            End::Replaced(upgrade, by) => {
                let pid = by.pid();
                let successor = odin.retire(by);
                if let Some(takeover) = takeover {
                    takeover.replaced();
                }
                // The pages belong to the new process.
                let stopped = admin.leave();
                // Not before: a client that is told may ask for more, and must reach the new process.
                answer(upgrade.reply, Ok(pid));
                let result = odin.drain(&mut signals, running, Patience::Long, None, successor).await;
                stopped.await;
                result
            }
        }
    }
}

impl Odin {
    /// Accepts no more, and waits for what runs, and then for a cancelled process to be gone.
    async fn drain(
        &self,
        signals: &mut Signals,
        running: Running,
        patience: Patience,
        gone: Option<JoinHandle<()>>,
        successor: Option<Successor>,
    ) -> anyhow::Result<()> {
        tracing::info!("draining");
        let assembly = self.assembly();
        let draining = |patience| match patience {
            Patience::Long => Draining { grace: assembly.config.drain_timeout, leaving: true },
            Patience::Short => Draining { grace: assembly.config.shutdown_grace, leaving: false },
            Patience::None => Draining { grace: Duration::ZERO, leaving: false },
        };
        let Running { proxy, admin } = running;
        drop(admin);
        let first = draining(patience);
        let hurry = proxy.hurry();
        // First: who is steered to a socket now would wait in a queue that closes.
        self.sockets.borrow_mut().close();
        let mut over = pin!(async {
            if let Err(error) = tokio::task::spawn_blocking(move || proxy.drain(first)).await {
                tracing::error!(%error, "the drain failed");
            }
            if let Some(gone) = gone {
                let _ = tokio::time::timeout(GONE, gone).await;
            }
        });
        let mut deserted = pin!(async {
            match successor {
                Some(successor) => successor.failed().await,
                None => std::future::pending().await,
            }
            // Whoever started Odin is to start it again, which happens when this process ends.
            systemd::replaced_by(std::process::id());
        });
        let mut alone = false;
        loop {
            let event = tokio::select! {
                // The drain must have begun before it can be hurried.
                biased;
                () = over.as_mut() => Event::Drained,
                order = signals.next() => match order {
                    Order::Stop => Event::Stop,
                    Order::Reload(_) | Order::Upgrade(_) => continue,
                },
                () = deserted.as_mut(), if !alone => {
                    alone = true;
                    Event::SuccessorFailed
                }
            };
            match self.on(event) {
                Act::Hurry(patience) => hurry.drain(draining(patience)),
                Act::Exit(result) => return result.map_err(anyhow::Error::msg),
                _ => {}
            }
        }
    }
}
