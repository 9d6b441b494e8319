//! Gives up what was needed to start: the capabilities, and the user that had them.
//!
//! Must run before the first thread is started: on Linux each thread has capabilities of its own.

use std::ffi::CString;

use anyhow::{Context as _, anyhow, bail};
use nix::unistd::{Gid, Uid, User};
use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What became of the process.
pub(crate) struct Dropped {
    /// Capabilities that it had and has no more.
    pub(crate) capabilities: bool,
    /// The user that it runs as now, if that is another.
    pub(crate) user: Option<String>,
}

/// A user that this process is to become.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// As the config has it: a name or a number.
    written: String,
    /// By which its groups are known; none: the system knows no user with this number.
    name: Option<String>,
}

impl Account {
    /// Looks up the value of the key `user`, a name or a number. None when this process is that user already.
    pub(crate) fn find(user: &str) -> anyhow::Result<Option<Account>> {
        let (number, written) = (user.parse::<u32>(), user.to_owned());
        let found = match number {
            Ok(uid) => User::from_uid(Uid::from_raw(uid))?,
            Err(_) => User::from_name(user)?,
        };
        let account = match (found, number) {
            (Some(found), _) => Account { uid: found.uid, gid: found.gid, written, name: Some(found.name) },
            (None, Ok(number)) => {
                Account { uid: Uid::from_raw(number), gid: Gid::from_raw(number), written, name: None }
            }
            (None, Err(_)) => bail!("no such user; add it (useradd --system {user}), or remove `user`"),
        };
        let same = nix::unistd::geteuid() == account.uid && nix::unistd::getuid() == account.uid;
        Ok((!same).then_some(account))
    }
}

/// Switches to `user`, and keeps no capability but those of `keep` that are there.
pub(crate) fn drop_all_but(keep: CapabilitySet, user: Option<&Account>) -> anyhow::Result<Dropped> {
    let before = rustix::thread::capabilities(None).context("cannot read the capabilities")?;
    let kept = before.permitted & keep;
    let switched = match user {
        Some(account) => Some(switch(account, !kept.is_empty())?),
        None => None,
    };
    if before.permitted.is_empty() && switched.is_none() {
        return Ok(Dropped { capabilities: false, user: None });
    }
    // A program that this one starts, which a new binary is, must not get back what is given up here.
    rustix::thread::set_no_new_privs(true).context("cannot give up new privileges")?;
    rustix::thread::clear_ambient_capability_set().context("cannot clear the ambient capabilities")?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    rustix::thread::set_capabilities(None, sets).context("cannot give up the capabilities")?;
    for capability in kept.iter() {
        // A new binary needs what this one keeps. Where the kernel forbids that, only sockets handed over will do.
        let _ = rustix::thread::configure_capability_in_ambient_set(capability, true);
    }
    Ok(Dropped { capabilities: before.permitted != kept, user: switched })
}

/// Becomes another user, and answers who that is.
fn switch(account: &Account, keep: bool) -> anyhow::Result<String> {
    let Account { uid, gid, written, name } = account;
    let (uid, gid) = (*uid, *gid);
    let denied =
        |error| anyhow!("user = {written:?}: cannot become uid {uid}: {error}; start Odin as root, or remove `user`");
    if keep {
        rustix::thread::set_keep_capabilities(true)?;
    }
    match name {
        Some(name) => nix::unistd::initgroups(&CString::new(name.as_str())?, gid).map_err(denied)?,
        None => nix::unistd::setgroups(&[]).map_err(denied)?,
    }
    nix::unistd::setresgid(gid, gid, gid).map_err(denied)?;
    nix::unistd::setresuid(uid, uid, uid).map_err(denied)?;
    // Or /proc/self belongs to root from here on, where the runtime of plugins and the counters of BPF are looked up.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(format!("{written} (uid {uid})"))
}

/// Lets this process open as many files as it is allowed to: each connection is two.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}
