//! Watches the config file and the files of plugins. What matters is the content: the config is reloaded when its text
//! is another, and the runtime compares hashes, so an event too many costs a read and nothing else. Folders are
//! watched, not files: an atomic rename replaces the file that would be watched.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::assemble::Assembly;

/// A file is looked at when nothing has happened to it for so long: a copy in progress makes many events.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// What is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    /// The text of the config file.
    Config,
    /// The file of this plugin; its content may be the same.
    Plugin(String),
}

/// The watch over all files.
pub(crate) struct Watch {
    /// None when the system has none to give: then only signals and the admin pages tell of changes.
    watcher: Option<RecommendedWatcher>,
    events: UnboundedReceiver<PathBuf>,
    config: Option<ConfigFile>,
    /// What each file stands for. Two plugins may share one.
    files: BTreeMap<PathBuf, Vec<Changed>>,
    folders: BTreeSet<PathBuf>,
    pending: BTreeMap<Changed, Instant>,
}

/// The config file as it was when it was last read.
struct ConfigFile {
    path: PathBuf,
    seen: Option<u64>,
}

impl Watch {
    /// Watches the config file, if there is one, and the plugins of the config. Also tells of what has changed while they
    /// were read: a config whose [`content`] is not the one given here, a plugin's file that was written after `since`.
    pub(crate) fn new(assembly: &Assembly, config: Option<(&Path, Option<u64>)>, since: SystemTime) -> Self {
        let (sender, events) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if is_noise(event.kind) => {}
            Ok(event) => event.paths.into_iter().for_each(|path| {
                // Nobody listens any more when Odin ends.
                let _ = sender.send(path);
            }),
            Err(error) => tracing::warn!(%error, "watching files failed"),
        });
        let watcher = watcher.inspect_err(|error| tracing::warn!(%error, "files are not watched: use SIGHUP")).ok();
        let mut watch = Watch {
            watcher,
            events,
            config: config.map(|(path, seen)| ConfigFile { path: path.to_owned(), seen }),
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            pending: BTreeMap::new(),
        };
        watch.follow(assembly);
        let late = |path: &&PathBuf| path.metadata().and_then(|file| file.modified()).is_ok_and(|at| at >= since);
        let late: Vec<PathBuf> = watch.files.keys().filter(late).cloned().collect();
        late.iter().for_each(|path| watch.touched(path));
        // Whether it is another is looked at when its time comes.
        watch.pending.insert(Changed::Config, Instant::now() + DEBOUNCE);
        watch
    }

    /// Watches what this config names, and nothing else.
    pub(crate) fn follow(&mut self, assembly: &Assembly) {
        self.files.clear();
        for (name, loaded) in &assembly.plugins {
            self.file(absolute(&loaded.section.path), Changed::Plugin(name.clone()));
        }
        if let Some(config) = &self.config {
            let path = absolute(&config.path);
            let target = path.canonicalize().ok().filter(|target| *target != path);
            self.file(path, Changed::Config);
            if let Some(target) = target {
                self.file(target, Changed::Config);
            }
        }
        let folders: BTreeSet<PathBuf> =
            self.files.keys().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        for gone in self.folders.difference(&folders) {
            // A folder that was deleted is not watched any more: that is what was wanted.
            let _ = self.watcher.as_mut().map(|watcher| watcher.unwatch(gone));
        }
        for new in folders.difference(&self.folders) {
            let Some(watcher) = &mut self.watcher else { break };
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), %error, "cannot watch: use SIGHUP or POST /plugins/NAME to swap");
            }
        }
        self.folders = folders;
    }

    /// Notes that the config file is about to be read for another reason, so that it is not read twice.
    pub(crate) fn config_is_read(&mut self) {
        if let Some(config) = &mut self.config {
            config.seen = content(&config.path);
        }
    }

    /// Waits until a file has changed and come to rest. Safe to cancel.
    pub(crate) async fn changed(&mut self) -> Changed {
        loop {
            let next = self.pending.iter().min_by_key(|(_, at)| **at).map(|(what, at)| (what.clone(), *at));
            let rest = async {
                match &next {
                    Some((_, at)) => sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                path = self.events.recv() => match path {
                    Some(path) => self.touched(&path),
                    // The watcher is gone; there is nothing to wait for.
                    None => std::future::pending().await,
                },
                () = rest => {
                    if let Some((what, _)) = next {
                        self.pending.remove(&what);
                        if what != Changed::Config || self.config.as_mut().is_some_and(ConfigFile::is_another) {
                            return what;
                        }
                    }
                }
            }
        }
    }

    fn file(&mut self, path: PathBuf, what: Changed) {
        self.files.entry(path).or_default().push(what);
    }

    fn touched(&mut self, path: &Path) {
        let at = Instant::now() + DEBOUNCE;
        for what in self.files.get(path).into_iter().flatten() {
            self.pending.insert(what.clone(), at);
        }
        // A config that is a link may have its folder swapped (Kubernetes does so), of which no event names the file.
        if let Some(config) = &self.config
            && config.path.is_symlink()
        {
            self.pending.insert(Changed::Config, at);
        }
    }
}

