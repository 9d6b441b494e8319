//! A running odin process and what it prints. Never outlives the test: it is killed when it is dropped.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
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
    /// Its runtime folder, where no other Odin of this machine is.
    _runtime: TempDir,
}

/// A script to be started as Odin, which it becomes: `$ODIN` in it is the binary. The folder is its own.
pub fn script(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("odin");
    let text = format!("#!/bin/bash\nODIN={}\n{text}\n", paths::odin().display());
    std::fs::write(&file, text).expect("a file is written");
    std::fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("it is this user's");
    (folder, file)
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

/// How a process is started, beside its arguments.
#[derive(Clone, Default)]
pub struct Launch {
    /// The command that starts Odin, and becomes it; empty: itself.
    pub by: Vec<String>,
    /// The file that is started; none: the binary under test.
    pub binary: Option<PathBuf>,
    /// More of the environment.
    pub environment: Vec<(String, String)>,
    /// A socket as standard input, for [`Launch::by`] to pass on.
    pub stdin: Option<Arc<OwnedFd>>,
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
        Program::launch(&Launch::default(), arguments)
    }

    /// Starts the binary in this way.
    pub fn launch(launch: &Launch, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        let odin = launch.binary.clone().unwrap_or_else(paths::odin);
        let binary = launch.by.first().map_or(odin.clone(), PathBuf::from);
        let stdin = match &launch.stdin {
            Some(socket) => Stdio::from(socket.try_clone().expect("a socket can be shared")),
            None => Stdio::null(),
        };
        let runtime = tempfile::tempdir().expect("a temporary folder");
        // For an Odin that becomes another user.
        std::fs::set_permissions(runtime.path(), Permissions::from_mode(0o755)).expect("the test's own folder");
        let mut command = Command::new(&binary);
        command
            .args(launch.by.iter().skip(1))
            .args((!launch.by.is_empty()).then_some(odin))
            .args(arguments)
            .env("RUNTIME_DIRECTORY", runtime.path())
            // Beside the binary under test: one for all tests, and not the user's.
            .env("CACHE_DIRECTORY", paths::odin().with_file_name("compile-cache"))
            .envs(launch.environment.iter().cloned())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = loop {
            match command.spawn() {
                // A test beside this one forked while the binary was being copied, and has not yet begun its own program.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                spawned => break spawned.unwrap_or_else(|error| panic!("{}: {error}", binary.display())),
            }
        };
        let pid = child.id().expect("a new process has an id");
        let stdout = Lines::collect(child.stdout.take().expect("standard output is a pipe"));
        let stderr = Lines::collect(child.stderr.take().expect("standard error is a pipe"));
        Program { child, pid, stdout, stderr, _runtime: runtime }
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

    /// Waits until it has ended; answers its exit code, none when a signal ended it.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let what = format!("process {} exits; it said:\n{}", self.pid, self.said());
        within(&what, self.child.wait()).await.expect("a child can be waited for").code()
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
