//! What shall be steered where, as the caller plans it, and what came of it.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::overlap::Overlaps;
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
    /// Addresses to which connections are made from here. A binding of any port leaves them to the sockets bound to them,
    /// for it would send every such connection back where it comes from; one that names the port does not.
    pub endpoints: Vec<SocketAddr>,
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
    /// What is left to the sockets bound there, if a binding covers it.
    pub(crate) fn left_alone(&self) -> BTreeSet<SocketAddr> {
        let bindings = self.bindings.iter().map(|planned| planned.binding);
        let (any, exact): (Vec<_>, Vec<_>) = bindings.partition(|binding| binding.ports() == Ports::Any);
        let mut alone: BTreeSet<_> = self.passed.iter().copied().collect();
        if !any.is_empty() {
            let (any, exact) = (Overlaps::new(&any), Overlaps::new(&exact));
            alone.extend(self.endpoints.iter().copied().map(dialled).filter(|address| {
                let binding = Binding::from(*address);
                any.contain(&binding) && !exact.contain(&binding)
            }));
        }
        alone
    }

    /// Says whose binding it is that an error is about.
    pub(crate) fn name(&self, error: SteerError) -> SteerError {
        let planned = error.binding().and_then(|binding| self.bindings.iter().find(|it| it.binding == *binding));
        match planned.map(|planned| planned.listener.clone()) {
            Some(listener) => SteerError::OfListener { listener, error: Box::new(error) },
            None => error,
        }
    }

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

/// Where a connection to an endpoint goes: to this host when no address is given.
fn dialled(endpoint: SocketAddr) -> SocketAddr {
    let address = match endpoint.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        _ => return endpoint,
    };
    SocketAddr::new(address, endpoint.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn plan(bindings: &[&str]) -> Vec<PlannedBinding> {
        let planned =
            |text: &&str| PlannedBinding { binding: text.parse().unwrap(), listener: "a".into(), weights: Vec::new() };
        bindings.iter().map(planned).collect()
    }

    fn check(bindings: &[&str]) -> Result<(), SteerError> {
        let listeners = vec![PlannedListener { name: "a", sockets: Vec::new() }];
        Plan { listeners, bindings: plan(bindings), ..Plan::default() }.check()
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

    #[test]
    fn only_a_binding_of_any_port_leaves_endpoints_alone() {
        let plan = Plan {
            bindings: plan(&["10.0.0.0/8:*", "10.0.0.1:80-90"]),
            passed: vec!["9.9.9.9:9".parse().unwrap()],
            endpoints: ["10.0.0.1:79", "10.0.0.1:85", "10.2.3.4:85", "11.0.0.1:85"]
                .map(|text| text.parse().unwrap())
                .into(),
            ..Plan::default()
        };
        let left: Vec<_> = plan.left_alone().iter().map(SocketAddr::to_string).collect();
        assert_eq!(left, ["9.9.9.9:9", "10.0.0.1:79", "10.2.3.4:85"]);
    }

    #[test]
    fn an_endpoint_without_an_address_is_this_host() {
        let left = |any: &str, endpoints: &[&str]| {
            let endpoints = endpoints.iter().map(|text| text.parse().unwrap()).collect();
            let plan = Plan { bindings: plan(&[any, "127.0.0.1:6"]), endpoints, ..Plan::default() };
            plan.left_alone().iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        let unspecified = ["0.0.0.0:5", "0.0.0.0:6", "[::]:7", "[::ffff:0.0.0.0]:8"];
        assert_eq!(left("127.0.0.0/8:*", &unspecified), ["127.0.0.1:5", "127.0.0.1:8"]);
        assert_eq!(left("[::]:*", &unspecified), ["127.0.0.1:5", "127.0.0.1:8", "[::1]:7"]);
    }
}
