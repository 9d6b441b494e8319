//! One running proxy, with its helper if it needs one: started on one CPU, checked, measured, and ended when dropped.
//!
//! It must not be handed out before it has answered as the case wants it to.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::program::Program;
use super::{Helper, Installed, Setup, check};

/// A proxy that serves. Dropping it ends it.
pub(crate) struct Running {
    proxy: Program,
    helper: Option<Program>,
}

/// CPU time used so far, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) proxy: u64,
    /// None without a helper.
    pub(crate) helper: Option<u64>,
}

impl Used {
    /// What was used since an earlier reading.
    pub(crate) fn since(self, before: Used) -> Used {
        let helper = self.helper.zip(before.helper).map(|(now, then)| now.saturating_sub(then));
        Used { proxy: self.proxy.saturating_sub(before.proxy), helper }
    }

    pub(crate) fn sum(self) -> u64 {
        self.proxy + self.helper.unwrap_or(0)
    }
}

impl Running {
    /// Starts the proxy on one CPU, its helper with it, and returns when it has served.
    pub(crate) fn start(installed: &Installed, setup: &Setup, cpu: usize) -> Result<Running> {
        let helper = installed.helper(setup)?.map(|helper| helper.start(setup, cpu)).transpose()?;
        let proxy = Program::start(installed.kind.name(), installed.command(setup)?, cpu, setup.dir)?;
        let mut running = Running { proxy, helper };
        let port = setup.listen;
        let connects = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        running.proxy.wait_until_open(&format!("port {port}"), connects)?;
        check::serves(installed.kind, setup).with_context(|| running.explain("serves wrongly"))?;
        Ok(running)
    }

    pub(crate) fn used(&self) -> Result<Used> {
        let helper = self.helper.as_ref().map(Program::cpu_nanos).transpose()?;
        Ok(Used { proxy: self.proxy.cpu_nanos()?, helper })
    }

    /// Memory of the proxy itself.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.proxy.resident_bytes()
    }

    /// Sends a signal to the proxy, or to its master if it has one.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.proxy.signal(signal)
    }

    /// What to say when something goes wrong with it.
    pub(crate) fn explain(&self, what: &str) -> String {
        self.proxy.explain(what)
    }
}

impl Helper {
    fn start(self, setup: &Setup, cpu: usize) -> Result<Program> {
        // A round before this one left it.
        let _ = fs::remove_file(&self.socket);
        let place = self.socket.display().to_string();
        let mut helper = Program::start("processor", (self.binary, vec![place.clone()]), cpu, setup.dir)?;
        helper.wait_until_open(&place, || UnixStream::connect(&self.socket).is_ok())?;
        Ok(helper)
    }
}
