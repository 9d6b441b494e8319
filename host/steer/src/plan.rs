//! What shall be steered where, as the caller plans it, and what came of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::{Binding, Ports, SteerError};

/// Everything that shall be steered; what it does not name is steered no longer.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// The listeners, each under its own name.
    pub listeners: Vec<PlannedListener<'a>>,
    /// The bindings, each one once.
    pub bindings: Vec<PlannedBinding>,
    /// Addresses that are left to the sockets bound to them, though a binding may cover them.
    pub passed: Vec<SocketAddr>,
}

/// A listener's sockets. They listen, and belong to the caller, who keeps them open.
#[derive(Debug)]
pub struct PlannedListener<'a> {
    /// By which bindings and weights name it.
    pub name: &'a str,
    /// One for every worker. None refuses every connection.
    pub sockets: Vec<BorrowedFd<'a>>,
}

/// Addresses and ports, and where their connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBinding {
    /// The addresses and ports.
    pub binding: Binding,
    /// The listener that they belong to.
    pub listener: String,
    /// How new connections are shared out; none: evenly over the listener's sockets.
    pub weights: Vec<Weight>,
}

/// A share of a binding's new connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Weight {
    /// The listener that gets it.
    pub listener: String,
    /// The one of its sockets; none: evenly over all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// The share, relative to the other weights.
    pub weight: u32,
}

/// What a plan changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// New bindings.
    pub added: usize,
    /// Bindings that stay and go elsewhere, or by other weights.
    pub changed: usize,
    /// Bindings that are gone.
    pub removed: usize,
    /// Updates of the program's maps.
    pub updates: usize,
}

/// A binding of the last plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BindingStatus {
    /// The addresses and ports.
    pub binding: Binding,
    /// The listener that they belong to.
    pub listener: String,
    /// How often a socket was found for a packet that asked for a connection: once for each, and now and then once more.
    pub steered: u64,
    /// How often one was refused, for want of a socket.
    pub dropped: u64,
    /// The size of its table; the binding's connections are shared out evenly over the slots.
    pub slots: u32,
    /// The weights, if any.
    pub weights: Vec<Weight>,
}

/// What the program cost, as far as the kernel counts it (`kernel.bpf_stats_enabled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunStats {
    /// Times that it ran.
    pub runs: u64,
    /// Nanoseconds that it took.
    pub nanos: u64,
}

impl Plan<'_> {
    /// What can be wrong with a plan by itself.
    pub(crate) fn check(&self) -> Result<(), SteerError> {
        let workers: HashMap<&str, usize> =
            self.listeners.iter().map(|listener| (listener.name, listener.sockets.len())).collect();
        for planned in &self.bindings {
            let binding = planned.binding;
            if binding.system_chooses_port() {
                return Err(SteerError::NoPort { binding });
            }
            let missing = |listener: &str| SteerError::NoListener { binding, listener: listener.to_owned() };
            if !workers.contains_key(&*planned.listener) {
                return Err(missing(&planned.listener));
            }
            for weight in &planned.weights {
                let Some(&workers) = workers.get(&*weight.listener) else { return Err(missing(&weight.listener)) };
                if let Some(worker) = weight.worker
                    && worker as usize >= workers
                {
                    return Err(SteerError::NoWorker { binding, listener: weight.listener.clone(), worker });
                }
            }
            if !planned.weights.is_empty() && planned.weights.iter().all(|weight| weight.weight == 0) {
                return Err(SteerError::NoWeight { binding });
            }
        }
        self.check_duplicates()
    }

    /// A network has each port once; any port is a key of its own, which yields to the exact ones.
    fn check_duplicates(&self) -> Result<(), SteerError> {
        let mut bindings: Vec<_> = self
            .bindings
            .iter()
            .map(|planned| {
                let ports = match planned.binding.ports() {
                    Ports::Any => (0, 0),
                    Ports::Range(first, last) => (first, last),
                };
                (planned.binding.mapped(), ports, planned.binding)
            })
            .collect();
        bindings.sort_unstable();
        for pair in bindings.windows(2) {
            let [(network, (_, last), other), (next, (first, _), binding)] = pair else { continue };
            if network == next && first <= last {
                return Err(SteerError::Duplicate { binding: *binding, other: *other });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn check(bindings: &[&str]) -> Result<(), SteerError> {
        let bindings = bindings
            .iter()
            .map(|text| PlannedBinding { binding: text.parse().unwrap(), listener: "a".into(), weights: Vec::new() })
            .collect();
        Plan { listeners: vec![PlannedListener { name: "a", sockets: Vec::new() }], bindings, ..Plan::default() }
            .check()
    }

    #[test]
    fn a_network_has_each_port_once() {
        check(&["1.2.3.4:80", "1.2.3.4:81-90", "1.2.3.0/24:80", "1.2.3.4:*", "[::]:80", "0.0.0.0:80"]).unwrap();
        for twice in [
            ["1.2.3.4:80", "1.2.3.4:80"],
            ["1.2.3.4:80", "1.2.3.4:70-90"],
            ["1.2.3.4:*", "1.2.3.4:*"],
            ["1.2.3.4:80", "[::ffff:1.2.3.4]:80"],
        ] {
            assert!(matches!(check(&twice), Err(SteerError::Duplicate { .. })), "{twice:?}");
        }
        assert!(matches!(check(&["1.2.3.4:0"]), Err(SteerError::NoPort { .. })));
    }
}
