//! What the kernel says about a process, and signals to it. Never signals anything but a process that a test started.

use rustix::process::{Pid, Signal, kill_process};

/// The resident memory of the process in bytes, from `/proc`.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a running process has VmRSS");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("VmRSS is a number");
    kib * 1024
}

/// The most that the process has had resident since the last [`forget_peak`], in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a running process has VmHWM");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("VmHWM is a number");
    kib * 1024
}

/// Sets the peak to what is resident now (`man 5 proc`, `clear_refs`).
pub(crate) fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak can be reset");
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a pid fits")).expect("a pid is not zero");
    kill_process(pid, signal).expect("the process is there");
}
