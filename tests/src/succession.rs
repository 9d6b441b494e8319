//! Upgrades: one Odin takes over from another, and the test goes on with the new one.
//!
//! Must never leave a process behind: those that are nobody's children any more become the test's.

use std::sync::Mutex;

use rustix::process::Signal;

use crate::assert::Response;
use crate::odin::Odin;
use crate::process;
use crate::wait::until;

/// Who asks for an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `POST /upgrade`.
    Admin,
    /// SIGUSR2.
    Signal,
    /// `odin upgrade`.
    Command,
}

/// The processes that took over, in their order. They are killed when the test is over.
#[derive(Default)]
pub(crate) struct Successors(Mutex<Vec<Successor>>);

struct Successor {
    pid: u32,
    /// It was waited for: its number may be another's by now.
    gone: bool,
}

impl Successors {
    pub(crate) fn add(&self, pid: u32) {
        process::adopt_orphans();
        self.0.lock().unwrap().push(Successor { pid, gone: false });
    }

    pub(crate) fn last(&self) -> Option<u32> {
        self.0.lock().unwrap().last().map(|last| last.pid)
    }

    fn gone(&self, pid: u32) {
        self.0.lock().unwrap().iter_mut().filter(|one| one.pid == pid).for_each(|one| one.gone = true);
    }
}

impl Drop for Successors {
    fn drop(&mut self) {
        let all = self.0.get_mut().unwrap();
        for one in all.iter().filter(|one| !one.gone && process::is_running(one.pid)) {
            process::signal(one.pid, Signal::KILL);
        }
    }
}

impl Odin {
    /// `POST /upgrade`, whatever it answers; nothing is noted.
    pub async fn try_upgrade(&self) -> Response {
        process::adopt_orphans();
        self.post_admin("/upgrade").await
    }

    /// Goes on with this process, which a test knows to have taken over.
    pub fn succeeded_by(&self, pid: u32) {
        self.successors().add(pid);
    }

    /// As [`Odin::upgrade_by`] the admin pages.
    pub async fn upgrade(&self) -> u32 {
        self.upgrade_by(By::Admin).await
    }

    /// Lets the binary take over from the process that serves; answers the new process.
    pub async fn upgrade_by(&self, by: By) -> u32 {
        process::adopt_orphans();
        let pid = match by {
            By::Admin => {
                let answer = self.try_upgrade().await.has_status(200).json();
                answer["pid"].as_u64().expect("a process id").to_string()
            }
            By::Command => {
                let finished = self.run(&["upgrade"]).await;
                assert!(finished.success(), "{finished:?}");
                let said = finished.stdout.strip_prefix("odin: upgraded: process ");
                said.and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{finished:?}")).to_string()
            }
            By::Signal => {
                let (from, before) = (self.log().len(), format!("pid={}", self.pid()));
                process::signal(self.pid(), Signal::USR2);
                // The line about the upgrade before may come only now.
                let wanted = |line: &str| line.contains("a new process serves") && !line.ends_with(&before);
                let line = self.log().find_from(from, wanted).await.expect("the log tells of the upgrade");
                line.split("pid=").nth(1).unwrap_or_else(|| panic!("{line}")).to_string()
            }
        };
        let pid = pid.parse().unwrap_or_else(|_| panic!("a process id: {pid:?}"));
        self.successors().add(pid);
        pid
    }

    /// Waits until one of the processes that have served has ended; answers its exit code. One whose predecessor still
    /// runs is waited for by that one, which logs how it ended unless it ended well.
    pub async fn exit_code(&mut self, pid: u32) -> Option<i32> {
        if self.program().pid() == pid {
            return self.program().exit_code().await;
        }
        let code = until("the process exits", async || match process::ended(pid) {
            Some(status) => Some(status.exit_status()),
            None => (!process::exists(pid)).then_some(Some(0)),
        });
        let code = code.await;
        self.successors().gone(pid);
        let failed = format!("the process {pid} that took over has ended");
        assert!(!self.log().all().iter().any(|line| line.contains(&failed)), "{failed}");
        code
    }
}
