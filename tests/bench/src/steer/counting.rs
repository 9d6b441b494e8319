//! The kernel's account of what BPF programs cost, switched on.
//!
//! It is switched by a file descriptor and not by `kernel.bpf_stats_enabled`, which is the whole machine's and would stay on
//! after a run that was killed. Counting costs two readings of the clock for each run of a program, so it must not be on while
//! anything else is measured.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use aya::sys::{Stats, enable_stats};

/// The kernel counts as long as this lives.
pub(crate) struct Counting {
    _switch: OwnedFd,
}

impl Counting {
    pub(crate) fn start() -> Result<Counting> {
        let switch = enable_stats(Stats::RunTime).context("the kernel does not count what BPF programs cost")?;
        Ok(Counting { _switch: switch })
    }
}
