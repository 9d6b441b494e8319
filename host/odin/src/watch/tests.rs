//! The watch by itself; tests/tests/watch.rs has it in the running Odin.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::*;
use crate::check::Validated;
use crate::cli::Start;
use crate::resolve::Names;

/// A folder with a config file, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("odin-watch-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn watch(&self) -> Watch {
        let assembly = Assembly::new(&Start::default(), Validated::default(), &Names::default(), None, 1).unwrap();
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
