//! The folders that inotify watches, and what its events mean. Folders are watched, not files: an atomic rename replaces
//! the file that would be watched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::UnboundedSender;

use super::Event;
use super::lookout::Lookout;
use super::sight::{Id, Sight};

/// The paths whose events are told one by one: files that are followed, and the folders themselves.
type Names = Arc<Mutex<BTreeSet<PathBuf>>>;

pub(super) struct Folders {
    /// None when the system has none to give: then files are only looked at.
    watcher: Option<RecommendedWatcher>,
    names: Names,
    /// inotify follows a folder that is moved away, so a path alone does not tell what is watched.
    watched: BTreeMap<PathBuf, Id>,
}

impl Folders {
    pub(super) fn new(tell: UnboundedSender<Event>, lookout: Lookout) -> Self {
        let names = Names::default();
        let known = names.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => drop(tell.send(Event::Lost)),
            Ok(event) => told(event, &known, &tell, &lookout),
            Err(error) => tracing::warn!(%error, "watching files failed"),
        });
        let log = |error: &notify::Error| tracing::warn!(%error, "no inotify: files are looked at every second");
        Folders { watcher: watcher.inspect_err(log).ok(), names, watched: BTreeMap::new() }
    }

    /// Watches the folders of these files and no others. Answers the new ones: of these nothing was told until now.
    pub(super) fn follow<'a>(&mut self, sights: impl Iterator<Item = &'a Sight> + Clone) -> Vec<PathBuf> {
        let wanted: BTreeMap<PathBuf, Id> = sights.clone().flat_map(|sight| sight.folders.iter().cloned()).collect();
        let before = std::mem::take(&mut self.watched);
        for (folder, _) in before.iter().filter(|(folder, id)| wanted.get(*folder) != Some(id)) {
            self.unwatch(folder);
        }
        let new = wanted.iter().filter(|(folder, id)| before.get(*folder) != Some(id));
        let new: Vec<PathBuf> = new.map(|(folder, _)| folder.clone()).collect();
        for folder in &new {
            let Some(watcher) = &mut self.watcher else { break };
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "not watched: its files are looked at every second");
            }
        }
        let names = sights.flat_map(|sight| sight.names.iter()).chain(wanted.keys());
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names.cloned().collect();
        self.watched = wanted;
        new
    }

    /// Whether this is a watched folder that is gone or moved: it is watched no more, whatever has its name now.
    pub(super) fn lost(&mut self, path: &Path) -> bool {
        let lost = self.watched.remove(path).is_some();
        if lost {
            self.unwatch(path);
        }
        lost
    }

    fn unwatch(&mut self, folder: &Path) {
        // A folder that was deleted is not watched any more: that is what was wanted.
        let _ = self.watcher.as_mut().map(|watcher| watcher.unwatch(folder));
    }
}

/// Tells what happens to files that are followed. Anything else in their folders may be a link that leads elsewhere.
fn told(event: notify::Event, known: &Names, tell: &UnboundedSender<Event>, lookout: &Lookout) {
    let Some(means) = meaning(event.kind) else { return };
    let names = known.lock().unwrap_or_else(PoisonError::into_inner);
    for path in event.paths {
        if names.contains(&path) {
            // Nobody listens any more when Odin ends.
            let _ = tell.send(means(path));
        } else if !matches!(event.kind, EventKind::Modify(ModifyKind::Data(_))) {
            lookout.look();
        }
    }
}

/// None for what says nothing.
fn meaning(kind: EventKind) -> Option<fn(PathBuf) -> Event> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Event::Whole),
        EventKind::Access(_) => None,
        EventKind::Create(_) => Some(Event::Created),
        EventKind::Modify(ModifyKind::Data(_)) => Some(Event::Written),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Some(Event::Gone),
        EventKind::Modify(ModifyKind::Name(_)) => Some(Event::Whole),
        _ => Some(Event::Touched),
    }
}
