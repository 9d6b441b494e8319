//! Opens listening sockets, or finds those that are open already: of the config before, of the process before, or of
//! systemd.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use listenfd::ListenFd;
use odin_steer::{Binding, SteerError};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Held, Open, Sockets};
use crate::config::{Listener, Section};
use crate::upgrade::Tag;

/// A process from which this one has taken over accepts no more by then.
const PREDECESSOR_LEAVES: Duration = Duration::from_secs(3);

/// What systemd listens on for this service. It does so whether Odin has a share of it or not, so a share is kept: an
/// address that a reload takes away can come back.
pub(super) type Activated = BTreeMap<SocketAddr, Vec<Arc<TcpListener>>>;

/// Sockets that were there before this process looked for them.
#[derive(Default)]
pub(crate) struct Inherited {
    /// Where somebody chose to listen, whoever the listener was called then.
    by_address: HashMap<SocketAddr, Vec<TcpListener>>,
    /// What only the process before knows whom it is for: hidden sockets, and ports that the system chose.
    by_tag: HashMap<Tag, Vec<TcpListener>>,
}

impl Inherited {
    pub(super) fn handed(sockets: Vec<(Tag, TcpListener)>) -> Self {
        let mut inherited = Inherited::default();
        for (tag, socket) in sockets {
            match chosen(&tag) {
                Some(address) => inherited.by_address.entry(address).or_default().push(socket),
                None => inherited.by_tag.entry(tag).or_default().push(socket),
            }
        }
        inherited
    }

    /// What systemd listens on for this process, if it does.
    pub(super) fn activated() -> anyhow::Result<Self> {
        let mut inherited = Inherited::default();
        let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        // Without the process id they may be anybody's, of a wrapper that has closed them long ago.
        let mut sockets = if ours { ListenFd::from_env() } else { ListenFd::empty() };
        for at in 0..sockets.len() {
            let socket = sockets.take_tcp_listener(at);
            let socket = socket.with_context(|| format!("socket {at} of LISTEN_FDS is no TCP socket that listens"))?;
            let Some(socket) = socket else { continue };
            socket.set_nonblocking(true)?;
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            inherited.by_address.entry(socket.local_addr()?).or_default().push(socket);
        }
        Ok(inherited)
    }

    /// Where somebody chose to listen.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.by_address.keys().copied().collect()
    }

    /// A share of what is there for each of these addresses.
    pub(super) fn shares(&self, addresses: &BTreeSet<SocketAddr>) -> io::Result<Activated> {
        let there = addresses.iter().filter_map(|address| Some((*address, self.by_address.get(address)?)));
        let share = |sockets: &[TcpListener]| -> io::Result<Vec<_>> {
            sockets.iter().map(|socket| socket.try_clone().map(Arc::new)).collect()
        };
        there.map(|(address, sockets)| Ok((address, share(sockets)?))).collect()
    }

    fn take(&mut self, tag: &Tag) -> Vec<TcpListener> {
        let taken = match chosen(tag) {
            Some(address) => self.by_address.remove(&address),
            None => self.by_tag.remove(tag),
        };
        taken.unwrap_or_default()
    }
}

/// The address of a bound socket whose port somebody chose.
fn chosen(tag: &Tag) -> Option<SocketAddr> {
    match tag {
        Tag::Bound { address, .. } if address.port() != 0 => Some(*address),
        _ => None,
    }
}

impl Sockets {
    /// Every socket that these listeners need. Those that are open stay the same.
    pub(super) fn open_all(&mut self, listeners: &[Listener]) -> anyhow::Result<BTreeMap<String, Open>> {
        let mut next = BTreeMap::new();
        let mut served = false;
        self.probe(listeners)?;
        for listener in listeners {
            let open = self.open(listener, listeners).with_context(|| Section::listener(&listener.name))?;
            served |= open.held().next().is_some();
            next.insert(listener.name.clone(), open);
        }
        if !served {
            let reason = self.reason.as_deref().unwrap_or("nothing listens");
            bail!("no listener can be served: a prefix or every port of an address needs steering, and {reason}");
        }
        Ok(next)
    }

