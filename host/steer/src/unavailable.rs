//! Why this process cannot steer: what is missing, and what to do.

use std::fs;
use std::io;
use std::path::Path;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use rustix::thread::CapabilitySet;

/// Why this process cannot steer. Every text says what is missing and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The kernel is too old.
    #[error("Linux {release} has no sk_lookup programs: use Linux 5.9 or newer")]
    Kernel {
        /// What `uname -r` says.
        release: String,
    },
    /// The process lacks capabilities.
    #[error("the process lacks {}: {}", .missing.join(" and "), give(.container))]
    Capabilities {
        /// Their names.
        missing: Vec<&'static str>,
        /// Whether it looks as if this ran in a container.
        container: bool,
    },
    /// The process has the capabilities, but not over the host: those of a user namespace do not count.
    #[error(
        "its capabilities count only inside a user namespace (a rootless or remapped container); {doing} was refused: \
         run it without one, as `docker run --userns=host --cap-add BPF --cap-add NET_ADMIN` does"
    )]
    UserNamespace {
        /// What was being done.
        doing: &'static str,
    },
    /// The process has the capabilities, and the kernel refuses nevertheless.
    #[error(
        "{doing} was refused although CAP_BPF and CAP_NET_ADMIN are there, as a seccomp filter, a security module or a \
         lockdown does: allow the bpf system call, in Docker with `--security-opt seccomp=unconfined` or a profile of \
         your own"
    )]
    Forbidden {
        /// What was being done.
        doing: &'static str,
    },
    /// Kernels before 5.11 count maps against a limit.
    #[error(
        "the limit of locked memory (RLIMIT_MEMLOCK) is too low for the maps: raise it with `ulimit -l unlimited`, \
         `LimitMEMLOCK=infinity` in a systemd unit, or `docker run --ulimit memlock=-1`"
    )]
    Memlock,
    /// The kernel has no BPF, or not all of it.
    #[error(
        "this kernel was built without what steering needs ({doing}: {error}): use one with CONFIG_BPF_SYSCALL, \
         CONFIG_NET and CONFIG_BPF_STREAM_PARSER or CONFIG_NET_SOCK_MSG"
    )]
    Unsupported {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// Anything else.
    #[error("{doing}: {error}")]
    Other {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        error: String,
    },
}

fn give(container: &bool) -> &'static str {
    match container {
        true => {
            "give it them with `docker run --cap-add BPF --cap-add NET_ADMIN` (Kubernetes: securityContext.capabilities.add)"
        }
        false => {
            "give it CAP_BPF and CAP_NET_ADMIN, with AmbientCapabilities= in a systemd unit, \
             `setcap cap_bpf,cap_net_admin+ep` on the binary (and let only a group run it), or as root"
        }
    }
}

impl Unavailable {
    pub(crate) fn other(doing: &'static str, error: impl ToString) -> Unavailable {
        Unavailable::Other { doing, error: error.to_string() }
    }
}

/// What can be seen before trying. It is better told from here: the kernel only ever says EPERM.
pub(crate) fn check() -> Result<(), Unavailable> {
    if kernel() < (5, 9) {
        return Err(Unavailable::Kernel { release: release() });
    }
    let missing = missing_capabilities();
    if !missing.is_empty() {
        return Err(Unavailable::Capabilities { missing, container: in_container() });
    }
    Ok(())
}

/// What an error of loading or attaching means.
pub(crate) fn explain(doing: &'static str, error: EbpfError) -> Unavailable {
    let text = full(&error);
    let Some(kind) = system_error(&error) else { return Unavailable::other(doing, text) };
    let creating = matches!(&error, EbpfError::MapError(MapError::CreateError { .. }));
    match rustix::io::Errno::from_io_error(&kind) {
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
            if creating && kernel() < (5, 11) && memlock_is_limited() {
                Unavailable::Memlock
            } else if in_user_namespace() {
                Unavailable::UserNamespace { doing }
            } else if verifier_spoke(&error) {
                Unavailable::other(doing, text)
            } else {
                Unavailable::Forbidden { doing }
            }
        }
        Some(rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            Unavailable::Unsupported { doing, error: kind }
        }
        Some(rustix::io::Errno::INVAL) if !verifier_spoke(&error) => Unavailable::Unsupported { doing, error: kind },
        _ => Unavailable::other(doing, text),
    }
}

