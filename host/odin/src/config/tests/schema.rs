//! The files that are made of the keys are up to date. A real validator tries the schema in `tests/tests/schema.rs`.

use std::path::PathBuf;

use super::super::{Limits, Timeouts, describe};
use super::Folder;

fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn the_files_that_are_made_of_the_keys_are_up_to_date() {
    for (file, made) in [("configs/full.toml", describe::example()), ("docs/config.md", describe::page())] {
        let path = workspace().join(file);
        if std::env::var_os("ODIN_WRITE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == made, "{file} is not what the keys say; ODIN_WRITE=1 in front of this test writes it");
    }
}

#[test]
fn the_example_is_a_config_with_the_defaults() {
    let folder = Folder::new("example");
    folder.write("plugins/target/wasm32-unknown-unknown/release/headers.wasm", "");
    folder.write("configs/here", "");
    let config = folder.good(&describe::example(), "configs/full.toml");
    assert_eq!((&config.timeouts, &config.limits), (&Timeouts::default(), &Limits::default()));
}
