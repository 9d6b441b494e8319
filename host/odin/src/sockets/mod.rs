//! Every listening socket of this process, and the steering that leads to those that have no address of their own.
//!
//! The workers accept; this is who opened the sockets, may share them with a new binary, and closes them. What is
//! bound and what is steered is decided here and nowhere else. Must never hold a connection.

mod open;
mod reachable;
mod status;
mod steered;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use odin_proxy::{Closing, Opened, SocketId};
use odin_steer::{Binding, Weight};
use rustix::thread::CapabilitySet;

use crate::config::{Config, Listener, Section, takes_admin};
use crate::upgrade::{Handed, Tag};

pub(crate) use open::is_free;
use open::{Activated, Inherited, inode};
use status::Last;
pub(crate) use status::Statuses;
pub(crate) use steered::Key;
use steered::Steered;

/// A connection that was steered here before the steering changed has had its whole handshake by then, unless a packet of
/// it was lost.
const LINGER: Duration = Duration::from_secs(1);

/// The weights that plugins gave, by listener and binding.
pub(crate) type Weights = BTreeMap<Key, Vec<Weight>>;

/// What sockets and steering shall be like.
pub(crate) struct Wanted<'a> {
    pub(crate) listeners: &'a [Listener],
    pub(crate) weights: Weights,
    /// Bindings whose plugin was to give weights and failed.
    pub(crate) unanswered: BTreeSet<Key>,
    /// Where connections are made to.
    pub(crate) endpoints: Vec<SocketAddr>,
}

/// The listening sockets, and what leads to them.
pub(crate) struct Sockets {
    /// None: every socket is bound to its address.
    steered: Option<Steered>,
    /// Why nothing is steered although the config would have it.
    reason: Option<String>,
    workers: usize,
    last_id: SocketId,
    listeners: BTreeMap<String, Open>,
    /// Those that the workers have.
    given: BTreeSet<SocketId>,
    inherited: Inherited,
    activated: Activated,
    /// Addresses and sockets that a worker may not have closed yet.
    closing: Vec<(SocketAddr, Weak<TcpListener>)>,
    /// Where sockets were bound before this process was there: those addresses stay bound.
    bound_before: BTreeSet<SocketAddr>,
    /// Where the process before listens until it has left.
    predecessor: BTreeSet<SocketAddr>,
    /// Since when this one serves.
    since: Option<Instant>,
    /// Bindings whose plugin is to be asked again.
    unanswered: BTreeSet<Key>,
    /// The admin pages: no binding takes their connections.
    admin: Option<SocketAddr>,
    /// There when everything is closed.
    last: Option<Last>,
}

/// The sockets of one listener.
#[derive(Clone, Default)]
struct Open {
    /// By the address that was asked for.
    bound: BTreeMap<SocketAddr, Vec<Held>>,
    /// Those that connections are steered to.
    hidden: Vec<Held>,
}

impl Open {
    fn held(&self) -> impl Iterator<Item = &Held> {
        self.bound.values().flatten().chain(&self.hidden)
    }
}

/// One socket and the worker that accepts from it.
#[derive(Clone)]
struct Held {
    id: SocketId,
    worker: usize,
    socket: Arc<TcpListener>,
}

/// What the workers are to be told.
pub(crate) struct SocketChange {
    pub(crate) opened: Vec<Opened>,
    pub(crate) closing: Vec<Closing>,
}

impl Sockets {
    /// Decides between steering and binding, and takes what was handed over or inherited. Needs the capabilities.
    pub(crate) fn new(config: &Config, workers: usize, handed: Option<Handed>) -> anyhow::Result<Self> {
        let (steering, reason, inherited, activated) = match handed {
            Some(handed) => {
                let (steering, reason) = steered::resume(config.steering, handed.steering)?;
                (steering, reason, Inherited::handed(handed.sockets), handed.activated)
            }
            None => {
                let (steering, reason) = steered::attach(config.steering)?;
                let inherited = Inherited::activated().context("socket activation")?;
                let activated = inherited.addresses();
                (steering, reason, inherited, activated)
            }
        };
        let steered = steering.map(Steered::new);
        let (listeners, given, bound_before) = (BTreeMap::new(), BTreeSet::new(), inherited.addresses());
        let predecessor = bound_before.clone();
        let activated = inherited.shares(&activated).context("socket activation")?;
        Ok(Sockets {
            steered,
            reason,
            workers,
            last_id: 0,
            listeners,
            given,
            inherited,
            activated,
            closing: Vec::new(),
            bound_before,
            predecessor,
            since: None,
            unanswered: BTreeSet::new(),
            admin: None,
            last: None,
        })
    }

    /// Whether connections are steered.
    pub(crate) fn is_steered(&self) -> bool {
        self.steered.is_some() || self.last.as_ref().is_some_and(|last| last.steered)
    }

    /// Whether this binding is served by steering.
    pub(crate) fn steers(&self, binding: &Binding) -> bool {
        self.is_steered() && !steered::stays_bound(binding, &self.bound_before)
    }

