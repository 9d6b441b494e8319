//! Odins of one network namespace take turns: each looks whether addresses are free, takes them, and tells. Two that look
//! at the same time would both find them free.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;
use std::time::{Duration, Instant};

/// Nobody is asked at this name; whoever has it has the turn.
const NAME: &str = "odin/turn";

/// A change takes milliseconds. And any user can hold the name, but shall not stop a change for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the name is tried.
const PAUSE: Duration = Duration::from_millis(3);

/// As long as it lives, the turn is this process's: others of this network namespace wait in [`turn`].
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn {
    /// None: it went on without. The name vanishes with the socket, hence with the process.
    _name: Option<UnixListener>,
}

/// Waits until no other Odin of this thread's network namespace has a turn, for at most two seconds, and takes it. To be
/// held from the look at what others have until they can be told what this one took.
pub fn turn() -> Turn {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match take() {
            Ok(name) => return Turn { _name: Some(name) },
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => thread::sleep(PAUSE),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "did not get the turn among the Odins of this network namespace (@{NAME}); going on without it"
                );
                return Turn { _name: None };
            }
        }
    }
}

fn take() -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?)
}
