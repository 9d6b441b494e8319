//! A new binary takes over from a running one without a refused connection: it is given the listening sockets
//! themselves, with whoever waits in their queues, and the steering.
//!
//! ```text
//! old: spawn, manifest, descriptors ...                    <- ready | failed   stop accepting, drain, exit
//! new:        take them, start up, serve, say ready ->
//! ```
//!
//! Until the new process says that it is ready the old one has given nothing up. Must never be asked twice at once. The
//! channel stays: by it the old process, while it drains, hears that one more has taken over from the new one.

mod channel;
mod give;
pub(crate) mod supervisor;
mod take;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use give::{Attempt, Replacement, Successor};
pub(crate) use take::{Handed, Takeover};

/// The version of what the two processes say to each other.
const VERSION: u32 = 1;
/// Names the process that started this one to take over from it.
const PREDECESSOR: &str = "ODIN_PREDECESSOR";
/// How long a new process may take until it is ready: it compiles plugins.
const PATIENCE: Duration = Duration::from_secs(60);
const READY: &[u8] = b"ready";
const STOP: &[u8] = b"stop";
const REPLACED: &[u8] = b"replaced";

/// The path that this process was started by, which may be a link that leads to a new binary by the time of an upgrade.
pub(crate) fn binary() -> io::Result<PathBuf> {
    let running = std::env::current_exe()?;
    let named = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let in_path = || {
        std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(&named)).find(|file| file.is_file())
    };
    let named = match named.components().count() {
        0 => None,
        1 if !named.as_os_str().as_bytes().contains(&b'/') => in_path(),
        _ => std::path::absolute(&named).ok(),
    };
    // Whoever starts a process may name it as they like.
    let same = |file: &PathBuf| file.canonicalize().is_ok_and(|file| file == running);
    Ok(named.filter(same).unwrap_or(running))
}

/// Whom a listening socket is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Tag {
    /// The admin pages.
    Admin,
    /// Bound for a listener to the address that its config asked for.
    Bound { listener: String, address: SocketAddr },
    /// Connections of this listener are steered to it.
    Hidden { listener: String },
}

/// What comes first: in a file in memory, for it may be long.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    /// Of the steering, which has the first descriptors.
    steering: Option<String>,
    steering_descriptors: usize,
    /// One for each of the other descriptors.
    sockets: Vec<Tag>,
    /// Where systemd listens for the service.
    #[serde(default)]
    activated: BTreeSet<SocketAddr>,
    /// The last descriptor is the unix socket of the admin pages. A binary that knows nothing of it leaves it.
    #[serde(default)]
    admin_socket: bool,
    /// The keys of session tickets.
    #[serde(default)]
    tickets: Vec<u8>,
}
