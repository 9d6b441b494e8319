//! Tells the other Odins of this network namespace what is steered here: a thread behind a unix socket with an abstract
//! name. Such names belong to the namespace and vanish with the process, so there is nothing to clean up.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::EventfdFlags;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::Binding;
use crate::answering;

/// What every such name begins with; what follows tells them apart.
pub(crate) const NAMES: &str = "odin/steer/";

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

/// What is told, as text once somebody has asked.
#[derive(Default)]
pub(crate) struct Told {
    answer: Answer,
    text: Option<Arc<[u8]>>,
}

impl Told {
    pub(crate) fn text(&mut self) -> io::Result<Arc<[u8]>> {
        if let Some(text) = &self.text {
            return Ok(Arc::clone(text));
        }
        let text: Arc<[u8]> = serde_json::to_vec(&self.answer)?.into();
        self.text = Some(Arc::clone(&text));
        Ok(text)
    }
}

/// The socket, what it tells, and the thread once it runs.
pub(crate) struct Announcement {
    name: Vec<u8>,
    listener: Mutex<Option<UnixListener>>,
    told: Arc<Mutex<Told>>,
    /// Ends the thread.
    stop: Mutex<Option<Arc<OwnedFd>>>,
}

impl Announcement {
    /// The socket is made early, so that the uid that others see is the one that could load the program; they wait for
    /// the answer.
    pub(crate) fn new() -> io::Result<Announcement> {
        let pid = std::process::id();
        let bind = |name: String| UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?);
        let listener = match bind(format!("{NAMES}{pid}")) {
            // By a process that goes on for one that had this pid, or by anybody: all that anyone can guess may be taken.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bind(format!("{NAMES}{pid}/{:016x}", u64::from_ne_bytes(random()?)))?
            }
            bound => bound?,
        };
        Announcement::at(listener)
    }

    /// Goes on at a socket that another process handed over.
    pub(crate) fn at(listener: UnixListener) -> io::Result<Announcement> {
        // Whoever asks may be gone, or another process may have answered, before it is accepted here.
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let name = address.as_abstract_name().unwrap_or_default().to_vec();
        lock(&OWN).push(name.clone());
        Ok(Announcement { name, listener: Mutex::new(Some(listener)), told: Arc::default(), stop: Mutex::default() })
    }

    /// A duplicate of the socket.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        let listener = lock(&self.listener);
        let listener = listener.as_ref().ok_or_else(|| io::Error::other("this process has already retired"))?;
        Ok(listener.try_clone()?.into())
    }

    pub(crate) fn set(&self, bindings: Vec<Binding>, hidden: Vec<std::net::SocketAddr>) {
        let answer = Answer { pid: std::process::id(), bindings, hidden, uid: 0 };
        *lock(&self.told) = Told { answer, text: None };
    }

    /// Starts to answer, in a thread that has the capabilities of the caller's.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut stop = lock(&self.stop);
        if stop.is_some() {
            return Ok(());
        }
        let listener = UnixListener::from(self.socket()?);
        let event = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let (told, stopped) = (Arc::clone(&self.told), Arc::clone(&event));
        thread::Builder::new().name("odin-steer".into()).spawn(move || {
            if let Err(error) = answering::serve(&listener, &told, &stopped) {
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

pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // So few bytes are given whole or not at all.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

/// Whether this process answers at that name.
pub(crate) fn is_own(name: &[u8]) -> bool {
    lock(&OWN).iter().any(|own| own == name)
}

/// What is behind the locks is replaced whole, so a panic elsewhere leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
