//! Whether whoever started this process can live with another process in its place. Many end, or start one more, when
//! the process that they started ends: with them an upgrade would lose everything a while after it went well.

use std::fs;

use anyhow::bail;

/// Programs that follow nothing but their own child, by the names of their processes.
const SUPERVISORS: [&str; 10] = [
    "catatonit",
    "circusd",
    "docker-init",
    "dumb-init",
    "multirun",
    "runsv",
    "s6-supervise",
    "supervise",
    "supervisord",
    "tini",
];

/// What is known of who started this process.
struct Parent {
    /// None outside of this PID namespace.
    pid: Option<i32>,
    name: String,
    /// This PID namespace is that of the machine, not of a container.
    of_machine: bool,
    /// systemd started this very process.
    systemd: bool,
    /// systemd, or who is like it, is told which process is the service.
    told: bool,
}

/// An error where an upgrade would end badly.
pub(crate) fn follows() -> anyhow::Result<()> {
    let pid = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    let name = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let id = std::process::id().to_string();
    check(&Parent {
        pid,
        name: name.unwrap_or_default().trim_end().to_owned(),
        // The number that the kernel gives to its first one.
        of_machine: namespace.as_os_str() == "pid:[4026531836]",
        systemd: std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == id),
        told: std::env::var_os("NOTIFY_SOCKET").is_some(),
    })
}

fn check(parent: &Parent) -> anyhow::Result<()> {
    if parent.told {
        return Ok(());
    }
    if SUPERVISORS.contains(&&*parent.name) {
        bail!(
            "{} started this process and does not follow another one in its place: it would end, or start one more; \
             restart Odin instead, or let systemd run it (Type=notify)",
            parent.name
        );
    }
    if parent.systemd {
        bail!(
            "the unit is not of Type=notify: systemd would end the service with this process; see configs/odin.service"
        );
    }
    match parent.pid {
        None => {
            bail!("Odin is the first process of its container, which would end with it; replace the container instead")
        }
        Some(1) if !parent.of_machine => bail!(
            "the container's first process ({}) started this one, and may end the container with it; replace the \
             container instead",
            parent.name
        ),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pid: Option<i32>, name: &str, of_machine: bool, systemd: bool, told: bool) -> bool {
        check(&Parent { pid, name: name.to_owned(), of_machine, systemd, told }).is_err()
    }

    #[test]
    fn who_would_end_with_this_process_is_not_left_with_another() {
        assert!(refused(None, "", false, false, false), "process 1 of a container");
        assert!(refused(Some(1), "tini", false, false, false), "docker run --init");
        assert!(refused(Some(1), "sh", false, false, false), "an entry point that waits");
        assert!(refused(Some(77), "supervisord", true, false, false));
        assert!(refused(Some(1), "systemd", true, true, false), "Type=simple");
    }

    #[test]
    fn whoever_follows_or_does_not_care_gets_a_new_process() {
        assert!(!refused(Some(1), "systemd", true, true, true), "Type=notify");
        assert!(!refused(Some(77), "bash", true, false, false));
        assert!(!refused(Some(77), "bash", false, false, false), "a shell in a container");
        assert!(!refused(Some(1), "init", true, false, false), "its shell has ended");
        assert!(!refused(Some(77), "odin", true, false, false), "after an upgrade");
    }
}
