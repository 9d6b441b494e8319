//! A network namespace of a test's own, sockets that answer, and clients that connect.
#![allow(dead_code, reason = "not every test needs everything")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use odin_steer::{Plan, PlannedBinding, PlannedListener, Steering, Weight};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{CapabilitySet, UnshareFlags};

#[path = "../../../../tests/src/skipped.rs"]
#[allow(unreachable_pub, reason = "the end-to-end tests export it")]
mod skipped;
pub(crate) use skipped::skipped;

/// Runs a test in a thread with a network namespace of its own. Where that is not possible the test is [`skipped`].
#[track_caller]
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let needed = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
    let has = rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed));
    if !has {
        return skipped("CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN");
    }
    let thread = thread::spawn(|| {
        // Only the namespace of the network: what the deprecation warns of is not unshared here.
        #[allow(deprecated)]
        rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
        ip("link set lo up");
        ip("route add local 192.0.2.0/24 dev lo");
        ip("-6 route add local 2001:db8::/32 dev lo");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().expect("ip, of the package iproute2");
    assert!(status.success(), "ip {words}");
}

/// A socket and a thread that greets every connection with a name and the address that the client dialled.
pub(crate) struct Worker {
    pub(crate) socket: Arc<TcpListener>,
    pub(crate) accepted: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn new(name: impl Into<String>, socket: TcpListener) -> Worker {
        let name = name.into();
        socket.set_nonblocking(true).unwrap();
        let socket = Arc::new(socket);
        let (accepted, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (socket, accepted, stop) = (Arc::clone(&socket), Arc::clone(&accepted), Arc::clone(&stop));
            move || serve(&name, &socket, &accepted, &stop)
        });
        Worker { socket, accepted, stop, thread: Some(thread) }
    }

    pub(crate) fn hidden(name: impl Into<String>, steering: &mut Steering) -> Worker {
        Worker::new(name, steering.open_sockets(None, 1).unwrap().remove(0))
    }

    /// Where its socket listens, as people write it.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().unwrap();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Worker {
    /// Serves what has been queued, then closes.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(name: &str, socket: &TcpListener, accepted: &AtomicU64, stop: &AtomicBool) {
    let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    loop {
        match socket.accept() {
            Ok((mut stream, _)) => {
                accepted.fetch_add(1, Ordering::Relaxed);
                let _ = write!(stream, "{name} {}", stream.local_addr().unwrap());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let _ = rustix::event::poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&tick));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Workers of a listener, which share an address.
pub(crate) fn hidden_together<const N: usize>(names: [&str; N], steering: &mut Steering) -> [Worker; N] {
    let mut sockets = steering.open_sockets(None, N).unwrap().into_iter();
    names.map(|name| Worker::new(name, sockets.next().unwrap()))
}

/// What the other end says.
pub(crate) fn dial(address: &str) -> io::Result<String> {
    said(TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5))?)
}

/// What the other end says to a client with this address of its own.
pub(crate) fn dial_from(local: &str, address: &str) -> io::Result<String> {
    let (local, address): (SocketAddr, SocketAddr) = (local.parse().unwrap(), address.parse().unwrap());
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    // The same address dials more than once.
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &local)?;
    rustix::net::connect(&socket, &address)?;
    said(socket.into())
}

fn said(mut stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Who is there; it must have seen the address that was dialled.
pub(crate) fn who(address: &str) -> String {
    named(address, dial(address).unwrap_or_else(|error| panic!("{address}: {error}")))
}

/// Who is there, where a socket of the same address has just been closed: when another test starts a process, that one
/// holds the socket open until it execs, and resets what came to it.
pub(crate) fn who_soon(address: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match dial(address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && Instant::now() < deadline => {
                thread::yield_now();
            }
            answer => return named(address, answer.unwrap_or_else(|error| panic!("{address}: {error}"))),
        }
    }
}

fn named(address: &str, text: String) -> String {
    let (name, seen) = text.split_once(' ').unwrap();
    let (seen, dialled): (SocketAddr, SocketAddr) = (seen.parse().unwrap(), address.parse().unwrap());
    assert_eq!((seen.ip().to_canonical(), seen.port()), (dialled.ip(), dialled.port()));
    name.to_owned()
}

pub(crate) fn refused(address: &str) -> bool {
    dial(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Refused, if not at once: when another test starts a process, that one has all descriptors of this one until it execs.
pub(crate) fn refused_soon(address: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if refused(address) {
            return true;
        }
        thread::yield_now();
    }
    false
}

/// A plan from listeners' names, their workers, and bindings with the listeners that they belong to.
pub(crate) fn plan<'a>(listeners: &[(&'a str, &[&'a Worker])], bindings: &[(&str, &str)]) -> Plan<'a> {
    let listeners = listeners
        .iter()
        .map(|(name, workers)| PlannedListener {
            name,
            sockets: workers.iter().map(|worker| worker.socket.as_fd()).collect(),
        })
        .collect();
    let bindings = bindings
        .iter()
        .map(|(binding, listener)| PlannedBinding {
            binding: binding.parse().unwrap(),
            listener: (*listener).to_owned(),
            weights: Vec::new(),
        })
        .collect();
    Plan { listeners, bindings, ..Plan::default() }
}

pub(crate) fn weight(listener: &str, worker: Option<u32>, weight: u32) -> Weight {
    Weight { listener: listener.to_owned(), worker, weight }
}

/// Fails unless so many connections were counted where so many were dialled: each of them once, and now and then a packet
/// that comes too late.
#[track_caller]
pub(crate) fn has_counted(counted: u64, dialled: u64) {
    let all = dialled..=at_most(dialled);
    assert!(all.contains(&counted), "{counted} counted, {dialled} dialled");
}

/// How many may be counted.
pub(crate) fn at_most(dialled: u64) -> u64 {
    if dialled == 0 { 0 } else { dialled + 1 + dialled / 100 }
}

/// Asks the only Odin of this namespace what it steers.
pub(crate) fn ask() -> UnixStream {
    let table = std::fs::read_to_string("/proc/thread-self/net/unix").unwrap();
    let name = table.lines().find_map(|row| row.split_once(" @").filter(|(_, name)| name.starts_with("odin/steer/")));
    let name = std::os::unix::net::SocketAddr::from_abstract_name(name.unwrap().1).unwrap();
    UnixStream::connect_addr(&name).unwrap()
}

/// The answer.
pub(crate) fn told(mut asked: UnixStream) -> String {
    let mut text = String::new();
    asked.read_to_string(&mut text).unwrap();
    text
}
