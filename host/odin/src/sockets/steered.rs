//! How the steering begins, and the steering with what it counted: which bindings it has, and what those had counted
//! that it has no more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use odin_steer::{Binding, BindingStatus, Plan, PlannedBinding, PlannedListener, SteerError, Steering, Unavailable};

use super::{Open, Wanted, reachable};
use crate::config::{Section, SteeringMode};
use crate::memory;

/// A binding of a listener.
pub(crate) type Key = (String, Binding);

/// Whether only a bound socket can serve a binding, or one does already.
pub(super) fn stays_bound(binding: &Binding, bound_before: &BTreeSet<SocketAddr>) -> bool {
    let has = |address: &SocketAddr| {
        let bound = Binding::from(*address);
        bound.network() == binding.network() && bound.overlaps(binding)
    };
    binding.system_chooses_port() || (binding.socket_addresses().is_some() && bound_before.iter().any(has))
}

/// The error with the listener that it is about as its context.
fn of_section(error: SteerError) -> anyhow::Error {
    match error {
        SteerError::OfListener { listener, error } => anyhow::Error::new(*error).context(Section::listener(&listener)),
        error => error.into(),
    }
}

/// Steering, and what is known of its bindings.
pub(super) struct Steered {
    pub(super) steering: Steering,
    bindings: HashSet<Key>,
    /// By listener, what was steered and dropped for bindings that it has no more.
    gone: HashMap<String, (u64, u64)>,
    /// Networks of which it is known whether they come to this host.
    looked_at: HashSet<IpNet>,
}

impl Steered {
    pub(super) fn new(steering: Steering) -> Self {
        Steered { steering, bindings: HashSet::new(), gone: HashMap::new(), looked_at: HashSet::new() }
    }

    /// Steers to these sockets from now on. A failure changes nothing.
    pub(super) fn apply(
        &mut self,
        wanted: &Wanted<'_>,
        open: &BTreeMap<String, Open>,
        bound_before: &BTreeSet<SocketAddr>,
        admin: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let bound = open.values().flat_map(|open| open.bound.values().flatten());
        let bound = bound.filter_map(|held| held.socket.local_addr().ok());
        let (passed, endpoints) = (bound.chain(admin).collect(), wanted.endpoints.clone());
        let mut plan = Plan { passed, endpoints, ..Plan::default() };
        let mut bindings = HashSet::new();
        for listener in wanted.listeners {
            let sockets = open.get(&listener.name).map_or(&[][..], |open| &open.hidden);
            let sockets = sockets.iter().map(|held| held.socket.as_fd()).collect();
            plan.listeners.push(PlannedListener { name: &listener.name, sockets });
            for binding in listener.addresses.iter().filter(|binding| !stays_bound(binding, bound_before)) {
                let key = (listener.name.clone(), *binding);
                let weights = wanted.weights.get(&key).cloned().unwrap_or_default();
                bindings.insert(key);
                plan.bindings.push(PlannedBinding { binding: *binding, listener: listener.name.clone(), weights });
            }
        }
        // What was counted for a binding goes with it.
        let before = match self.bindings.is_subset(&bindings) {
            true => Vec::new(),
            false => self.steering.status().unwrap_or_default(),
        };
        self.steering.apply(&plan).map_err(of_section)?;
        for BindingStatus { listener, binding, steered, dropped, .. } in before {
            if !bindings.contains(&(listener.clone(), binding)) {
                let gone = self.gone.entry(listener).or_default();
                *gone = (gone.0 + steered, gone.1 + dropped);
            }
        }
        self.bindings = bindings;
        self.gone.retain(|name, _| open.contains_key(name));
        for planned in &plan.bindings {
            if self.looked_at.insert(planned.binding.network()) {
                reachable::check(&planned.listener, &planned.binding);
            }
        }
        Ok(())
    }

    /// What is known of every binding.
    pub(super) fn status(&self) -> HashMap<Key, BindingStatus> {
        let status = self.steering.status();
        let status = status.inspect_err(|error| tracing::warn!(%error, "cannot read the counters of the steering"));
        let keyed = |status: BindingStatus| ((status.listener.clone(), status.binding), status);
        status.unwrap_or_default().into_iter().map(keyed).collect()
    }

    /// By listener, how often its bindings were steered and dropped, those that are gone included.
    pub(super) fn totals(&self) -> BTreeMap<String, (u64, u64)> {
        let mut totals: BTreeMap<String, (u64, u64)> = self.gone.clone().into_iter().collect();
        for ((listener, _), status) in self.status() {
            let total = totals.entry(listener).or_default();
            *total = (total.0 + status.steered, total.1 + status.dropped);
        }
        totals
    }
}

/// aya reads the types of the whole kernel when it loads a program, which takes 27 MB for a moment. In a thread of its
/// own they leave no holes in this one's heap, and they go back to the system, and not only to the allocator.
fn attach_apart() -> Result<Steering, Unavailable> {
    let attached = std::thread::scope(|scope| scope.spawn(Steering::attach).join());
    memory::give_back();
    attached.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Steers if that is wanted and possible; if it is wanted and not possible, the reason, or an error.
pub(super) fn attach(mode: SteeringMode) -> anyhow::Result<(Option<Steering>, Option<String>)> {
    if mode == SteeringMode::Bind {
        return Ok((None, None));
    }
    match (mode, attach_apart()) {
        (_, Ok(steering)) => Ok((Some(steering), None)),
        (SteeringMode::Bpf, Err(error)) => Err(error).context(r#"steering = "bpf", and connections cannot be steered"#),
        (_, Err(error)) => Ok((None, Some(error.to_string()))),
    }
}

/// A new binary goes on as the old one did: sockets that are bound cannot become steered while they are in use.
pub(super) fn resume(
    mode: SteeringMode,
    handed: Option<(String, Vec<OwnedFd>)>,
) -> anyhow::Result<(Option<Steering>, Option<String>)> {
    let handed = handed.map(|(state, descriptors)| Steering::resume(&state, descriptors)).transpose();
    let steering = handed.context("cannot go on with the steering of the process before")?;
    match (mode, steering) {
        (SteeringMode::Bpf, None) => bail!(
            r#"steering = "bpf", and the process before binds its sockets: an upgrade cannot change that; restart Odin"#
        ),
        (SteeringMode::Bind, Some(_)) => {
            bail!(r#"steering = "bind", and the process before steers: an upgrade cannot change that; restart Odin"#)
        }
        (SteeringMode::Auto, None) => Ok((None, Some("the process before this one binds its sockets".to_owned()))),
        (_, steering) => Ok((steering, None)),
    }
}