    /// What a reload will need of what the start had.
    pub(crate) fn needed_capabilities(&self) -> CapabilitySet {
        match self.is_steered() {
            // Listening below port 1024.
            false => CapabilitySet::NET_BIND_SERVICE,
            true if odin_steer::updates_need_capability() => CapabilitySet::BPF,
            true => CapabilitySet::empty(),
        }
    }

    /// Whether the plugin that was to give weights for a binding has failed.
    pub(crate) fn is_unanswered(&self, key: &Key) -> bool {
        self.unanswered.contains(key)
    }

    /// Whether this binding is served at all.
    fn serves(&self, binding: &Binding) -> bool {
        self.last.is_none() && (self.steers(binding) || binding.socket_addresses().is_some())
    }

    /// Why a binding is not.
    fn unserved(&self) -> String {
        if self.last.is_some() {
            return "this process drains".to_owned();
        }
        let reason = self.reason.as_deref().unwrap_or("it is off");
        format!("no socket can be bound to it; it needs steering, and {reason}")
    }

    /// Threads that accept.
    pub(crate) fn workers(&self) -> u32 {
        u32::try_from(self.workers).unwrap_or(u32::MAX)
    }

    /// Why connections are not steered, if somebody may wonder.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Tells the other Odins of this network namespace what is steered here. After privileges were dropped.
    pub(crate) fn announce(&self) {
        let announced = self.steered.as_ref().map_or(Ok(()), |steered| steered.steering.announce());
        if let Err(error) = announced {
            tracing::warn!(%error, "other Odins in this network namespace will not know what is steered here");
        }
    }

    /// Leaves the connections of a socket that is not a listener's to it, whatever bindings cover its address.
    pub(crate) fn pass(&mut self, address: SocketAddr) {
        self.admin = Some(address);
    }

    /// Opens what these listeners need, while there are the capabilities to; nothing is served yet.
    pub(crate) fn prepare(&mut self, listeners: &[Listener]) -> anyhow::Result<()> {
        let _turn = odin_steer::turn();
        self.listeners = self.open_all(listeners)?;
        Ok(())
    }

    /// Makes sockets and steering be as they are wanted. A failure changes nothing.
    pub(crate) fn change(&mut self, wanted: Wanted<'_>) -> anyhow::Result<SocketChange> {
        self.leave_admin_alone(wanted.listeners)?;
        // What is free must not become another Odin's before it is taken.
        let _turn = odin_steer::turn();
        let next = self.open_and_steer(&wanted).inspect_err(|_| {
            if let Some(steered) = &mut self.steered {
                steered.steering.forget_unplanned();
            }
        })?;
        let opened = self.opened(&next).map(|(name, held)| {
            let Held { id, worker, socket } = held.clone();
            Opened { id, listener: name.clone(), worker, socket }
        });
        let opened = opened.collect();
        let closing = self.close_unwanted(&next);
        self.tell_unserved(wanted.listeners);
        self.tell_unused(&next);
        self.given = next.values().flat_map(Open::held).map(|held| held.id).collect();
        self.unanswered = wanted.unanswered;
        self.listeners = next;
        self.since.get_or_insert_with(Instant::now);
        // Whoever was not asked for by now is not needed.
        self.inherited = Inherited::default();
        // What is bound no more need not be bound again.
        let bound: BTreeSet<SocketAddr> = self.bound().chain(self.activated.keys().copied()).collect();
        self.bound_before.retain(|address| bound.contains(address));
        Ok(SocketChange { opened, closing })
    }

