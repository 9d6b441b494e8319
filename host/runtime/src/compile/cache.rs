//! Compiled plugins on disk, from one start to the next. A file is named by what it was compiled from and for, and holds
//! the SHA-256 of its code in front of it.
//! Must never give what another user could have written: it would be run as machine code.

use std::fs::{self, DirBuilder, File, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::Hash;

/// All files together, in bytes. Those that were not used for the longest time go first.
const MAX_BYTES: u64 = 512 << 20;
const ENDING: &str = "cwasm";
/// Group and others.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// A folder that only this user can write.
pub(super) struct Cache(PathBuf);

/// The name of the file for a component with this hash and an engine like this one. wasmtime's version and all settings
/// that make a difference to the code are in the engine's hash.
pub(super) fn name(engine: &wasmtime::Engine, component: &Hash) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let component: String = component.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{component}-{:016x}.{ENDING}", hasher.finish())
}

impl Cache {
    /// Makes the folder if it is not there. The error says why it is not used.
    pub(super) fn open(folder: &Path) -> Result<Cache, String> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| error.to_string())?;
        let found = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
        if !found.is_dir() {
            return Err("it is not a folder".to_owned());
        }
        only_ours(&found)?;
        let cache = Cache(folder.to_owned());
        // Whether it can be written shows only when it is.
        let test = cache.temporary();
        new_file(&test).map_err(|error| error.to_string())?;
        let _ = fs::remove_file(test);
        Ok(cache)
    }

    /// The code in this file, if it is there, whole and of this user.
    pub(super) fn get(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.0.join(name);
        let mut file = File::options().read(true).custom_flags(NO_LINK).open(&path).ok()?;
        let found = file.metadata().ok()?;
        let mut read = || -> Result<Vec<u8>, String> {
            only_ours(&fs::symlink_metadata(&self.0).map_err(|error| error.to_string())?)?;
            only_ours(&found)?;
            let mut hash = Hash::default();
            let mut code = Vec::new();
            file.read_exact(&mut hash).map_err(|error| error.to_string())?;
            file.read_to_end(&mut code).map_err(|error| error.to_string())?;
            if *Sha256::digest(&code) == hash { Ok(code) } else { Err("its checksum is another".to_owned()) }
        };
        match read() {
            Ok(code) => {
                // The order in which files go; if it cannot be kept, this one goes earlier.
                let _ = file.set_modified(SystemTime::now());
                Some(code)
            }
            Err(why) => {
                tracing::warn!("{} is not used: {why}", path.display());
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps code. What cannot be written is compiled again at the next start, and told once in a while by the log.
    pub(super) fn put(&self, name: &str, code: &[u8]) {
        let temporary = self.temporary();
        let written = new_file(&temporary).and_then(|mut file| {
            file.write_all(&Sha256::digest(code))?;
            file.write_all(code)?;
            fs::rename(&temporary, self.0.join(name))
        });
        if let Err(error) = written {
            tracing::info!("a compiled plugin is not kept in {}: {error}", self.0.display());
            let _ = fs::remove_file(&temporary);
        }
        self.trim(MAX_BYTES);
    }

    fn temporary(&self) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.0.join(format!(".{}-{}.new", std::process::id(), COUNT.fetch_add(1, Relaxed)))
    }

    /// Removes what was not used for the longest time until the rest is at most this large.
    fn trim(&self, most: u64) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let is_ours = |path: &PathBuf| path.extension().is_some_and(|ending| ending == ENDING || ending == "new");
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let found = entry.metadata().ok()?;
                Some((found.modified().ok()?, found.len(), entry.path()))
            })
            .filter(|(_, _, path)| is_ours(path))
            .collect();
        files.sort_unstable();
        let mut all: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if all <= most {
                return;
            }
            if fs::remove_file(path).is_ok() {
                all -= bytes;
            }
        }
    }
}

/// A link could lead to a file that is written later.
const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

fn new_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

fn only_ours(found: &Metadata) -> Result<(), String> {
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("it belongs to uid {}", found.uid()));
    }
    match found.mode() & OTHERS_MAY_WRITE {
        0 => Ok(()),
        _ => Err(format!("others may write it (mode {:04o})", found.mode() & 0o7777)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("odin-cache-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_put_is_got_unless_it_was_changed() {
        let folder = Folder::new("changed");
        let cache = Cache::open(&folder.0).unwrap();
        cache.put("a.cwasm", b"code");
        assert_eq!(cache.get("a.cwasm"), Some(b"code".to_vec()));
        let file = folder.0.join("a.cwasm");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let mut changed = fs::read(&file).unwrap();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&file, changed).unwrap();
        assert_eq!(cache.get("a.cwasm"), None);
        assert!(!file.exists(), "it is not looked at again");
        cache.put("a.cwasm", b"code");
        fs::set_permissions(&file, Permissions::from_mode(0o620)).unwrap();
        assert_eq!(cache.get("a.cwasm"), None);
        cache.put("a.cwasm", b"code");
        std::os::unix::fs::symlink(&file, folder.0.join("b.cwasm")).unwrap();
        assert_eq!(cache.get("b.cwasm"), None);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_folder_that_others_may_write_is_not_used() {
        let folder = Folder::new("foreign");
        let cache = Cache::open(&folder.0).unwrap();
        cache.put("a.cwasm", b"code");
        fs::set_permissions(&folder.0, Permissions::from_mode(0o770)).unwrap();
        assert!(Cache::open(&folder.0).is_err_and(|why| why == "others may write it (mode 0770)"));
        assert_eq!(cache.get("a.cwasm"), None, "nor when that is changed later");
        let file = folder.0.join("file");
        fs::write(&file, "").unwrap();
        assert!(Cache::open(&file).is_err());
    }

    #[test]
    fn what_was_not_used_for_long_goes_first() {
        let folder = Folder::new("trim");
        let cache = Cache::open(&folder.0).unwrap();
        for (age, name) in [(30, "a.cwasm"), (20, "b.cwasm"), (10, "c.cwasm")] {
            cache.put(name, &[0; 100]);
            let when = SystemTime::now() - std::time::Duration::from_secs(age);
            File::options().write(true).open(folder.0.join(name)).unwrap().set_modified(when).unwrap();
        }
        // Used: now it is the newest.
        assert!(cache.get("a.cwasm").is_some());
        cache.trim(300);
        assert_eq!(["a.cwasm", "b.cwasm", "c.cwasm"].map(|name| cache.get(name).is_some()), [true, false, true]);
    }
}
