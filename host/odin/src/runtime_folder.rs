//! Where an Odin puts its admin socket unless the config names a place, and where the commands look for one.
//!
//! The first of these folders that can be used:
//!
//! | folder | for |
//! |---|---|
//! | `$RUNTIME_DIRECTORY` | a service of systemd with `RuntimeDirectory=` |
//! | `/run/odin` | root, and users for whom root has started an Odin |
//! | `$XDG_RUNTIME_DIR/odin` | a user with a session |
//! | `/tmp/odin-UID` | everybody else; mode 0700 |
//!
//! An Odin that root starts for another `user` uses a folder of that user in there, named by the user's number. In a
//! folder each Odin has a socket `PID.sock`, named by the process that made it; after an upgrade it keeps that name.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::privileges::Account;

/// For Odins that root starts. Others cannot make it.
const SYSTEM: &str = "/run/odin";

/// Makes the folder for a socket that is to belong to `user` (none: to this process), and answers its path. The error
/// names every folder that was tried.
pub(crate) fn prepare(user: Option<&Account>) -> Result<PathBuf, String> {
    let mut faults = Vec::new();
    for (base, mode) in bases() {
        let made = make(&base, mode).and_then(|()| match user {
            Some(user) => owned_by(user, &base),
            None => own(base),
        });
        match made {
            Ok(folder) => return Ok(folder),
            Err(fault) => faults.push(fault),
        }
    }
    Err(faults.join("; "))
}

/// The folders, each with the mode that it is made with.
fn bases() -> Vec<(PathBuf, u32)> {
    let uid = geteuid();
    let session = named("XDG_RUNTIME_DIR").filter(|_| !uid.is_root()).map(|folder| (folder.join("odin"), 0o700));
    let all = [
        named("RUNTIME_DIRECTORY").map(|folder| (folder, 0o755)),
        Some((PathBuf::from(SYSTEM), 0o755)),
        session,
        Some((PathBuf::from(format!("/tmp/odin-{uid}")), 0o700)),
    ];
    all.into_iter().flatten().collect()
}

/// A folder that the environment names.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn make(folder: &Path, mode: u32) -> Result<(), String> {
    match DirBuilder::new().mode(mode).create(folder) {
        // The umask may have taken something away.
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(|error| fault(folder, &error))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(fault(folder, &error)),
    }
    check(folder, &[0, geteuid().as_raw()])
}

/// The base itself, or the folder in it that root made for this user: an Odin that became this user has it, and so has
/// the process that takes over from it.
fn own(base: PathBuf) -> Result<PathBuf, String> {
    let uid = geteuid();
    let inside = base.join(uid.to_string());
    match check(&base, &[uid.as_raw()]) {
        Err(_) if check(&inside, &[uid.as_raw()]).is_ok() => Ok(inside),
        own => own.map(|()| base),
    }
}

/// The folder of another user inside of `base`, which belongs to this process alone.
fn owned_by(user: &Account, base: &Path) -> Result<PathBuf, String> {
    let folder = base.join(user.uid.to_string());
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => {
            let given = std::os::unix::fs::lchown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
            if let Err(error) = given {
                // It would be in the way of whoever may give it to the user.
                let _ = fs::remove_dir(&folder);
                return Err(fault(&folder, &error));
            }
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(fault(&folder, &error)),
    }
    check(&folder, &[user.uid.as_raw()])?;
    Ok(folder)
}

fn fault(folder: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", folder.display())
}

/// An error unless the folder belongs to one of `owners` and nobody else can put a file into it, or take one away.
pub(crate) fn check(folder: &Path, owners: &[u32]) -> Result<(), String> {
    let found = fs::symlink_metadata(folder).map_err(|error| fault(folder, &error))?;
    is_private(&found, owners).map_err(|why| format!("{}: {why}", folder.display()))
}

fn is_private(found: &Metadata, owners: &[u32]) -> Result<(), String> {
    const OTHERS_MAY_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    if !found.is_dir() {
        return Err("it is not a folder".to_owned());
    }
    if !owners.contains(&found.uid()) {
        return Err(format!("it belongs to uid {}", found.uid()));
    }
    match found.mode() & OTHERS_MAY_WRITE != 0 && found.mode() & STICKY == 0 {
        true => Err(format!("others may write it (mode {:04o})", found.mode() & 0o7777)),
        false => Ok(()),
    }
}

/// What a search for the sockets of this host has found.
#[derive(Default)]
pub(crate) struct Found {
    /// Those that somebody listens on.
    pub(crate) live: Vec<PathBuf>,
    /// Those that this user may not connect to.
    pub(crate) denied: Vec<PathBuf>,
    /// Where it looked.
    pub(crate) folders: Vec<PathBuf>,
}

/// Looks for sockets in all folders where an Odin of this user, or of root, may have put one; in `$RUNTIME_DIRECTORY`
/// alone where that is set.
pub(crate) fn search() -> Found {
    let mut folders: Vec<PathBuf> = bases().into_iter().map(|(folder, _)| folder).collect();
    if let Some(folder) = named("RUNTIME_DIRECTORY") {
        folders = vec![folder];
    }
    let mut found = Found::default();
    for base in folders {
        look_into(&base, &[0, geteuid().as_raw()], &mut found);
        // Of users that root has started an Odin for; the number is also that of the owner.
        let users = entries(&base).filter_map(|path| Some((path.file_name()?.to_str()?.parse::<u32>().ok()?, path)));
        for (uid, folder) in users.collect::<Vec<_>>() {
            look_into(&folder, &[uid], &mut found);
        }
        found.folders.push(base);
    }
    found
}

fn look_into(folder: &Path, owners: &[u32], found: &mut Found) {
    // What others could have put there is not for orders.
    if check(folder, owners).is_err() {
        return;
    }
    for socket in entries(folder).filter(|path| is_ours(path)) {
        match UnixStream::connect(&socket) {
            Ok(_) => found.live.push(socket),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => found.denied.push(socket),
            Err(_) => {}
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Whether a socket with this path is one that [`prepare`] made the folder for: `PID.sock`.
pub(crate) fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".sock"));
    name.is_some_and(|pid| pid.parse::<u32>().is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_may_write_or_own_is_not_used() {
        let base = std::env::temp_dir().join(format!("odin-runtime-folder-{}", std::process::id()));
        let uid = geteuid().as_raw();
        make(&base, 0o700).unwrap();
        assert_eq!(check(&base, &[uid]), Ok(()));
        assert!(check(&base, &[uid + 1]).unwrap_err().contains("it belongs to uid"));
        fs::set_permissions(&base, Permissions::from_mode(0o777)).unwrap();
        assert!(make(&base, 0o700).unwrap_err().ends_with("others may write it (mode 0777)"));
        fs::set_permissions(&base, Permissions::from_mode(0o700)).unwrap();
        let link = base.join("link");
        std::os::unix::fs::symlink(&base, &link).unwrap();
        assert!(make(&link, 0o700).unwrap_err().ends_with("it is not a folder"));
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn only_sockets_named_by_a_process_are_those_of_odins() {
        assert!(is_ours(Path::new("/run/odin/12.sock")));
        for other in ["/run/odin/12", "/run/odin/a.sock", "/run/odin/.sock", "/run/odin/-1.sock"] {
            assert!(!is_ours(Path::new(other)), "{other}");
        }
    }
}
