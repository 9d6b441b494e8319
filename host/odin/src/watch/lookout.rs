//! Looks at the files every second, whatever inotify says: it tells nothing of a link in the middle of a path that leads
//! elsewhere, of a folder that was replaced, of a file that is mounted, or that another host writes.
//!
//! In a thread of its own: a file system that hangs must hold up neither signals nor signs of life.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::sight::Sight;
use super::{DEBOUNCE, Event};

/// How often the files are looked at when nothing else is a reason to.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Whoever looks, as the others know it.
#[derive(Clone)]
pub(super) struct Lookout {
    wake: SyncSender<()>,
    watched: Arc<Mutex<Watched>>,
}

#[derive(Default)]
struct Watched {
    paths: Vec<PathBuf>,
    /// What was told last; only what is another is told.
    told: Vec<Sight>,
}

impl Lookout {
    /// Ends with the last clone.
    pub(super) fn start(tell: UnboundedSender<Event>) -> Self {
        // One reason waits at most: the look that it leads to is for all that come until then.
        let (wake, woken) = sync_channel(1);
        let lookout = Lookout { wake, watched: Arc::default() };
        let watched = lookout.watched.clone();
        let thread = std::thread::Builder::new().name("watch".to_owned());
        if let Err(error) = thread.spawn(move || look(&woken, &watched, &tell)) {
            tracing::warn!(%error, "files are not looked at every second");
        }
        lookout
    }

    /// Looks at these from now on.
    pub(super) fn follow(&self, paths: Vec<PathBuf>) {
        *lock(&self.watched) = Watched { paths, told: Vec::new() };
    }

    /// There is a reason to look before the next second.
    pub(super) fn look(&self) {
        // When it is full a look is about to come.
        let _ = self.wake.try_send(());
    }

    /// As [`Lookout::look`], and what is seen is told even if it is as before.
    pub(super) fn look_anew(&self) {
        lock(&self.watched).told.clear();
        self.look();
    }
}

fn look(woken: &Receiver<()>, watched: &Mutex<Watched>, tell: &UnboundedSender<Event>) {
    loop {
        match woken.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            // Reasons come in crowds.
            Ok(()) => std::thread::sleep(DEBOUNCE),
        }
        let _ = woken.try_recv();
        let paths = lock(watched).paths.clone();
        let seen: Vec<Sight> = paths.iter().map(|path| Sight::of(path)).collect();
        let mut watched = lock(watched);
        if watched.paths == paths && watched.told != seen {
            watched.told.clone_from(&seen);
            // Nobody listens any more when Odin ends.
            let _ = tell.send(Event::Seen(seen));
        }
    }
}

/// What is behind it is whole at any time.
fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}
