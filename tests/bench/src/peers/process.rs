//! One running proxy: started on its own CPU, checked, measured, and ended when dropped.
//!
//! It ends only processes that it started, by their ids, and must leave none of them running.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Installed, Setup};
use crate::case::{Shape, Variant};
use crate::cpu;
use crate::origin::MIRROR;

const START: Duration = Duration::from_secs(15);

/// A proxy that serves. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    pub(crate) log: PathBuf,
}

impl Running {
    /// Starts the proxy on one CPU and returns when it has served.
    pub(crate) fn start(proxy: &Installed, setup: &Setup, cpu: usize) -> Result<Running> {
        let name = proxy.kind.name();
        let (binary, arguments) = proxy.command(setup)?;
        let log = setup.dir.join(format!("{}.log", name.to_lowercase()));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new("taskset")
            .args(["-c", &cpu.to_string()])
            .arg(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot run `taskset` (package util-linux)")?;
        let mut running = Running { child, log };
        running.wait_until_open(setup.listen).with_context(|| running.explain(name, "did not start"))?;
        if setup.shape == Shape::Http1 {
            check(setup).with_context(|| running.explain(name, "serves wrongly"))?;
        }
        Ok(running)
    }

    /// CPU time used so far, all threads and processes. A worker may be younger than the socket that it serves, so the
    /// family is looked up each time.
    pub(crate) fn cpu_nanos(&self) -> Result<u64> {
        cpu::nanos(&cpu::family(self.child.id())?)
    }

    /// What to say when something goes wrong with it.
    pub(crate) fn explain(&self, name: &str, what: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("(empty)");
        format!("{name} {what}; its log {} ends: {last}", self.log.display())
    }

    fn wait_until_open(&mut self, port: u16) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < START {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("nothing listens on port {port} after {START:?}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without its master a worker would live on: all that are there now.
        for pid in cpu::family(self.child.id()).unwrap_or_else(|_| vec![self.child.id()]) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself: nothing to do then.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// Asks once and looks at what arrived on both ends, so that no proxy is measured doing less than the others.
fn check(setup: &Setup) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", setup.listen))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {MIRROR} HTTP/1.1\r\nhost: bench\r\nuser-agent: check\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no whole answer came")?;
    let answer = answer.to_ascii_lowercase();
    let (response, request) = answer.split_once("\r\n\r\n").context("the answer has no head")?;
    let (in_request, in_response): (&[&str], &[&str]) = match setup.variant {
        Variant::Bare => (&[], &[]),
        Variant::Plugin => (&["x-odin: seen"], &["x-odin-response: yes"]),
        Variant::Forwarded => {
            (&["forwarded: for=127.0.0.1;", "x-forwarded-for: 127.0.0.1", "x-request-id: ", "via: 1.1 "], &["via: "])
        }
    };
    let all = |there: &str, wanted: &[&str]| wanted.iter().all(|w| there.contains(&format!("\r\n{w}")));
    if !response.starts_with("http/1.1 200") || !all(request, in_request) || !all(response, in_response) {
        bail!("wanted 200 with {in_response:?} and a request with {in_request:?}, but this came:\n{answer}");
    }
    Ok(())
}
