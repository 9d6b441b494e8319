//! A test that cannot run where it was started counts as passed: so it is listed, and `.ci/run` fails on it.

use std::path::Path;
use std::process::{Command, Output};

use odin_tests::{netns, paths, skipped};

/// What the other test runs without the rights that it needs.
#[test]
fn a_test_in_a_namespace() {
    netns::run(async || assert_eq!(netns::listening(), []));
}

#[test]
fn a_test_that_cannot_run_is_listed_and_ci_fails_on_it() {
    if Command::new("setpriv").arg("--version").output().is_err() {
        return skipped("setpriv");
    }
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("skipped");
    let without_rights = "--no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all";
    let mut run = match rustix::process::geteuid().is_root() {
        true => Command::new("setpriv"),
        // Nobody else has any right that could be dropped.
        false => Command::new("env"),
    };
    if rustix::process::geteuid().is_root() {
        run.args(without_rights.split(' '));
    }
    run.arg(std::env::current_exe().unwrap()).args(["a_test_in_a_namespace", "--exact"]);
    let run = run.env("ODIN_SKIPPED", &list).output().unwrap();
    assert!(run.status.success() && said(&run).contains("1 passed"), "{run:?}");

    let line = "SKIPPED skipped::a_test_in_a_namespace: needs CAP_SETGID, ";
    assert!(std::fs::read_to_string(&list).unwrap().starts_with(line));
    assert!(said(&run).contains(line), "a developer sees it: {run:?}");

    // `make test` prints the list and passes.
    let told = tell(&list, None);
    assert!(told.status.success() && said(&told).contains(line) && said(&told).contains("1 test"), "{told:?}");
    // `.ci/run` fails, unless it knows of the test.
    let expected = folder.path().join("expected");
    std::fs::write(&expected, "# none\nskipped::another_test  because\n").unwrap();
    let told = tell(&list, Some(&expected));
    assert!(!told.status.success() && said(&told).contains(line), "{told:?}");
    std::fs::write(&expected, "skipped::a_test_in_a_namespace  because\n").unwrap();
    assert!(tell(&list, Some(&expected)).status.success());
    // Nothing was skipped.
    std::fs::write(&list, "").unwrap();
    assert!(tell(&list, Some(Path::new("/dev/null"))).status.success());
}

#[test]
fn what_ci_expects_to_be_skipped_are_tests() {
    let expected = std::fs::read_to_string(paths::workspace().join(".ci/expected-skips")).unwrap();
    for name in expected.lines().filter(|line| !line.starts_with('#')) {
        let (name, reason) =
            name.split_once("  ").unwrap_or_else(|| panic!("a test, two spaces and a reason: {name:?}"));
        let (file, test) = name.split_once("::").unwrap_or_else(|| panic!("a file and a test: {name:?}"));
        let sources = ["tests/tests", "host/steer/tests"].map(|folder| paths::workspace().join(folder));
        let is_there = sources.iter().any(|folder| {
            let source = std::fs::read_to_string(folder.join(format!("{file}.rs"))).unwrap_or_default();
            source.contains(&format!("fn {test}("))
        });
        assert!(is_there && !reason.is_empty(), "{name}");
    }
}

/// What `tests/skipped.sh` says about the list.
fn tell(list: &Path, expected: Option<&Path>) -> Output {
    Command::new(paths::workspace().join("tests/skipped.sh")).arg(list).args(expected).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
