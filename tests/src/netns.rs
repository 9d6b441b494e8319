//! A network namespace for a test: its own loopback, its own ports, nobody else's sockets. For what needs fixed ports,
//! prefixes, or BPF.
//!
//! The namespace belongs to the thread that runs the test, and to all that is started from there: sockets, blocking
//! tasks, processes. It has no name, so that it ends with the last of them, however that ends. Its loopback takes all
//! addresses of [`ROUTES`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::skipped::skipped;

/// Addresses that are here although no interface has them: those that are kept for documentation.
pub const ROUTES: [&str; 4] = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"];

/// What a test in a namespace needs: to make it, to give it addresses, and to let Odin steer in it, or run as somebody
/// else with other capabilities.
const NEEDED: [(&str, u64); 7] = [
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    (CAP_NET_BIND_SERVICE, 10),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_BPF", 39),
];
const CAP_NET_BIND_SERVICE: &str = "CAP_NET_BIND_SERVICE";

/// The set that has only CAP_NET_BIND_SERVICE.
pub const ONLY_NET_BIND_SERVICE: u64 = 1 << 10;

/// Runs a test in a network namespace of its own, on one thread. Where that is not possible the test is [`skipped`].
#[track_caller]
pub fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    if let Err(why) = possible() {
        return skipped(&why);
    }
    // The thread is the test's own: nothing else may find itself in the namespace.
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        ip("link set lo up");
        for network in ROUTES {
            let family = if network.contains(':') { "-6" } else { "-4" };
            ip(&format!("{family} route add local {network} dev lo"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    });
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

/// What is missing.
fn possible() -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("a thread has a status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a thread has capabilities");
    let effective = u64::from_str_radix(effective.trim(), 16).expect("a set is a number");
    let missing = NEEDED.iter().filter(|(_, bit)| effective & 1 << bit == 0).map(|(name, _)| *name);
    let mut missing: Vec<&str> = missing.collect();
    // The capabilities of a user namespace count for the network, and not for BPF.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if map.split_ascii_whitespace().ne(["0", "0", "4294967295"]) {
        missing.push("to be outside of any user namespace");
    }
    for (tool, arguments) in [("ip", "-V"), ("setpriv", "--version")] {
        if Command::new(tool).arg(arguments).output().is_err() {
            missing.push(tool);
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) }
}

pub(crate) fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("ip runs");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A socket that listens in this namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Connections in its queue, which nobody has accepted yet.
    pub waiting: u64,
}

/// All TCP sockets that listen in the namespace of this thread.
pub fn listening() -> Vec<Listener> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].map(std::fs::read_to_string);
    let rows = tables.iter().flatten().flat_map(|table| table.lines().skip(1));
    rows.filter_map(Listener::parse).collect()
}

/// Those that are hidden, to be steered to and not to be connected to: on loopback, and for both families, as no backend
/// is.
pub fn hidden() -> Vec<Listener> {
    let loopback =
        |listener: &Listener| listener.address.is_ipv6() && listener.address.ip().to_canonical().is_loopback();
    listening().into_iter().filter(loopback).collect()
}

impl Listener {
    /// None for a row of a socket that does not listen.
    fn parse(row: &str) -> Option<Listener> {
        let fields: Vec<&str> = row.split_ascii_whitespace().collect();
        let (address, state, queues) = (fields[1], fields[3], fields[4]);
        let (_, waiting) = queues.split_once(':')?;
        let waiting = u64::from_str_radix(waiting, 16).ok()?;
        (state == "0A").then(|| Listener { address: parse_address(address), waiting })
    }
}

/// Words of the address as they lie in memory, then the port as a number.
fn parse_address(text: &str) -> SocketAddr {
    let (address, port) = text.split_once(':').expect("an address and a port");
    let word = |at: usize| u32::from_str_radix(&address[8 * at..8 * at + 8], 16).expect("a word").to_ne_bytes();
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from([0, 1, 2, 3].map(word).concat()).expect("four words")).into(),
    };
    SocketAddr::new(address, u16::from_str_radix(port, 16).expect("a port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_its_own_sockets_and_takes_its_addresses() {
        run(|| async {
            assert_eq!(listening(), []);
            let listener = tokio::net::TcpListener::bind("[::]:80").await.unwrap();
            let address = listener.local_addr().unwrap();
            assert_eq!(listening(), [Listener { address, waiting: 0 }]);
            for dialled in ["192.0.2.77:80", "[2001:db8::77]:80", "127.0.0.1:80", "[::1]:80"] {
                let _client = tokio::net::TcpStream::connect(dialled).await.unwrap();
                assert_eq!(listening(), [Listener { address, waiting: 1 }]);
                let (accepted, _) = listener.accept().await.unwrap();
                assert_eq!(
                    accepted.local_addr().unwrap().ip().to_canonical(),
                    dialled.parse::<SocketAddr>().unwrap().ip()
                );
            }
        });
    }
}
