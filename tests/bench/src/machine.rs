//! What the figures were measured on: machine, tools, commit.
//!
//! It only asks; a tool that is not there is named as missing and is no error.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::options::repository;
use crate::peers::{first_line, on_path};

/// `AMD EPYC, 2 cores, Linux 6.18.44`
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Beyond the first dash comes the name of whoever built it.
    let kernel = release.trim().split('-').next().unwrap_or_default();
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    format!("{model}, {cores} cores, Linux {kernel}")
}

/// `0123abc` with a note when the tree differs from it, or `no commit yet`.
pub(crate) fn commit() -> String {
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "no commit yet".to_owned() };
    let differs = git(&["status", "--porcelain", "--untracked-files=no", "--", "host", "plugins", "Cargo.lock"]);
    if differs.is_some_and(|lines| !lines.is_empty()) { format!("{commit} with changes") } else { commit }
}

/// Versions of the load generators, as a sentence part.
pub(crate) fn loads() -> String {
    let version = |tool: &str, flag: &str, word: usize| {
        on_path(tool)
            .and_then(|path| first_line(&path, flag).ok())
            .and_then(|line| {
                line.split([' ', '/'])
                    .filter(|w| w.starts_with(|c: char| c.is_ascii_digit()))
                    .nth(word)
                    .map(str::to_owned)
            })
            .map_or_else(|| format!("{tool} (missing)"), |version| format!("{tool} {version}"))
    };
    format!("{}, {}", version("wrk", "-v", 0), version("h2load", "--version", 0))
}

fn git(arguments: &[&str]) -> Option<String> {
    let root = repository();
    let output = Command::new("git").arg("-C").arg::<&Path>(&root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
