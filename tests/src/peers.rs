//! Programs of other makes that a test runs: whether they are there, and what they say.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::paths;

/// As slow as the slowest scanner.
const PATIENCE: Duration = Duration::from_secs(150);

/// Whether the system has this program.
pub fn has(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// A program that `tests/tls/setup.sh` has made; none when that did not run.
pub fn tool(name: &str) -> Option<PathBuf> {
    Some(tls_folder().join(".venv/bin").join(name)).filter(|path| path.is_file())
}

/// Where the clients of TLS are.
pub fn tls_folder() -> PathBuf {
    paths::workspace().join("tests/tls")
}

/// Runs it to its end, with nothing to read.
pub async fn ran(program: impl AsRef<OsStr>, arguments: &[&str]) -> Output {
    let program = Path::new(program.as_ref());
    let mut command = Command::new(program);
    let running = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = tokio::time::timeout(PATIENCE, running).await;
    let ended = ended.unwrap_or_else(|_| panic!("{} does not end in {PATIENCE:?}", program.display()));
    ended.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// What it says, on either output.
pub async fn said(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    let ran = ran(program, arguments).await;
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

/// The lines of JSON that it says; it must end well.
pub async fn told(program: impl AsRef<OsStr>, arguments: &[&str]) -> Vec<serde_json::Value> {
    let ran = ran(program, arguments).await;
    let (out, faults) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{out}\n{faults}", ran.status);
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}
