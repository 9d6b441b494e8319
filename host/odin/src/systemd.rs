//! What systemd is told, if it started this process: ready, reloading, another process, alive.

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
    let told = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => tell_abstract(name, state),
        None => sd_notify::notify(state),
    };
    if let Err(error) = told {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// As sd_notify(3) has it for a name that begins with `@`, which the crate takes for that of a file.
fn tell_abstract(name: &[u8], state: &[NotifyState<'_>]) -> io::Result<()> {
    let lines: String = state.iter().map(|state| format!("{state}\n")).collect();
    let address = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(lines.as_bytes(), &address).map(drop)
}
