//! The unix socket of the admin pages: its file, which belongs to the user that Odin runs as and to nobody else.
//!
//! A socket that somebody listens on is never replaced; one that a process left behind is. The file goes with the
//! process, unless another process has taken over.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use nix::unistd::geteuid;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use crate::config::Location;
use crate::privileges::Account;
use crate::runtime_folder;

/// The socket, bound and not yet serving, and the files that go with this process.
#[derive(Default)]
pub(crate) struct Unix {
    pub(super) listener: Option<UnixListener>,
    file: Option<SocketFile>,
    /// Of the process before this one, at a place where the config does not want it any more.
    before: Option<SocketFile>,
    /// Why there is none although the config does not turn it off.
    fault: Option<String>,
}

impl Unix {
    /// Makes the socket that is `wanted`, for `user` if this process is to become one; goes on with the socket of a
    /// process before this one if that is at the right place. Must be called before the first thread is started, since
    /// it sets the umask for a moment. Without a usable runtime folder there is no socket, which is no error.
    pub(super) fn open(
        wanted: &Location,
        user: Option<&Account>,
        inherited: Option<UnixListener>,
    ) -> anyhow::Result<Unix> {
        let inherited = inherited.and_then(|listener| Some((SocketFile::inherited(&listener)?, listener)));
        let folder = match wanted {
            Location::Default => Some(runtime_folder::prepare(user)),
            Location::Off | Location::At(_) => None,
        };
        let fits = |file: &SocketFile| match (wanted, &folder) {
            (Location::At(path), _) => file.path == *path,
            (_, Some(Ok(folder))) => runtime_folder::is_ours(&file.path) && file.path.parent() == Some(folder),
            _ => false,
        };
        let before = match inherited {
            Some((file, listener)) if fits(&file) => {
                return Ok(Unix { listener: Some(listener), file: Some(file), ..Unix::default() });
            }
            Some((file, _)) => Some(file),
            None => None,
        };
        let opened = match (wanted, folder) {
            (Location::At(path), _) => bind(path, user).map(Some),
            (_, Some(Ok(folder))) => {
                sweep(&folder);
                bind(&folder.join(format!("{}.sock", std::process::id())), user).map(Some)
            }
            (_, Some(Err(faults))) => Err(anyhow!("no runtime folder can be used ({faults})")),
            (_, None) => Ok(None),
        };
        let (opened, fault) = match opened {
            Ok(opened) => (opened, None),
            Err(error) if *wanted == Location::Default => (None, Some(format!("{error:#}"))),
            Err(error) => return Err(error.context("admin-socket")),
        };
        let (listener, file) = opened.unzip();
        Ok(Unix { listener, file, before, fault })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// Why there is none.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// This process has taken over: the files are its own now.
    pub(super) fn taken_over(&mut self) {
        self.file.iter().chain(&self.before).for_each(|file| file.remove.set(true));
        self.before = None;
    }

    /// Another process has taken over, and does with the file what it likes.
    pub(super) fn leave(&self) {
        self.file.iter().for_each(|file| file.remove.set(false));
    }
}

/// The file of a socket. Dropped, it is removed unless another process has it.
struct SocketFile {
    path: PathBuf,
    /// Held open: after a change of the user its path may lead nowhere.
    folder: OwnedFd,
    name: OsString,
    /// Device and inode, to tell whether it is still the same.
    id: (u64, u64),
    remove: Cell<bool>,
}

impl SocketFile {
    fn new(path: &Path, remove: bool) -> io::Result<SocketFile> {
        let (folder, name) = parts(path)?;
        let folder = open_folder(folder)?;
        let id = id(&folder, &name)?;
        Ok(SocketFile { path: path.to_owned(), folder, name, id, remove: Cell::new(remove) })
    }

    /// The file of a socket that another process made, if it is still there.
    fn inherited(listener: &UnixListener) -> Option<SocketFile> {
        let path = listener.local_addr().ok()?.as_pathname()?.to_owned();
        let socket = fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket());
        SocketFile::new(&path, false).ok().filter(|_| socket)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = || id(&self.folder, &self.name).is_ok_and(|id| id == self.id);
        if self.remove.get() && same() {
            // A file that stays is replaced by the next Odin.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

fn id(folder: &OwnedFd, name: &OsString) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((found.st_dev, found.st_ino))
}

fn parts(path: &Path) -> io::Result<(&Path, OsString)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((folder, name.to_owned())),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "it is no path of a file")),
    }
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Binds the socket: mode 0600 from the first moment on, of `user` if there is one.
fn bind(path: &Path, user: Option<&Account>) -> anyhow::Result<(UnixListener, SocketFile)> {
    let shown = || format!("cannot listen on {}", path.display());
    let (folder, _) = parts(path).with_context(shown)?;
    let uid = geteuid().as_raw();
    let owners: Vec<u32> = [0, uid].into_iter().chain(user.map(|user| user.uid.as_raw())).collect();
    runtime_folder::check(folder, &owners).map_err(|why| anyhow!("{}: {why}; name another folder", shown()))?;
    let _turn = turn(folder).with_context(shown)?;
    clear(path)?;
    let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(umask);
    let listener = bound.with_context(shown)?;
    let file = SocketFile::new(path, true).with_context(shown)?;
    if let Some(user) = user {
        std::os::unix::fs::lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).with_context(shown)?;
    }
    Ok((listener, file))
}

/// Keeps other Odins from making or removing sockets in the folder while this one does. One that holds the lock for
/// long is not waited for.
fn turn(folder: &Path) -> io::Result<OwnedFd> {
    const STEP: Duration = Duration::from_millis(5);
    let lock = open_folder(folder)?;
    for _ in 0..200 {
        if rustix::fs::flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() {
            break;
        }
        std::thread::sleep(STEP);
    }
    Ok(lock)
}

/// Makes room: removes a socket that nobody listens on. An error if somebody does, or it is something else.
fn clear(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => bail!("{shown} is there, and is no socket; name another path"),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let pid = rustix::net::sockopt::socket_peercred(&stream).ok().map(|peer| peer.pid.as_raw_nonzero());
            let pid = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            bail!("another program{pid} listens on {shown}; stop it, or name another path")
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot remove {shown}, which a process left behind"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot tell whether anybody listens on {shown}")),
    }
}

/// Removes what processes that were killed have left in the folder.
fn sweep(folder: &Path) {
    let Ok(_turn) = turn(folder) else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if runtime_folder::is_ours(&path) {
            // What cannot be removed is in nobody's way.
            let _ = clear(&path);
        }
    }
}

/// Reads a file that others must not read: a token. `owners` may own it.
pub(super) fn read_private(path: &Path, owners: &[u32]) -> anyhow::Result<String> {
    const OTHERS_MAY_READ_OR_GROUP_WRITE: u32 = 0o027;
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        bail!("it is not a regular file");
    }
    if !owners.contains(&found.uid()) {
        bail!("it belongs to uid {}; it must be root's, or that of who runs Odin", found.uid());
    }
    if found.mode() & OTHERS_MAY_READ_OR_GROUP_WRITE != 0 {
        bail!("others may read or write it (mode {:04o}); chmod 600 it", found.mode() & 0o7777);
    }
    io::read_to_string(io::Read::take(file, 4096)).map_err(Into::into)
}
