//! Tells of tests that could not run where they were started. A test that does nothing counts as passed, and cargo hides
//! what it prints: so it is also written to the file that the variable `ODIN_SKIPPED` names. `make test` prints that
//! file at its end, and `.ci/run` fails on each line that `.ci/expected-skips` does not know.
//!
//! The tests of `host/steer` include this file by its path: it needs nothing but std.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::Location;
use std::path::Path;

/// Tells that the test of this thread does not run, and what it needs. The test must return then.
///
/// On standard error, where cargo does not capture it, and in the file `$ODIN_SKIPPED`, one line for each test:
/// `SKIPPED steering::the_name_of_the_test: needs CAP_BPF`.
#[track_caller]
pub fn skipped(needs: &str) {
    let line = format!("SKIPPED {}: needs {needs}\n", test(Location::caller()));
    let _ = std::io::stderr().write_all(line.as_bytes());
    let Some(file) = std::env::var_os("ODIN_SKIPPED") else { return };
    // Tests run side by side: a short line that is appended at once stays whole.
    let opened = OpenOptions::new().append(true).create(true).open(&file);
    let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("ODIN_SKIPPED={}: {error}", Path::new(&file).display()));
}

/// The binary and the test, as `cargo test` names them; the line of the source when the thread has no name of its own,
/// as with `--test-threads=1`.
fn test(caller: &Location<'_>) -> String {
    let binary = std::env::current_exe().unwrap_or_default();
    let binary = binary.file_stem().unwrap_or_default().to_string_lossy();
    // Without the hash that cargo appends.
    let binary = binary.rsplit_once('-').map_or(&*binary, |(name, _)| name);
    match std::thread::current().name() {
        Some(name) if name != "main" => format!("{binary}::{name}"),
        _ => format!("{binary}::{}:{}", caller.file(), caller.line()),
    }
}
