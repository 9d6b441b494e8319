//! The cases `ports` and `ports-bound`: how long a reload takes that adds ten thousand ports, and one that removes them.
//!
//! The clock runs from the moment when the proxy is told, the new configuration lying there, to the moment when the last port
//! serves a request, or refuses a connection. It must not stop for a proxy that has only promised so.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::{PORTS, admin, many};
use crate::load::visits::visit;
use crate::options::Options;
use crate::peers::{Installed, Kind, Running, Setup};

const PATIENCE: Duration = Duration::from_secs(60);
/// For one request. Those that a proxy lets hang while it changes are asked again.
const REQUEST: Duration = Duration::from_secs(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(1);

/// How long two reloads took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reload {
    pub(crate) added: Took,
    pub(crate) removed: Took,
}

/// How long a reload took, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Until it was reported done; none where nothing reports it.
    pub(crate) answer: Option<f64>,
    /// Until it was seen at the last port.
    pub(crate) seen: f64,
}

/// Adds the ports and removes them. `setup` has the listener that stays and, for Odin, the admin pages.
pub(crate) fn measure(options: &Options, proxy: &Installed, setup: Setup) -> Result<Reload> {
    let more = many();
    let running = Running::start(proxy, &setup, options.proxy_cpu())?;
    let last = address(PORTS.end - 1);
    let added = reload(proxy, &running, &Setup { more: &more, ..setup }, || serves(last))
        .with_context(|| running.explain(&format!("did not get {} ports", more.len())))?;
    for port in PORTS.step_by(97) {
        until(|| serves(address(port))).with_context(|| running.explain(&format!("lacks port {port}")))?;
    }
    let removed = reload(proxy, &running, &setup, || refuses(last))
        .with_context(|| running.explain(&format!("did not give up {} ports", more.len())))?;
    until(|| serves(address(setup.listen))).with_context(|| running.explain("lost the port that stays"))?;
    Ok(Reload { added, removed })
}

/// Writes the configuration, says so, and waits until it is seen.
fn reload(proxy: &Installed, running: &Running, setup: &Setup, is_seen: impl Fn() -> bool) -> Result<Took> {
    proxy.configure(setup)?;
    let begin = Instant::now();
    let millis = || begin.elapsed().as_secs_f64() * 1e3;
    let answer = match proxy.kind {
        Kind::Odin => {
            admin::reload(setup.odin.admin.context("no admin pages to ask")?)?;
            Some(millis())
        }
        // What `nginx -s reload` sends, which itself reads the configuration a second time.
        Kind::Nginx => running.signal(Signal::HUP).map(|()| None)?,
        Kind::Haproxy => running.signal(Signal::USR2).map(|()| None)?,
        Kind::Envoy => bail!("it takes no part"),
    };
    until(is_seen)?;
    Ok(Took { answer, seen: millis() })
}

fn until(holds: impl Fn() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !holds() {
        if begin.elapsed() > PATIENCE {
            bail!("waited {PATIENCE:?}");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn address(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

fn serves(address: SocketAddrV4) -> bool {
    visit(address, &mut [0; 4 << 10], REQUEST).is_ok()
}

fn refuses(address: SocketAddrV4) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
