//! The process that took over, as seen from the one that drains: its child, which nobody else would notice to be gone.

use std::io;
use std::process::ExitStatus;

use tokio::sync::oneshot;

use super::Replacement;

/// A process that serves in place of this one.
pub(crate) struct Successor {
    pid: u32,
    /// How it ended, and whether nobody had taken over from it by then.
    ended: oneshot::Receiver<io::Result<(ExitStatus, bool)>>,
}

impl Successor {
    /// Waits for it in a thread, so that it leaves no zombie.
    pub(crate) fn watch(serving: Replacement) -> io::Result<Successor> {
        let (tell, ended) = oneshot::channel();
        let pid = serving.pid();
        // Nobody is told when this process ends first.
        std::thread::Builder::new().name("successor".to_owned()).spawn(move || tell.send(serving.wait()))?;
        Ok(Successor { pid, ended })
    }

    /// Waits until it has failed; for ever if it ends well, or one more has taken over from it.
    pub(crate) async fn failed(self) {
        match self.ended.await {
            Ok(Ok((status, true))) if !status.success() => {
                tracing::error!("the process {} that took over has ended ({status}): nobody serves", self.pid);
            }
            _ => std::future::pending().await,
        }
    }
}
