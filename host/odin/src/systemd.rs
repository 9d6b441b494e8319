//! What systemd is told, if it started this process: ready, reloading, another process, alive.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// Serves, or serves again after a reload.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Reads the config again.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub(crate) fn replaced_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// Is alive.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd waits for a sign of life; none if it does not.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(state: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell, which is no error.
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let lines: String = state.iter().map(|state| format!("{state}\n")).collect();
    if let Err(error) = send(&socket, lines.as_bytes()) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// As sd_notify(3) has it, but for the crate's `notify`: that knows no name that begins with `@`, and waits for a reader
/// that does not read.
fn send(socket: &OsStr, lines: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(lines, &address).map(drop)
}