    fn open(&mut self, listener: &Listener, all: &[Listener]) -> anyhow::Result<Open> {
        let mut open = Open::default();
        let before = self.listeners.get(&listener.name).cloned().unwrap_or_default();
        let (steered, bound): (Vec<Binding>, Vec<Binding>) =
            listener.addresses.iter().partition(|binding| self.steers(binding));
        for address in bound.iter().filter_map(Binding::socket_addresses).flatten() {
            let held = match before.bound.get(&address) {
                Some(held) => held.clone(),
                None => {
                    let bound = self.bind(&listener.name, address, all);
                    bound.map_err(|error| self.cannot_bind(address, error))?
                }
            };
            open.bound.insert(address, held);
        }
        if !steered.is_empty() {
            open.hidden = match before.hidden.is_empty() {
                false => before.hidden,
                true => self.hide(&listener.name)?,
            };
        }
        Ok(open)
    }

    /// Sees that nobody else listens where a socket is to be bound, or steers. Workers share an address, and so would
    /// another Odin of this user, without a word; what is bound for this question shares nothing.
    fn probe(&self, listeners: &[Listener]) -> anyhow::Result<()> {
        let own = self.own();
        let mut new = Vec::new();
        for listener in listeners {
            let before = self.listeners.get(&listener.name).map(|open| &open.bound);
            let bound = listener.addresses.iter().filter(|binding| !self.steers(binding));
            for address in bound.filter_map(Binding::socket_addresses).flatten() {
                if before.is_none_or(|before| !before.contains_key(&address)) {
                    new.push(Binding::from(address));
                }
                if address.port() != 0 && !own.are_in_the_way_of(address) {
                    is_free(address)
                        .map_err(|error| refused(address, error, self.reason.as_deref()))
                        .with_context(|| Section::listener(&listener.name))?;
                }
            }
        }
        // Once for all of them: each Odin that does not answer costs a second.
        odin_steer::check_others(&new).map_err(|error| match &error {
            SteerError::Taken { binding, .. } => {
                let has = |listener: &&Listener| listener.addresses.iter().any(|own| own.overlaps(binding));
                match listeners.iter().find(has) {
                    Some(listener) => anyhow::Error::new(error).context(Section::listener(&listener.name)),
                    None => error.into(),
                }
            }
            _ => error.into(),
        })
    }

    fn cannot_bind(&self, address: SocketAddr, error: io::Error) -> anyhow::Error {
        match error.kind() {
            io::ErrorKind::AddrInUse if self.own().are_in_the_way_of(address) => {
                let activated = self.activated.keys().find(|activated| activated.port() == address.port());
                activated.map_or_else(|| held_by_self(address), |activated| held_by_systemd(address, *activated))
            }
            _ => refused(address, error, self.reason.as_deref()),
        }
    }

    /// Where sockets of this process are bound, or were bound for it and may be open elsewhere still. Goes through all of
    /// them.
    fn own(&self) -> Own {
        let open = self.listeners.values().flat_map(|open| open.bound.keys());
        let closing = self.closing.iter().filter(|(_, socket)| socket.strong_count() > 0).map(|(address, _)| address);
        let mut own = Own::default();
        let inherited = self.inherited.by_address.keys().chain(self.activated.keys());
        let leaving = self.since.is_none_or(|since| since.elapsed() < PREDECESSOR_LEAVES);
        let predecessor = self.predecessor.iter().filter(|_| leaving);
        for address in open.chain(closing).chain(inherited).chain(predecessor) {
            own.0.entry(address.port()).or_default().insert(address.ip());
        }
        own
    }

    /// One socket for each worker.
    fn bind(&mut self, listener: &str, address: SocketAddr, all: &[Listener]) -> io::Result<Vec<Held>> {
        let mut sockets = self.inherited.take(&Tag::Bound { listener: listener.to_owned(), address });
        if sockets.is_empty() {
            sockets = self.leftover(address, all)?;
        }
        if sockets.is_empty() {
            let activated = self.activated.get(&address).into_iter().flatten();
            sockets = activated.map(|socket| socket.try_clone()).collect::<io::Result<_>>()?;
        }
        // One more beside those that another process accepts from would get its share of connections at once, and nobody
        // would take them before this process serves: it listens then.
        let taken_over = !sockets.is_empty();
        while sockets.len() < self.workers {
            let like = sockets.first().map_or(Ok(address), TcpListener::local_addr)?;
            let socket = match odin_proxy::bind(like) {
                Ok(socket) if taken_over => socket,
                Ok(socket) => {
                    odin_proxy::listen(&socket)?;
                    socket
                }
                // Inherited sockets may not let others share the address, and this process may not bind it: then workers
                // share the socket.
                Err(error) => sockets.first().ok_or(error)?.try_clone()?,
            };
            sockets.push(socket);
        }
        Ok(self.hold(sockets))
    }

