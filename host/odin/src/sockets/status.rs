//! What is served where, for the admin pages and for people.

use std::collections::{BTreeMap, HashMap};

use odin_steer::{Binding, BindingStatus, Weight};
use serde::Serialize;

use super::steered::{Key, Steered};
use super::{Sockets, Weights};
use crate::config::Listener;

/// By listener and binding.
pub(crate) type Statuses = HashMap<Key, BindingStatus>;

/// What the steering had counted when this process gave it up: the pages tell of it until the drain is over.
pub(super) struct Last {
    pub(super) steered: bool,
    pub(super) statuses: Statuses,
    pub(super) totals: BTreeMap<String, (u64, u64)>,
}

/// How connections come to the workers.
#[derive(Debug, Serialize)]
pub(crate) struct SteeringInfo {
    /// `bpf` or `bind`.
    mode: &'static str,
    /// Why not by BPF.
    reason: Option<String>,
    /// What the program has cost, if the kernel measures it (`sysctl kernel.bpf_stats_enabled`).
    program: Option<Program>,
}

#[derive(Debug, Serialize)]
struct Program {
    runs: u64,
    nanos: u64,
}

/// One binding of a listener.
#[derive(Debug, Serialize)]
pub(crate) struct BindingInfo {
    /// As in the config; with port zero, what the system chose.
    pub(crate) address: String,
    by: &'static str,
    /// False when it cannot be served, for `reason`.
    pub(crate) serving: bool,
    pub(crate) reason: Option<String>,
    steered: Option<u64>,
    dropped: Option<u64>,
    weights: Vec<WeightInfo>,
}

#[derive(Debug, Serialize)]
struct WeightInfo {
    listener: String,
    worker: Option<u32>,
    weight: u32,
}

impl From<&Weight> for WeightInfo {
    fn from(weight: &Weight) -> Self {
        WeightInfo { listener: weight.listener.clone(), worker: weight.worker, weight: weight.weight }
    }
}

impl Sockets {
    pub(crate) fn info(&self) -> SteeringInfo {
        let stats = self.steered.as_ref().and_then(|steered| steered.steering.run_stats().ok());
        SteeringInfo {
            mode: if self.is_steered() { "bpf" } else { "bind" },
            reason: self.reason.clone(),
            program: stats.filter(|stats| stats.runs > 0).map(|stats| Program { runs: stats.runs, nanos: stats.nanos }),
        }
    }

    /// What is known of everything that is steered.
    pub(crate) fn statuses(&self) -> Statuses {
        match &self.last {
            Some(last) => last.statuses.clone(),
            None => self.steered.as_ref().map(Steered::status).unwrap_or_default(),
        }
    }

    /// By listener, how often its bindings were steered and dropped.
    pub(crate) fn steered_totals(&self) -> BTreeMap<String, (u64, u64)> {
        match &self.last {
            Some(last) => last.totals.clone(),
            None => self.steered.as_ref().map(Steered::totals).unwrap_or_default(),
        }
    }

    /// The weights that bindings have now.
    pub(crate) fn weights_now(&self) -> Weights {
        self.statuses().into_iter().map(|(key, status)| (key, status.weights)).collect()
    }

    /// The bindings of a listener, in its order; `steered` is what [`Sockets::statuses`] told.
    pub(crate) fn bindings(&self, listener: &Listener, steered: &Statuses) -> Vec<BindingInfo> {
        let of = |binding: &Binding| {
            let counted = steered.get(&(listener.name.clone(), *binding));
            let steers = self.steers(binding);
            let serving = self.serves(binding);
            BindingInfo {
                address: self.chosen(listener, binding).unwrap_or_else(|| binding.to_string()),
                by: if steers { "bpf" } else { "bind" },
                serving,
                reason: (!serving).then(|| self.unserved()),
                steered: counted.map(|status| status.steered),
                dropped: counted.map(|status| status.dropped),
                weights: counted
                    .map(|status| status.weights.iter().map(WeightInfo::from).collect())
                    .unwrap_or_default(),
            }
        };
        listener.addresses.iter().map(of).collect()
    }

    /// The address that the system chose for a binding with port zero.
    fn chosen(&self, listener: &Listener, binding: &Binding) -> Option<String> {
        let asked = binding.socket_addresses().filter(|_| binding.system_chooses_port())?.next()?;
        let held = self.listeners.get(&listener.name)?.bound.get(&asked)?.first()?;
        held.socket.local_addr().ok().map(|address| address.to_string())
    }
}
