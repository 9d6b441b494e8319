//! How this process ends: a new binary takes over, or it is stopped; what runs is waited for.
//!
//! Must never let go of anything before the new process serves.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use odin_proxy::Draining;
use rustix::process::{Pid, Signal};
use tokio::sync::oneshot;

use super::Odin;
use crate::systemd;
use crate::upgrade::{Attempt, Serving, Successor, supervisor};

impl Odin {
    /// Starts the binary again, as it is on the disk now, and lets it take over. Answers its process id once it
    /// serves; then this process is to be drained. After an error it serves on.
    pub(crate) async fn upgrade(&self) -> anyhow::Result<u32> {
        if self.upgrading.replace(true) {
            bail!("a new binary is about to take over already");
        }
        let result = self.try_upgrade().await;
        self.canceller.take();
        if self.proxy.borrow().is_none() {
            self.upgrading.set(false);
            // It came up all the same, and is what was stopped.
            if let Ok(Serving { mut child, .. }) = result {
                let pid = Pid::from_raw(child.id().cast_signed());
                pid.map(|pid| rustix::process::kill_process(pid, Signal::TERM));
                // It has a drain of its own; this process does not wait for it.
                std::thread::spawn(move || child.wait());
            }
            bail!("this process was stopped");
        }
        match result {
            Ok(serving) => {
                let pid = serving.child.id();
                tracing::info!(pid, "a new process serves");
                self.sockets.borrow().retire();
                systemd::replaced_by(pid);
                let watched = Successor::watch(serving);
                let watched = watched.inspect_err(|error| tracing::warn!(%error, "nobody will notice if it dies"));
                *self.successor.borrow_mut() = watched.ok();
                Ok(pid)
            }
            Err(error) => {
                tracing::error!("not upgraded: {error:#}");
                self.sockets.borrow_mut().restore();
                self.upgrading.set(false);
                self.steer_again(&self.assembly());
                Err(error)
            }
        }
    }

    async fn try_upgrade(&self) -> anyhow::Result<Serving> {
        if self.proxy.borrow().is_none() {
            bail!("this process drains");
        }
        supervisor::follows()?;
        let binary = self.binary.as_ref().map_err(|error| anyhow!("cannot tell the path of this binary: {error}"))?;
        let given = self.sockets.borrow().hand_over().context("cannot share the listening sockets")?;
        let admin = self.admin.borrow().clone().context("this process drains")?;
        tracing::info!(binary = %binary.display(), "starting a new process");
        let attempt = Attempt::start(binary)?;
        *self.canceller.borrow_mut() = Some(attempt.canceller());
        let (told, result) = oneshot::channel();
        // Not one of the runtime's threads: a process that is stopped does not wait for a new one that hangs.
        std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            // Nobody is there to be told when this process is stopped meanwhile.
            let _ = told.send(attempt.finish(&admin, given));
        })?;
        result.await?
    }

    /// Whether a reload was refused because of an upgrade that has failed by now; asked once.
    pub(crate) fn missed_reload(&self) -> bool {
        self.missed_reload.take()
    }

    /// This process is stopped, and an upgrade that is under way with it.
    pub(crate) fn cancel_upgrade(&self) {
        if let Some(canceller) = self.canceller.take() {
            canceller.cancel();
        }
    }

    /// Waits until a new process that was cancelled is gone.
    pub(crate) async fn upgrade_over(&self) {
        const STEP: Duration = Duration::from_millis(5);
        for _ in 0..200 {
            if !self.upgrading.get() {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Waits until the process that took over has ended by a failure: then nobody serves.
    pub(crate) async fn successor_failed(&self) {
        let successor = self.successor.borrow_mut().take();
        match successor {
            Some(successor) => successor.failed().await,
            None => std::future::pending().await,
        }
    }

    /// A drain that has begun leaves so long from now on.
    pub(crate) fn hurry(&self, grace: Duration) {
        if let Some(hurry) = &*self.hurry.borrow() {
            hurry.drain(Draining { grace, leaving: false });
        }
    }

    /// Accepts no more, and waits for what runs.
    pub(crate) async fn drain(&self, draining: Draining) {
        let Some(proxy) = self.proxy.borrow_mut().take() else { return };
        *self.hurry.borrow_mut() = Some(proxy.hurry());
        self.admin.take();
        // First: who is steered to a socket now would wait in a queue that closes.
        self.sockets.borrow_mut().close();
        if let Err(error) = tokio::task::spawn_blocking(move || proxy.drain(draining)).await {
            tracing::error!(%error, "the drain failed");
        }
    }
}