    /// The sockets of a listener that had this address and has another name now: who waits there is not lost.
    fn leftover(&self, address: SocketAddr, all: &[Listener]) -> io::Result<Vec<TcpListener>> {
        let kept = |name: &String| all.iter().any(|listener| listener.name == *name && has(listener, address));
        let left = self.listeners.iter().find(|(name, open)| open.bound.contains_key(&address) && !kept(name));
        let left = left.and_then(|(_, open)| open.bound.get(&address));
        left.into_iter().flatten().map(|held| held.socket.try_clone()).collect()
    }

    fn hide(&mut self, listener: &str) -> anyhow::Result<Vec<Held>> {
        let mut sockets = self.inherited.take(&Tag::Hidden { listener: listener.to_owned() });
        let steered = self.steered.as_mut().ok_or_else(|| anyhow!("nothing is steered"))?;
        let like = sockets.first().map(TcpListener::local_addr).transpose()?;
        let missing = self.workers.saturating_sub(sockets.len());
        sockets.extend(steered.steering.open_sockets(like, missing).context("cannot open sockets to steer to")?);
        Ok(self.hold(sockets))
    }

    /// Deals sockets out to the workers. There may be more of them than workers.
    fn hold(&mut self, sockets: Vec<TcpListener>) -> Vec<Held> {
        let deal = |(at, socket)| {
            self.last_id += 1;
            Held { id: self.last_id, worker: at % self.workers, socket: Arc::new(socket) }
        };
        sockets.into_iter().enumerate().map(deal).collect()
    }
}

/// The addresses of this process's own sockets, by port.
#[derive(Default)]
struct Own(HashMap<u16, HashSet<IpAddr>>);

impl Own {
    /// Whether nothing could be bound to this address that shares it with nobody, because of one of them.
    fn are_in_the_way_of(&self, address: SocketAddr) -> bool {
        let all = |ip: &IpAddr| ip.is_unspecified();
        let ip = address.ip();
        self.0.get(&address.port()).is_some_and(|own| all(&ip) || own.contains(&ip) || own.iter().any(all))
    }
}

/// The socket itself, however many descriptors lead to it.
pub(super) fn inode(socket: &TcpListener) -> Option<u64> {
    rustix::fs::fstat(socket).ok().map(|file| file.st_ino)
}

/// Whether nobody listens there; asked by binding a socket that shares nothing, and does not listen.
pub(crate) fn is_free(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn has(listener: &Listener, address: SocketAddr) -> bool {
    listener.addresses.iter().filter_map(Binding::socket_addresses).flatten().any(|own| own == address)
}

fn held_by_systemd(address: SocketAddr, activated: SocketAddr) -> anyhow::Error {
    anyhow!(
        "cannot listen on {address}: systemd listens on {activated} for this service and shares the port with nobody; \
         change ListenStream= of the socket unit, or set ReusePort=yes there"
    )
}

/// Sockets share an address only if the same user opened them.
fn held_by_self(address: SocketAddr) -> anyhow::Error {
    anyhow!(
        "cannot listen on {address}: this Odin has that port at another address, from before it became another user; \
         take that address away in a reload of its own first"
    )
}

fn refused(address: SocketAddr, error: io::Error, unsteered: Option<&str>) -> anyhow::Error {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE, at the start and at a reload"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address",
        _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "; raise the limit of open files (ulimit -n, LimitNOFILE), or let connections be steered"
        }
        _ => "",
    };
    let steered = match (error.kind(), unsteered) {
        (io::ErrorKind::PermissionDenied, Some(reason)) => format!("; steering would not need that, but {reason}"),
        _ => String::new(),
    };
    anyhow!("cannot listen on {address}: {error}{help}{steered}")
}