    /// The sockets that the workers do not have yet, each with the name of its listener.
    fn opened<'a>(&self, next: &'a BTreeMap<String, Open>) -> impl Iterator<Item = (&'a String, &'a Held)> {
        let all = next.iter().flat_map(|(name, open)| open.held().map(move |held| (name, held)));
        all.filter(|(_, held)| !self.given.contains(&held.id))
    }

    /// What the workers have and nobody wants any more.
    fn close_unwanted(&mut self, next: &BTreeMap<String, Open>) -> Vec<Closing> {
        let kept: BTreeSet<SocketId> = next.values().flat_map(Open::held).map(|held| held.id).collect();
        self.closing.retain(|(_, socket)| socket.strong_count() > 0);
        if self.given.is_subset(&kept) {
            return Vec::new();
        }
        let gone = |held: &&Held| self.given.contains(&held.id) && !kept.contains(&held.id);
        // Shared by two descriptors: whoever waits in the queue is for the new one's listener.
        let taken_over: BTreeSet<_> = self.opened(next).filter_map(|(_, held)| inode(&held.socket)).collect();
        let mut closing = Vec::new();
        for open in self.listeners.values() {
            let bound = open.bound.iter().flat_map(|(address, held)| held.iter().map(move |held| (address, held)));
            for (address, held) in bound.filter(|(_, held)| gone(held)) {
                self.closing.push((*address, Arc::downgrade(&held.socket)));
                let moved = inode(&held.socket).is_some_and(|inode| taken_over.contains(&inode));
                closing.push(Closing { id: held.id, linger: Duration::ZERO, moved });
            }
            let hidden = open.hidden.iter().filter(gone);
            closing.extend(hidden.map(|held| Closing { id: held.id, linger: LINGER, moved: false }));
        }
        closing
    }

    /// The steering comes last: what leads to sockets must not be changed and then fail.
    fn open_and_steer(&mut self, wanted: &Wanted<'_>) -> anyhow::Result<BTreeMap<String, Open>> {
        let next = self.open_all(wanted.listeners)?;
        for (name, held) in self.opened(&next) {
            odin_proxy::listen(&held.socket).context("cannot listen").with_context(|| Section::listener(name))?;
        }
        if let Some(steered) = &mut self.steered {
            steered.apply(wanted, &next, &self.bound_before, self.admin)?;
        }
        Ok(next)
    }

    /// Addresses that sockets are bound to, as they were asked for.
    fn bound(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.values().flat_map(|open| open.bound.keys().copied())
    }

    /// The config was checked against its own admin pages, which may be elsewhere from the next start on.
    fn leave_admin_alone(&self, listeners: &[Listener]) -> anyhow::Result<()> {
        let Some(admin) = self.admin else { return Ok(()) };
        for listener in listeners {
            if let Some(binding) = listener.addresses.iter().find(|binding| takes_admin(binding, admin)) {
                let error =
                    anyhow!("{binding} takes {admin}, where the admin pages are until the next start or upgrade");
                return Err(error.context(Section::listener(&listener.name)));
            }
        }
        Ok(())
    }

    /// What systemd listens on for nobody, from now on.
    fn tell_unused(&self, next: &BTreeMap<String, Open>) {
        let used = |address: &SocketAddr, by: &BTreeMap<String, Open>| {
            by.values().any(|open| open.bound.contains_key(address))
        };
        for address in self.activated.keys() {
            if !used(address, next) && (self.given.is_empty() || used(address, &self.listeners)) {
                tracing::warn!(
                    "systemd listens on {address}, and no listener has that address: who connects there waits"
                );
            }
        }
    }

    /// A start tells what it cannot serve on its own.
    fn tell_unserved(&self, listeners: &[Listener]) {
        if self.given.is_empty() {
            return;
        }
        for listener in listeners {
            for binding in listener.addresses.iter().filter(|binding| !self.serves(binding)) {
                tracing::warn!(listener = listener.name, "not listening on {binding}: {}", self.unserved());
            }
        }
    }

    /// What another process needs to go on where this one ends.
    pub(crate) fn hand_over(&self) -> std::io::Result<Given> {
        let steering = self.steered.as_ref().map(|steered| steered.steering.hand_over()).transpose()?;
        let mut sockets = Vec::new();
        for (name, open) in &self.listeners {
            for (address, held) in &open.bound {
                let tag = Tag::Bound { listener: name.clone(), address: *address };
                sockets.extend(held.iter().map(|held| (tag.clone(), held.socket.clone())));
            }
            let tag = Tag::Hidden { listener: name.clone() };
            sockets.extend(open.hidden.iter().map(|held| (tag.clone(), held.socket.clone())));
        }
        let bound: BTreeSet<SocketAddr> = self.bound().collect();
        for (address, shares) in self.activated.iter().filter(|(address, _)| !bound.contains(address)) {
            let tag = Tag::Bound { listener: String::new(), address: *address };
            sockets.extend(shares.iter().map(|socket| (tag.clone(), socket.clone())));
        }
        Ok(Given { steering, sockets, activated: self.activated.keys().copied().collect() })
    }

    /// Another process has begun to take over and has died: what it may have changed is put right. A [`Sockets::change`]
    /// must follow.
    pub(crate) fn restore(&mut self) {
        if let Some(Err(error)) = self.steered.as_mut().map(|steered| steered.steering.restore()) {
            tracing::error!(%error, "the steering could not be put back as it was; reload to try again");
        }
    }

    /// Lets go of everything: nothing is steered here any more, and a socket closes when its worker lets go as well.
    pub(crate) fn close(&mut self) {
        self.last = Some(Last { steered: self.is_steered(), statuses: self.statuses(), totals: self.steered_totals() });
        self.steered = None;
        self.listeners.clear();
    }

    /// Another process has taken over.
    pub(crate) fn retire(&self) {
        if let Some(steered) = &self.steered {
            steered.steering.retire();
        }
    }
}

/// What is given to another process.
pub(crate) struct Given {
    pub(crate) steering: Option<(String, Vec<OwnedFd>)>,
    pub(crate) sockets: Vec<(Tag, Arc<TcpListener>)>,
    /// Where systemd listens.
    pub(crate) activated: BTreeSet<SocketAddr>,
}
