//! Resident memory of a process and its children, in bytes.
//!
//! It reads `/proc/PID/smaps_rollup`, which counts pages; the sums of `/proc/PID/status` may lag behind by some pages a thread.

use std::fs;

use anyhow::{Context, Result};

/// What all these processes have in memory now.
pub(crate) fn resident_bytes(pids: &[u32]) -> Result<u64> {
    pids.iter()
        .map(|pid| {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            let kilobytes = text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
            Ok(kilobytes.and_then(|number| number.parse::<u64>().ok()).with_context(|| format!("no Rss in {path}"))?
                * 1024)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_to_becomes_resident() -> Result<()> {
        let me = [std::process::id()];
        let before = resident_bytes(&me)?;
        let block = std::hint::black_box(vec![1_u8; 32 << 20]);
        let after = resident_bytes(&me)?;
        assert!(after >= before + 30 * (1 << 20), "{before} before, {after} after {} bytes more", block.len());
        Ok(())
    }
}
