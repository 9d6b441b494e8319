//! A running odin process and what it prints. Never outlives the test: it is killed when it is dropped.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

use crate::output::Lines;
use crate::paths;
use crate::wait::within;

/// A process that a test has started.
pub struct Program {
    child: Child,
    pid: u32,
    /// What it prints on standard output: the access log.
    pub stdout: Lines,
    /// What it prints on standard error: the start lines and Odin's own log.
    pub stderr: Lines,
}

/// A process that has ended, and all that it said.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Fails unless it has printed all of these words, on either stream.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(said.contains(word), "wanted {word:?} in:\n{said}");
        }
        self
    }
}

impl Program {
    /// Starts the binary with these arguments.
    pub fn spawn(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        let binary = paths::odin();
        let mut child = Command::new(&binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let pid = child.id().expect("a new process has an id");
        let stdout = Lines::collect(child.stdout.take().expect("standard output is a pipe"));
        let stderr = Lines::collect(child.stderr.take().expect("standard error is a pipe"));
        Program { child, pid, stdout, stderr }
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended by itself.
    pub async fn finished(mut self) -> Finished {
        let what = format!("odin exits; it said:\n{}", self.said());
        let status = within(&what, self.child.wait()).await.expect("a child can be waited for");
        self.stdout.ended().await;
        self.stderr.ended().await;
        Finished { status, stdout: self.stdout.all().join("\n"), stderr: self.stderr.all().join("\n") }
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines that it has printed, for the message of a failed test.
    pub fn said(&self) -> String {
        let lines = self.stderr.all();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state = match self.child.try_wait() {
                Ok(Some(status)) => format!("it has ended: {status}"),
                _ => "it is running".to_string(),
            };
            eprintln!("--- odin's log ---\n{}\n--- {state} ---", self.said());
        }
    }
}
