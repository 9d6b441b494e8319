//! Tells the other Odins of this network namespace what is steered here: a thread behind a unix socket with an abstract
//! name. Such names belong to the namespace and vanish with the process, so there is nothing to clean up.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use crate::Binding;

/// What every such name begins with; what follows tells them apart.
pub(crate) const NAMES: &str = "odin/steer/";

/// A slow asker does not keep others waiting for longer.
const ANSWER: Duration = Duration::from_secs(1);

/// Names that this process answers at: it does not ask itself.
static OWN: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// What one Odin tells another.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) pid: u32,
    pub(crate) bindings: Vec<Binding>,
    /// Where its hidden sockets listen: nobody else's business.
    pub(crate) hidden: Vec<std::net::SocketAddr>,
    /// Whose process it is; the kernel tells.
    #[serde(skip)]
    pub(crate) uid: u32,
}

/// The socket, what it tells, and the thread once it runs.
pub(crate) struct Announcement {
    name: Vec<u8>,
    listener: Mutex<Option<UnixListener>>,
    answer: Arc<Mutex<Answer>>,
    /// Ends the thread.
    stop: Mutex<Option<Arc<OwnedFd>>>,
}

impl Announcement {
    /// The socket is made early, so that the uid that others see is the one that could load the program; they wait for
    /// the answer.
    pub(crate) fn new() -> io::Result<Announcement> {
        let pid = std::process::id();
        // The name may be taken by a process that goes on for one that had this pid.
        let names = (0..100).map(|more| match more {
            0 => format!("{NAMES}{pid}"),
            more => format!("{NAMES}{pid}/{more}"),
        });
        for name in names {
            match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?) {
                Ok(listener) => return Announcement::at(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Goes on at a socket that another process handed over.
    pub(crate) fn at(listener: UnixListener) -> io::Result<Announcement> {
        // Whoever asks may be gone, or another process may have answered, before it is accepted here.
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let name = address.as_abstract_name().unwrap_or_default().to_vec();
        lock(&OWN).push(name.clone());
        Ok(Announcement { name, listener: Mutex::new(Some(listener)), answer: Arc::default(), stop: Mutex::default() })
    }

    /// A duplicate of the socket.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        let listener = lock(&self.listener);
        let listener = listener.as_ref().ok_or_else(|| io::Error::other("this process has already retired"))?;
        Ok(listener.try_clone()?.into())
    }

    pub(crate) fn set(&self, bindings: Vec<Binding>, hidden: Vec<std::net::SocketAddr>) {
        *lock(&self.answer) = Answer { pid: std::process::id(), bindings, hidden, uid: 0 };
    }

    /// Starts to answer, in a thread that has the capabilities of the caller's.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut stop = lock(&self.stop);
        if stop.is_some() {
            return Ok(());
        }
        let listener = UnixListener::from(self.socket()?);
        let event = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let (answer, stopped) = (Arc::clone(&self.answer), Arc::clone(&event));
        thread::Builder::new().name("odin-steer".into()).spawn(move || {
            if let Err(error) = serve(&listener, &answer, &stopped) {
                tracing::warn!(%error, "other Odins are no longer told what is steered here");
            }
        })?;
        *stop = Some(event);
        Ok(())
    }

    /// Stops to answer.
    pub(crate) fn stop(&self) {
        if let Some(event) = lock(&self.stop).take() {
            let _ = rustix::io::write(&event, &1_u64.to_ne_bytes());
        }
        if lock(&self.listener).take().is_some() {
            let mut own = lock(&OWN);
            if let Some(at) = own.iter().position(|name| *name == self.name) {
                own.swap_remove(at);
            }
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether this process answers at that name.
pub(crate) fn is_own(name: &[u8]) -> bool {
    lock(&OWN).iter().any(|own| own == name)
}

fn serve(listener: &UnixListener, answer: &Mutex<Answer>, stop: &OwnedFd) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        if !fds[1].revents().is_empty() {
            return Ok(());
        }
        match listener.accept() {
            // Whoever hangs up early has lost interest.
            Ok((stream, _)) => drop(tell(stream, answer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Out of descriptors, most likely: not a reason to stop, nor to spin.
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn tell(mut stream: UnixStream, answer: &Mutex<Answer>) -> io::Result<()> {
    let text = serde_json::to_vec(&*lock(answer))?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.write_all(&text)
}

/// What is behind the locks is replaced whole, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
