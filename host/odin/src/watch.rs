//! Watches the files of plugins. What matters is the content: the runtime compares hashes, so an event too many costs
//! a read and nothing else. Folders are watched, not files: an atomic rename replaces the file that would be watched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::assemble::Assembly;

/// A file is looked at when nothing has happened to it for so long: a copy in progress makes many events.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// The watch over all plugin files.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    events: UnboundedReceiver<PathBuf>,
    /// Names of plugins by their file. Two plugins may share one.
    files: BTreeMap<PathBuf, Vec<String>>,
    folders: BTreeSet<PathBuf>,
    pending: BTreeMap<String, Instant>,
}

impl Watch {
    /// Watches the plugins of the config.
    pub(crate) fn new(assembly: &Assembly) -> notify::Result<Self> {
        let (sender, events) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if matches!(event.kind, EventKind::Access(access) if !is_close_write(access)) => {}
            Ok(event) => event.paths.into_iter().for_each(|path| {
                // Nobody listens any more when Odin ends.
                let _ = sender.send(path);
            }),
            Err(error) => tracing::warn!(%error, "watching plugin files failed"),
        })?;
        let mut watch =
            Watch { watcher, events, files: BTreeMap::new(), folders: BTreeSet::new(), pending: BTreeMap::new() };
        watch.follow(assembly);
        Ok(watch)
    }

    /// Watches what this config names, and nothing else.
    pub(crate) fn follow(&mut self, assembly: &Assembly) {
        self.files.clear();
        for (name, loaded) in &assembly.plugins {
            let path = absolute(&loaded.section.path);
            self.files.entry(path).or_default().push(name.clone());
        }
        let folders: BTreeSet<PathBuf> =
            self.files.keys().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        for gone in self.folders.difference(&folders) {
            // A folder that was deleted is not watched any more: that is what was wanted.
            let _ = self.watcher.unwatch(gone);
        }
        for new in folders.difference(&self.folders) {
            if let Err(error) = self.watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), %error, "cannot watch: use SIGHUP or POST /plugins/NAME to swap");
            }
        }
        self.folders = folders;
    }

    /// Waits until the file of a plugin has changed and come to rest; answers the plugin's name. Safe to cancel.
    pub(crate) async fn changed(&mut self) -> String {
        loop {
            let next = self.pending.iter().min_by_key(|(_, at)| **at).map(|(name, at)| (name.clone(), *at));
            let rest = async {
                match &next {
                    Some((_, at)) => sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                path = self.events.recv() => match path {
                    Some(path) => {
                        for name in self.files.get(&path).into_iter().flatten() {
                            self.pending.insert(name.clone(), Instant::now() + DEBOUNCE);
                        }
                    }
                    // The watcher is gone; there is nothing to wait for.
                    None => std::future::pending().await,
                },
                () = rest => {
                    if let Some((name, _)) = next {
                        self.pending.remove(&name);
                        return name;
                    }
                }
            }
        }
    }
}

fn is_close_write(access: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    access == AccessKind::Close(AccessMode::Write)
}

/// The path as events name it. The folder is resolved, the file is not: it may be a link that is swapped.
fn absolute(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
}
