//! A network and process namespace of the benchmark's own.
//!
//! The outer process only waits: when it ends, however it ends, the kernel ends everything inside, so no proxy can be left
//! behind. Inside, congestion control is reno (bbr paces, also on loopback) and the ports are nobody else's. It must never
//! touch a setting of the machine itself.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::options::Options;

const MARK: &str = "ODIN_BENCH_SANDBOX";
/// Ports that `connect` takes for itself; the listeners' ports lie below.
const EPHEMERAL: &str = "16384 65535";
const LISTEN_FROM: u16 = 12_000;
/// As many as ten thousand ports and the connections beside them need, of each proxy.
const OPEN_FILES: u64 = 20_000;

/// The view from inside.
pub(crate) struct Inside {
    /// For configurations and logs; the outer process removes it.
    pub(crate) dir: PathBuf,
}

impl Inside {
    /// None in the outer process. Sets the namespace up otherwise.
    pub(crate) fn detect() -> Result<Option<Inside>> {
        let Some(dir) = env::var_os(MARK) else { return Ok(None) };
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("cannot run `ip`")?;
        if !up.success() {
            bail!("`ip link set lo up` failed inside the namespace: {up}");
        }
        for (name, value) in
            [("tcp_congestion_control", "reno"), ("ip_local_port_range", EPHEMERAL), ("tcp_tw_reuse", "1")]
        {
            let path = format!("/proc/sys/net/ipv4/{name}");
            fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))?;
        }
        allow_open_files()?;
        Ok(Some(Inside { dir: PathBuf::from(dir) }))
    }

    /// A port that nobody listens on and that no outgoing connection will take.
    pub(crate) fn free_port(&self) -> Result<u16> {
        self.free_port_above(LISTEN_FROM)
    }

    /// Another one than `port`, which is not taken yet.
    pub(crate) fn free_port_above(&self, port: u16) -> Result<u16> {
        (port + 1..16_384)
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .context("no free port in the sandbox")
    }
}

/// Thousands of connections at a time, on both sides of a proxy: for this process and all that it starts.
fn allow_open_files() -> Result<()> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|files| files < OPEN_FILES) {
        let wanted = now.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..now })
            .context("cannot raise the limit of open files")?;
    }
    Ok(())
}

/// Runs this program again inside, and waits for it.
pub(crate) fn enter(options: &Options) -> Result<ExitCode> {
    let dir = tempfile::Builder::new().prefix("odin-bench-").tempdir()?;
    // `setpriv` passes our death on to `unshare`, and that one to the first process inside, with which all others end.
    let mut command = tokio::process::Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        // The same user inside, with the rights over the namespaces: nginx as a mapped root would try to change groups.
        command.args(["--map-current-user", "--keep-caps"]);
    }
    command.args(["taskset", "-c", &options.load_cpu().to_string()]);
    command.arg(env::current_exe()?).args(env::args_os().skip(1)).env(MARK, dir.path()).kill_on_drop(true);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut child = command.spawn().context("cannot run `setpriv` (package util-linux)")?;
        tokio::select! {
            status = child.wait() => anyhow::Ok(Some(status?)),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
        }
    })?;
    match status {
        Some(status) if status.success() => Ok(ExitCode::SUCCESS),
        Some(_) if fs::read_dir(dir.path())?.next().is_none() => {
            eprintln!("odin-bench: it did not come to a run; the sandbox needs `unshare` to work for this user");
            Ok(ExitCode::FAILURE)
        }
        Some(_) => {
            eprintln!("odin-bench: configurations and logs are kept in {}", dir.keep().display());
            Ok(ExitCode::FAILURE)
        }
        None => {
            eprintln!("odin-bench: interrupted, all processes ended");
            Ok(ExitCode::from(130))
        }
    }
}
