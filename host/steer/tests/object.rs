//! The committed object is what its source says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

#[path = "../../../tests/src/skipped.rs"]
#[allow(unreachable_pub, reason = "the end-to-end tests export it")]
mod skipped;
use skipped::skipped;

#[test]
fn the_committed_object_is_what_a_rebuild_makes() {
    let bpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf");
    if !has_linker() || !has_core() {
        return skipped("bpf-linker and Debian's rustc with core for BPF; `make bpf` installs them");
    }
    // Kept for the next time: cargo builds again what has changed.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bpf");
    std::fs::create_dir_all(&folder).unwrap();
    let rebuilt = folder.join("odin-steer.o");
    let build = Command::new(bpf.join("build.sh")).arg(&rebuilt).env("CARGO_TARGET_DIR", &folder).output();
    let build = build.expect("bpf/build.sh");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let same = sha256(&rebuilt) == sha256(&bpf.join("odin-steer.o"));
    assert!(same, "bpf/odin-steer.o is not what bpf/ says: run `make bpf` and commit it");
}

fn sha256(file: &Path) -> Vec<u8> {
    Sha256::digest(std::fs::read(file).unwrap()).to_vec()
}

fn has_linker() -> bool {
    let cargo = std::env::var_os("CARGO_HOME").map(Into::into).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    Command::new("bpf-linker").arg("--version").output().is_ok()
        || cargo.is_some_and(|cargo| cargo.join("bin/bpf-linker").exists())
}

fn has_core() -> bool {
    let output =
        Command::new("/usr/bin/rustc").args(["--print", "target-libdir", "--target", "bpfel-unknown-none"]).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else { return false };
    let folder = String::from_utf8_lossy(&output.stdout);
    let is_core = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libcore-");
    std::fs::read_dir(folder.trim()).is_ok_and(|entries| entries.flatten().any(is_core))
}
