//! Watches the config file and the files of plugins. What matters is the content: the config is reloaded when its text
//! is another, and the runtime compares hashes, so an event too many costs a read and nothing else.
//!
//! Two ways that complete each other: inotify tells at once of ordinary edits, and when a writer is done; a look every
//! second finds what it cannot tell of. Must never read a file while it is known to be written.

mod folders;
mod lookout;
mod sight;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use self::folders::Folders;
use self::lookout::Lookout;
use self::sight::{Id, Sight, Stamp};
use crate::assemble::Assembly;
use crate::files;

/// A file is read when nothing has happened to it for so long: a copy in progress makes many events.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// The same for a file of which no event tells when its writer is done.
const REST: Duration = Duration::from_secs(1);

/// What is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    /// The text of the config file.
    Config,
    /// The file of this plugin; its content may be the same.
    Plugin(String),
    /// Another file that the config names: a certificate, a key.
    File(PathBuf),
}

/// The watch over all files.
pub(crate) struct Watch {
    folders: Folders,
    lookout: Lookout,
    events: UnboundedReceiver<Event>,
    config: Option<ConfigFile>,
    followed: Vec<Followed>,
    pending: BTreeMap<Changed, Due>,
}

/// What has happened to a file, by a name of it, or to a folder.
enum Event {
    /// It was created, and is not whole unless it is a link.
    Created(PathBuf),
    /// Some of it was written.
    Written(PathBuf),
    /// Its writer is done, or it was put in place.
    Whole(PathBuf),
    Gone(PathBuf),
    /// Something else, such as other rights.
    Touched(PathBuf),
    /// Events were lost: there were too many.
    Lost,
    /// What the lookout sees now.
    Seen(Vec<Sight>),
}

/// A file that something is read from.
struct Followed {
    what: Changed,
    sight: Sight,
    /// What was there when it was read.
    read: Option<Stamp>,
    /// The file that somebody writes now.
    writing: Option<Id>,
}

/// When something is to be read.
struct Due {
    at: Instant,
    /// It is whole. If nobody says so it must rest as it is here.
    whole: bool,
    stamp: Option<Stamp>,
}

/// The config file as it was when it was last read.
struct ConfigFile {
    path: PathBuf,
    seen: Option<u64>,
    /// It was told that it cannot be read.
    unreadable: bool,
}

impl Watch {
    /// Watches the config file, if there is one, and the plugins of the config. Also tells of what has changed while they
    /// were read: a config whose [`content`] is not the one given here, a plugin's file that was written after `since`.
    pub(crate) fn new(assembly: &Assembly, config: Option<(&Path, Option<u64>)>, since: SystemTime) -> Self {
        let (tell, events) = unbounded_channel();
        let lookout = Lookout::start(tell.clone());
        let mut watch = Watch {
            folders: Folders::new(tell, lookout.clone()),
            lookout,
            events,
            config: config.map(|(path, seen)| ConfigFile { path: path.to_owned(), seen, unreadable: false }),
            followed: Vec::new(),
            pending: BTreeMap::new(),
        };
        watch.follow(assembly, &[], since);
        if watch.config.is_some() {
            // Whether it is another is looked at when its time comes.
            watch.due(Changed::Config);
        }
        watch
    }

    /// Watches what this config names, and `others`: files that would make a refused config a good one. Also tells of those
    /// that were written after `since`, when they began to be read.
    pub(crate) fn follow(&mut self, assembly: &Assembly, others: &[PathBuf], since: SystemTime) {
        let config = self.config.iter().map(|config| (Changed::Config, config.path.as_path()));
        let plugins = assembly.plugins.iter();
        let plugins = plugins.map(|(name, loaded)| (Changed::Plugin(name.clone()), loaded.section.path.as_path()));
        let files = assembly.tls.files().chain(others.iter().map(PathBuf::as_path));
        let files: BTreeSet<&Path> = files.collect();
        let files = files.into_iter().map(|path| (Changed::File(path.to_owned()), path));
        let mut before = std::mem::take(&mut self.followed);
        let (mut followed, mut late) = (Vec::new(), Vec::new());
        for (what, path) in config.chain(plugins).chain(files) {
            let sight = Sight::of(path);
            let same = |before: &Followed| before.what == what && before.sight.path == path;
            followed.push(match before.iter().position(same) {
                Some(at) => Followed { sight, ..before.swap_remove(at) },
                None => {
                    if sight.stamp.as_ref().and_then(|stamp| stamp.modified).is_some_and(|at| at >= since) {
                        late.push(what.clone());
                    }
                    Followed { what, read: sight.stamp.clone(), sight, writing: None }
                }
            });
        }
        self.followed = followed;
        late.into_iter().for_each(|what| self.due(what));
        self.watch_folders();
        self.lookout.follow(self.followed.iter().map(|followed| followed.sight.path.clone()).collect());
    }

    /// Notes that the config file is about to be read for another reason, so that it is not read twice.
    pub(crate) fn config_is_read(&mut self) {
        let Some(config) = &mut self.config else { return };
        if let Some(followed) = self.followed.iter_mut().find(|followed| followed.what == Changed::Config) {
            followed.read = Stamp::of(&config.path);
        }
        config.seen = content(&config.path);
        // Whoever reads it tells of that.
        config.unreadable = config.seen.is_none();
        // What is written from here on is told anew.
        self.pending.remove(&Changed::Config);
    }

