//! The command line of the benchmark and the sizes that follow from it.
//!
//! It decides how long and how often; it must never decide how a proxy is configured.

use std::env;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::case::Case;
use crate::peers::Kind;

/// Compares the CPU that Odin, nginx, HAProxy and Envoy spend per request and per gigabyte.
///
/// A full run takes about ten minutes and rewrites docs/benchmarks.md and docs/benchmarks.svg. A run with --quick, --only,
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

    pub(crate) fn wants(&self, case: Case) -> bool {
        // What a plugin adds is a difference: the bare figure has to come from the same rounds.
        let bare_needed = case == Case::Http1 && self.only.iter().any(|c| matches!(c, Case::Plugin | Case::Forwarded));
        self.only.is_empty() || bare_needed || self.only.contains(&case)
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