impl ConfigFile {
    /// Whether the text is not what it was. A file that cannot be read is on its way: its next event tells.
    fn is_another(&mut self) -> bool {
        let now = content(&self.path);
        let another = now.is_some() && now != self.seen;
        if another {
            self.seen = now;
        }
        another
    }
}

/// What a file holds, as far as it matters whether it has changed.
pub(crate) fn content(path: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(path).ok()?);
    Some(hasher.finish())
}

/// What says nothing, or too early: a file that is being written is half a file until its writer closes it.
fn is_noise(event: EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode, ModifyKind};
    match event {
        EventKind::Access(access) => access != AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) => true,
        _ => false,
    }
}

/// The path as events name it. The folder is resolved, the file is not: it may be a link that is swapped.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;
    use crate::config::Config;

    /// A folder with a config file, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("odin-watch-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Folder(folder)
        }

        fn watch(&self) -> Watch {
            let assembly = Assembly::new(Config::default(), BTreeMap::new(), None, 1).unwrap();
            let file = self.0.join("odin.toml");
            Watch::new(&assembly, Some((&file, content(&file))), SystemTime::now())
        }

        fn write(&self, file: &str, text: &str) -> PathBuf {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn changes(watch: &mut Watch) -> bool {
        timeout(Duration::from_secs(10), watch.changed()).await.unwrap() == Changed::Config
    }

    async fn rests(watch: &mut Watch) -> bool {
        timeout(DEBOUNCE * 6, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_config_that_is_written_or_renamed_has_changed_once() {
        let folder = Folder::new("rename");
        let file = folder.write("odin.toml", "one");
        let mut watch = folder.watch();
        folder.write("odin.toml", "two");
        assert!(changes(&mut watch).await && rests(&mut watch).await);
        fs::rename(folder.write("odin.toml.new", "three"), &file).unwrap();
        assert!(changes(&mut watch).await && rests(&mut watch).await);
    }

    #[tokio::test]
    async fn the_same_text_again_is_no_change_and_neither_is_a_file_that_is_gone() {
        let folder = Folder::new("same");
        let file = folder.write("odin.toml", "one");
        let mut watch = folder.watch();
        folder.write("odin.toml", "one");
        assert!(rests(&mut watch).await);
        fs::remove_file(&file).unwrap();
        assert!(rests(&mut watch).await);
        folder.write("odin.toml", "two");
        watch.config_is_read();
        assert!(rests(&mut watch).await);
        folder.write("odin.toml", "three");
        assert!(changes(&mut watch).await);
    }

    #[tokio::test]
    async fn a_config_behind_links_changes_when_a_link_is_swapped() {
        let folder = Folder::new("links");
        folder.write("v1/odin.toml", "one");
        folder.write("v2/odin.toml", "two");
        symlink("v1", folder.0.join("data")).unwrap();
        symlink("data/odin.toml", folder.0.join("odin.toml")).unwrap();
        let mut watch = folder.watch();
        symlink("v2", folder.0.join("new")).unwrap();
        fs::rename(folder.0.join("new"), folder.0.join("data")).unwrap();
        assert!(changes(&mut watch).await && rests(&mut watch).await);
    }
}