    /// Waits until a file has changed and come to rest. Safe to cancel.
    pub(crate) async fn changed(&mut self) -> Changed {
        loop {
            let next = self.pending.values().map(|due| due.at).min();
            let rest = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = self.events.recv() => self.heard(event),
                () = rest => {
                    if let Some(what) = self.rested() {
                        return what;
                    }
                }
            }
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Created(path) if is_being_written(&path) => self.mark(&path, true),
            Event::Written(path) => self.mark(&path, true),
            Event::Created(path) | Event::Whole(path) => {
                self.mark(&path, false);
                self.touched(&path);
            }
            Event::Gone(path) if self.folders.lost(&path) => self.look_anew(),
            Event::Gone(path) | Event::Touched(path) => self.touched(&path),
            Event::Lost => {
                tracing::info!("too many changes of files to be told of: looking at all that matter");
                self.look_anew();
            }
            Event::Seen(sights) => self.seen(&sights),
        }
    }

    /// Who writes a file now says so once more, and who has ended meanwhile does not.
    fn look_anew(&mut self) {
        self.followed.iter_mut().for_each(|followed| followed.writing = None);
        self.lookout.look_anew();
    }

    fn mark(&mut self, path: &Path, written: bool) {
        let id = if written { Id::of(path) } else { None };
        self.named(path).for_each(|followed| followed.writing = id);
    }

    fn touched(&mut self, path: &Path) {
        let touched: Vec<Changed> = self.named(path).map(|followed| followed.what.clone()).collect();
        touched.into_iter().for_each(|what| self.due(what));
    }

    fn named(&mut self, path: &Path) -> impl Iterator<Item = &mut Followed> {
        self.followed.iter_mut().filter(move |followed| followed.sight.names.iter().any(|name| name == path))
    }

    /// An event tells that it may be another.
    fn due(&mut self, what: Changed) {
        self.pending.insert(what, Due { at: Instant::now() + DEBOUNCE, whole: true, stamp: None });
    }

    /// Compares what is there with what was read.
    fn seen(&mut self, sights: &[Sight]) {
        let mut elsewhere = Vec::new();
        for followed in &mut self.followed {
            let Some(sight) = sights.iter().find(|sight| sight.path == followed.sight.path) else { continue };
            let before = std::mem::replace(&mut followed.sight, sight.clone());
            if sight.stamp == followed.read {
                continue;
            }
            if before.names != sight.names {
                // A link is swapped when what it leads to is ready.
                elsewhere.push(followed.what.clone());
            } else {
                let due = Due { at: Instant::now() + REST, whole: false, stamp: sight.stamp.clone() };
                self.pending.entry(followed.what.clone()).or_insert(due);
            }
        }
        elsewhere.into_iter().for_each(|what| self.due(what));
        self.watch_folders();
    }

    fn watch_folders(&mut self) {
        let new = self.folders.follow(self.followed.iter().map(|followed| &followed.sight));
        let is_new = |name: &PathBuf| name.parent().is_some_and(|folder| new.iter().any(|new| new == folder));
        for followed in self.followed.iter_mut().filter(|followed| followed.sight.names.iter().any(is_new)) {
            // The end of what was begun before was not told.
            followed.writing = None;
        }
    }

    /// What is due now and has come to rest.
    fn rested(&mut self) -> Option<Changed> {
        let (what, _) = self.pending.iter().min_by_key(|(_, due)| due.at)?;
        let what = what.clone();
        let due = self.pending.remove(&what)?;
        let followed = self.followed.iter_mut().find(|followed| followed.what == what)?;
        let stamp = Stamp::of(&followed.sight.path);
        if followed.writing.is_some() && followed.writing == stamp.as_ref().map(|stamp| stamp.id) {
            // Its writer says when it is done.
            return None;
        }
        if !due.whole && stamp == followed.read {
            return None;
        }
        if !due.whole && due.stamp != stamp {
            self.pending.insert(what, Due { at: Instant::now() + REST, whole: false, stamp });
            return None;
        }
        followed.read = stamp;
        let another = what != Changed::Config || self.config.as_mut().is_some_and(ConfigFile::is_another);
        another.then_some(what)
    }
}

impl ConfigFile {
    /// Whether the text is not what it was. That it cannot be read is told once.
    fn is_another(&mut self) -> bool {
        let file = self.path.display();
        let now = match hash(&self.path) {
            Ok(now) => now,
            Err(error) => {
                if !std::mem::replace(&mut self.unreadable, true) {
                    tracing::warn!(%file, %error, "the config file cannot be read: what is in force stays");
                }
                return false;
            }
        };
        if std::mem::take(&mut self.unreadable) {
            tracing::info!(%file, "the config file can be read again");
        }
        self.seen.replace(now) != Some(now)
    }
}

/// A file that was just created has a writer, who closes it; a link has none.
fn is_being_written(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().is_ok_and(|file| file.is_file() && file.nlink() == 1)
}

/// What a file holds, as far as it matters whether it has changed.
pub(crate) fn content(path: &Path) -> Option<u64> {
    hash(path).ok()
}

fn hash(path: &Path) -> io::Result<u64> {
    files::read(path).map(|content| files::digest(&content))
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
mod tests;
