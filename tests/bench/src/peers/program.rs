//! One running program on a CPU of its own, with its output in a file, ended when dropped.
//!
//! It ends only processes that it started, by their ids, and must leave none of them running.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{cpu, memory};

const START: Duration = Duration::from_secs(15);

/// A program that runs. Dropping it ends it and all that it started.
pub(super) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(super) fn start(
        name: &'static str,
        command: (PathBuf, Vec<String>),
        cpu: usize,
        dir: &Path,
    ) -> Result<Program> {
        let (binary, arguments) = command;
        let log = dir.join(format!("{}.log", name.to_lowercase()));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new("taskset")
            .args(["-c", &cpu.to_string()])
            .arg(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot run `taskset` (package util-linux)")?;
        Ok(Program { name, child, log })
    }

    /// Waits until someone listens there: `connects` tries to connect.
    pub(super) fn wait_until_open(&mut self, place: &str, connects: impl Fn() -> bool) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < START {
            if let Some(status) = self.child.try_wait()? {
                bail!(self.explain(&format!("did not start but ended with {status}")));
            }
            if connects() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!(self.explain(&format!("does not listen on {place} after {START:?}")))
    }

    /// CPU time used so far, all threads and processes. A worker may be younger than the socket that it serves, so the
    /// family is looked up each time.
    pub(super) fn cpu_nanos(&self) -> Result<u64> {
        cpu::nanos(&cpu::family(self.child.id())?)
    }

    /// Memory in use now, all processes.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        memory::resident_bytes(&cpu::family(self.child.id())?)
    }

    /// Sends a signal to the program itself.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal).with_context(|| self.explain("cannot be signalled"))
    }

    /// What to say when something goes wrong with it.
    pub(super) fn explain(&self, what: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("(empty)");
        format!("{} {what}; its log {} ends: {last}", self.name, self.log.display())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Without its master a worker would live on: all that are there now.
        for pid in cpu::family(self.child.id()).unwrap_or_else(|_| vec![self.child.id()]) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself: nothing to do then.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}
