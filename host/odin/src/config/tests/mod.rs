//! What the config accepts and what it says when it does not. Must never need a built plugin: files are stand-ins.

#![allow(clippy::unwrap_used, reason = "tests")]

mod cases;
mod fuzz;
mod good;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};

use super::{Config, Errors};

/// A folder of its own with a stand-in plugin in it, `lb.wasm`; removed at the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// `name` must be unique among the tests.
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("odin-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let folder = Folder(path);
        folder.write("lb.wasm", "");
        folder
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    pub(super) fn write(&self, file: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// What `parse` says, with the folder left out of the file's name.
    pub(super) fn errors(&self, text: &str, file: &str) -> String {
        match super::parse(text, &self.path(file)) {
            Ok(config) => panic!("no error in\n{text}\nbut {:#?}", config.0),
            Err(errors) => self.relative(&errors),
        }
    }

    fn relative(&self, errors: &Errors) -> String {
        errors.to_string().replace(&format!("{}/", self.0.display()), "")
    }

    pub(super) fn good(&self, text: &str, file: &str) -> Config {
        super::parse(text, &self.path(file)).unwrap_or_else(|errors| panic!("{errors}\nin\n{text}")).0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_ending_of_the_file_tells_the_syntax() {
    for file in ["odin", "odin.ini", ".toml"] {
        let error = super::parse("", Path::new(file)).unwrap_err().to_string();
        let expected =
            format!("{file}: the file's ending does not tell its syntax; name it .toml, .yaml, .yml or .json");
        assert_eq!(error, expected);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_name() {
    let folder = Folder::new("unreadable");
    let missing = super::load(&folder.path("none.toml")).unwrap_err();
    assert_eq!(folder.relative(&missing), "none.toml: cannot read the file: No such file or directory (os error 2)");
    let file = folder.write("latin.toml", b"# fine\nadmin = \"caf\xe9\"\n");
    let latin = super::load(&file).unwrap_err();
    assert_eq!(folder.relative(&latin), "latin.toml:2: not UTF-8 text; save the file as UTF-8");
}

#[test]
fn an_error_tells_its_key_path_apart_from_its_text() {
    let folder = Folder::new("key-path");
    let text = "[[listeners]]\naddress = \"127.0.0.1:1\"\n[[listeners.routes]]\ncluster = 1\n";
    let errors = super::parse(text, &folder.path("a.toml")).unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["listeners[0].routes[0].cluster"]);
}
