//! A new binary takes over, from this process's side. Must never let go of anything before the new process serves.

use std::pin::Pin;

use anyhow::{Context as _, anyhow};
use tokio::task::JoinHandle;

use super::state::{Act, Event, State};
use super::{Odin, Reply, answer};
use crate::systemd;
use crate::upgrade::{Attempt, Replacement, Successor, supervisor};

/// An upgrade that is under way, and who is told how it ended.
pub(super) struct Upgrade {
    attempt: Attempt,
    pub(super) reply: Option<Reply<u32>>,
}

impl Odin {
    /// Starts the binary again, as it is on the disk now; [`Odin::upgraded`] answers how that ended.
    pub(super) fn upgrade(&self, reply: Option<Reply<u32>>) {
        if let Err(error) = self.may(Event::Upgrade) {
            return answer(reply, Err(error));
        }
        match self.try_upgrade() {
            Ok(attempt) => drop(self.on(Event::UpgradeBegun(Upgrade { attempt, reply }))),
            Err(error) => self.not_upgraded(reply, error),
        }
    }

    fn try_upgrade(&self) -> anyhow::Result<Attempt> {
        supervisor::follows()?;
        let binary = self.binary.as_ref().map_err(|error| anyhow!("cannot tell the path of this binary: {error}"))?;
        let given = self.sockets.borrow().hand_over().context("cannot share the listening sockets")?;
        let admin = self.state.borrow().running().map(|running| running.admin.clone());
        tracing::info!(binary = %binary.display(), "starting a new process");
        Attempt::start(binary, admin.context("this process drains")?, given)
    }

    /// Ready when the new process serves or has ended; never while no upgrade is under way.
    pub(super) async fn upgraded(&self) -> anyhow::Result<Replacement> {
        std::future::poll_fn(|context| match &mut *self.state.borrow_mut() {
            State::HandingOver { upgrade, .. } => Pin::new(&mut upgrade.attempt).poll(context),
            _ => std::task::Poll::Pending,
        })
        .await
    }

    /// The new process is gone. Answers whether a reload is due that was refused meanwhile.
    pub(super) fn upgrade_failed(&self, error: anyhow::Error) -> bool {
        let Act::ServeOn { upgrade, reload } = self.on(Event::UpgradeFailed) else { return false };
        self.not_upgraded(upgrade.reply, error);
        reload
    }

    fn not_upgraded(&self, reply: Option<Reply<u32>>, error: anyhow::Error) {
        tracing::error!("not upgraded: {error:#}");
        self.sockets.borrow_mut().restore();
        self.steer_again(&self.assembly());
        answer(reply, Err(error));
    }

    /// The new process serves, so that this one needs not.
    pub(super) fn retire(&self, by: Replacement) -> Option<Successor> {
        let pid = by.pid();
        tracing::info!(pid, "a new process serves");
        self.sockets.borrow().retire();
        systemd::replaced_by(pid);
        by.watch().inspect_err(|error| tracing::warn!(%error, "nobody will notice if it dies")).ok()
    }
}

impl Upgrade {
    /// This process is stopped, and the new one with it. The task ends when that is gone.
    pub(super) fn cancel(self) -> JoinHandle<()> {
        let Upgrade { attempt, reply } = self;
        attempt.cancel();
        tokio::task::spawn_local(async move {
            if let Ok(new) = attempt.await {
                // It did start, before it could read that it shall not.
                new.stop();
            }
            answer(reply, Err(anyhow!("this process was stopped")));
        })
    }
}
