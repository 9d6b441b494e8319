//! CPU time of a process, its threads and its children, in nanoseconds.
//!
//! It reads the scheduler's own account (`/proc/PID/task/TID/schedstat`) because the ticks of `/proc/PID/stat` are 10 ms.
//! A thread that ends takes its account with it, so both readings must be made while the proxy is at rest.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

/// User and system time that all threads of these processes have used so far.
pub(crate) fn nanos(pids: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("process {pid} has ended: cannot read {tasks}"))? {
            let path = task?.path().join("schedstat");
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let on_cpu = text.split_ascii_whitespace().next().and_then(|field| field.parse::<u64>().ok());
            sum += on_cpu.with_context(|| format!("{} says nothing: no CONFIG_SCHED_INFO?", path.display()))?;
        }
    }
    Ok(sum)
}

/// Time in which one CPU of the machine did anything at all, or was taken away by the hypervisor; ticks of 10 ms.
pub(crate) fn busy_nanos(cpu: usize) -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{cpu} ")))?;
    // user nice system idle iowait irq softirq steal; what follows is counted in user already.
    let ticks = line.split_ascii_whitespace().take(8).enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    Some(ticks.filter_map(|(_, field)| field.parse::<u64>().ok()).sum::<u64>() * 10_000_000)
}

/// A process and all that descend from it.
pub(crate) fn family(pid: u32) -> Result<Vec<u32>> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|child| Some((child, parent(child)?)))
        .collect();
    let mut family = BTreeSet::from([pid]);
    loop {
        let before = family.len();
        for (child, parent) in &parents {
            if family.contains(parent) {
                family.insert(*child);
            }
        }
        if family.len() == before {
            return Ok(family.into_iter().collect());
        }
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything: what follows the last one is state, then parent.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_some_time_and_is_its_own_family() -> Result<()> {
        let me = std::process::id();
        assert!(family(me)?.contains(&me));
        assert!(nanos(&[me])? > 0);
        Ok(())
    }
}
