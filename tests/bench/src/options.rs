//! The command line of the benchmark and the sizes that follow from it.
//!
//! It decides how long and how often; it must never decide how a proxy is configured.

use std::env;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

use crate::case::Case;
use crate::peers::Kind;

/// Compares the CPU that Odin, nginx, HAProxy and Envoy spend per request and per gigabyte.
///
/// A full run takes about twenty-five minutes and rewrites docs/benchmarks.md and its plots. A run with --quick, --only,
/// --proxies or --rounds writes to target/bench instead.
#[derive(Parser, Debug)]
#[command(name = "odin-bench", max_term_width = 110)]
pub(crate) struct Options {
    /// Three short rounds: to see that all works, not to quote.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these cases, by comma.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Case>,
    /// Only these proxies, by comma.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) proxies: Vec<Kind>,
    /// Rounds for each case [default: 5, with --quick 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// The CPU of the load and the backend, and the CPU of the proxy.
    #[arg(long, value_name = "LOAD,PROXY", value_delimiter = ',', num_args = 1, default_values_t = [0, 1])]
    cpus: Vec<usize>,
}

impl Options {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 }).max(1)
    }

    /// A full run, whose result is the one that the documentation shows.
    pub(crate) fn is_full(&self) -> bool {
        !self.quick && self.only.is_empty() && self.proxies.is_empty() && self.rounds() >= 5
    }

    pub(crate) fn wants(&self, case: Case, kind: Kind) -> bool {
        let asked = |case: Case| self.only.is_empty() || self.only.contains(&case);
        // What a plugin adds is a difference: the bare figure has to come from the same rounds.
        let is_base = || {
            Case::value_variants().iter().any(|other| other.base() == Some(case) && other.takes(kind) && asked(*other))
        };
        self.wants_peer(kind) && case.takes(kind) && (asked(case) || is_base())
    }

    pub(crate) fn wants_peer(&self, kind: Kind) -> bool {
        self.proxies.is_empty() || self.proxies.contains(&kind)
    }

    pub(crate) fn load_cpu(&self) -> usize {
        self.cpus.first().copied().unwrap_or(0)
    }

    pub(crate) fn proxy_cpu(&self) -> usize {
        self.cpus.get(1).copied().unwrap_or(1)
    }

    /// Scales an amount of work to the length of the run.
    pub(crate) fn scale(&self, full: u64) -> u64 {
        if self.quick { full / 4 } else { full }
    }

    /// Length of a measured run of a load that goes by time, in seconds.
    pub(crate) fn seconds(&self) -> u64 {
        if self.quick { 1 } else { 3 }
    }
}

/// The root of the repository: two folders above this package, or the current folder outside of cargo.
pub(crate) fn repository() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|package| Path::new(&package).canonicalize().ok())
        .and_then(|package| package.ancestors().nth(2).map(Path::to_owned))
        .or_else(|| env::current_dir().ok())
        .unwrap_or_else(|| PathBuf::from("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_brings_its_base_along_for_the_proxies_that_need_it() {
        let options = |arguments: &[&str]| Options::parse_from(std::iter::once(&"odin-bench").chain(arguments));
        let chain = options(&["--only", "chain,digest"]);
        assert!(chain.wants(Case::Http1, Kind::Odin) && !chain.wants(Case::Http1, Kind::Nginx));
        assert!(chain.wants(Case::Digest, Kind::Envoy) && !chain.wants(Case::Digest, Kind::Haproxy));
        assert!(!chain.wants(Case::Plugin, Kind::Odin));
        assert!(options(&["--only", "plugin"]).wants(Case::Http1, Kind::Nginx));
        assert!(options(&[]).wants(Case::IdleBare, Kind::Odin) && !options(&[]).wants(Case::IdleBare, Kind::Envoy));
        assert!(!options(&["--proxies", "nginx"]).wants(Case::Chain, Kind::Odin));
    }
}
