//! Where the things are that `make` has built. Never builds: a test that compiles is a test that times out.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn workspace() -> PathBuf {
    let tests = std::fs::canonicalize(env!("CARGO_MANIFEST_DIR")).expect("the tests' own folder is there");
    tests.parent().expect("the tests live in the workspace").to_path_buf()
}

/// The binary: `$ODIN_BIN`, or the one beside this test's own, or the workspace's debug build.
pub fn odin() -> PathBuf {
    if let Some(path) = std::env::var_os("ODIN_BIN") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "$ODIN_BIN is {}, which is no file", path.display());
        return path;
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("odin")));
    let built = workspace().join("target/debug/odin");
    match beside.into_iter().chain([built]).find(|path| path.is_file()) {
        Some(path) => path,
        None => panic!("the odin binary is not built: run `make test` (or set ODIN_BIN)"),
    }
}

/// The compiled plugin or test guest of that name: in `$ODIN_PLUGINS`, or in the plugins' release folder.
pub fn plugin(name: &str) -> PathBuf {
    let folder = match std::env::var_os("ODIN_PLUGINS") {
        Some(folder) => PathBuf::from(folder),
        None => workspace().join("plugins/target/wasm32-unknown-unknown/release"),
    };
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.is_file(), "the plugin {name}.wasm is not built: run `make test` (or set ODIN_PLUGINS)");
    path
}

/// The bytes of a compiled plugin or test guest.
pub fn plugin_bytes(name: &str) -> Vec<u8> {
    read(&plugin(name))
}

/// The config of that name in `configs/`.
pub fn config(name: &str) -> PathBuf {
    workspace().join("configs").join(name)
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
