//! What there is to see of a file without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::Access;

use super::absolute;

/// Which file or folder it is, whatever its name. The number of one that is deleted may be given to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    device: u64,
    inode: u64,
}

/// Another one means that the file was replaced or written, or that it can be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) id: Id,
    pub(super) modified: Option<SystemTime>,
    size: u64,
    readable: bool,
}

/// Where a path leads, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) path: PathBuf,
    /// None when nothing is there.
    pub(super) stamp: Option<Stamp>,
    /// By what names events tell of the file: the path's own, and that of the file at the end of all links.
    pub(super) names: Vec<PathBuf>,
    /// The folders of these names, as far as they exist.
    pub(super) folders: Vec<(PathBuf, Id)>,
}

impl Id {
    pub(super) fn of(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|file| Id::from(&file))
    }
}

impl From<&Metadata> for Id {
    fn from(file: &Metadata) -> Self {
        Id { device: file.dev(), inode: file.ino() }
    }
}

impl Stamp {
    /// Follows links.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let file = path.metadata().ok()?;
        Some(Stamp {
            id: Id::from(&file),
            modified: file.modified().ok(),
            size: file.size(),
            readable: rustix::fs::access(path, Access::READ_OK).is_ok(),
        })
    }
}

impl Sight {
    pub(super) fn of(path: &Path) -> Self {
        let own = absolute(path);
        let target = own.canonicalize().ok().filter(|target| *target != own);
        let names: Vec<PathBuf> = [own].into_iter().chain(target).collect();
        let folder = |name: &PathBuf| {
            let folder = name.parent()?;
            Some((folder.to_owned(), Id::of(folder)?))
        };
        let folders = names.iter().filter_map(folder).collect();
        Sight { path: path.to_owned(), stamp: Stamp::of(path), names, folders }
    }
}