/// What the system call said.
fn system_error(error: &EbpfError) -> Option<io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(io::Error::from_raw_os_error(code));
        }
        cause = error.source();
    }
    // Transparent errors hide what they hold from `source`.
    let of_map = |error: &MapError| match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        MapError::CreateError { io_error, .. } | MapError::IoError(io_error) => io_error.raw_os_error(),
        _ => None,
    };
    let code = match error {
        EbpfError::MapError(error) | EbpfError::ProgramError(ProgramError::MapError(error)) => of_map(error),
        EbpfError::ProgramError(ProgramError::SyscallError(error)) => error.io_error.raw_os_error(),
        EbpfError::ProgramError(ProgramError::LoadError { io_error, .. } | ProgramError::IOError(io_error)) => {
            io_error.raw_os_error()
        }
        _ => None,
    };
    code.map(io::Error::from_raw_os_error)
}

/// The verifier explains itself when it is it that refuses.
fn verifier_spoke(error: &EbpfError) -> bool {
    matches!(error, EbpfError::ProgramError(ProgramError::LoadError { verifier_log, .. })
        if !verifier_log.to_string().trim().is_empty())
}

/// What the verifier ends with, of the hundreds of lines that lead there.
fn objection(log: &str) -> String {
    let told =
        |line: &&str| !["verification time", "stack depth", "processed"].iter().any(|start| line.starts_with(start));
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).filter(told).collect();
    lines[lines.len().saturating_sub(2)..].join("; ")
}

/// An error with its causes.
fn full(error: &EbpfError) -> String {
    if let EbpfError::ProgramError(ProgramError::LoadError { io_error, verifier_log }) = error {
        return format!("{io_error}: {}", objection(&verifier_log.to_string()));
    }
    let error: &dyn std::error::Error = error;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// CAP_SYS_ADMIN stands for both, as it did before they were split off.
fn missing_capabilities() -> Vec<&'static str> {
    // Where it cannot be read, trying tells.
    let Ok(sets) = rustix::thread::capabilities(None) else { return Vec::new() };
    let lacks = |flag| !sets.effective.intersects(flag | CapabilitySet::SYS_ADMIN);
    [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN")]
        .into_iter()
        .filter_map(|(flag, name)| lacks(flag).then_some(name))
        .collect()
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The kernel's version; what cannot be read counts as new.
pub(crate) fn kernel() -> (u32, u32) {
    let release = release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (u32::MAX, 0),
    }
}

/// Whether map updates go on needing CAP_BPF after the maps are open: kernels before 5.19 check it again for every
/// system call when `kernel.unprivileged_bpf_disabled` is set. Such a process keeps CAP_BPF.
pub fn updates_need_capability() -> bool {
    let disabled = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    kernel() < (5, 19) && disabled.map_or(true, |value| value.trim() != "0")
}

fn memlock_is_limited() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Memlock).current.is_some()
}

fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole: Vec<_> = map.split_ascii_whitespace().collect();
    !map.is_empty() && whole != ["0", "0", "4294967295"]
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists())
        || ["container", "KUBERNETES_SERVICE_HOST"].iter().any(|name| std::env::var_os(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_is_missing_and_what_to_do() {
        let error = |container| Unavailable::Capabilities { missing: vec!["CAP_BPF", "CAP_NET_ADMIN"], container };
        assert!(error(false).to_string().starts_with("the process lacks CAP_BPF and CAP_NET_ADMIN: give it"));
        assert!(error(true).to_string().contains("docker run --cap-add"));
        assert!(kernel() >= (4, 0), "this kernel tells its version");
    }
}
