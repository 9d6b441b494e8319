//! A cluster and its endpoints: what all workers share. Counters are written by one worker each and summed when read,
//! so no request waits for another worker's cache line; health is written only when it changes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use odin_runtime::Plugin;

use crate::clock;

/// After a first failed connect an endpoint is left alone for so long; each further failure doubles it.
const FIRST_PENALTY: Duration = Duration::from_secs(1);
const MAX_DOUBLINGS: u64 = 5;

/// How Odin speaks to the endpoints of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (and plain bytes for TCP listeners).
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
}

/// A named set of endpoints.
pub struct Cluster {
    /// The key in the config.
    pub name: String,
    /// In config order; the index is the endpoint's number for balancers.
    pub endpoints: Vec<Endpoint>,
    /// Who picks; none means the built-in round robin.
    pub balancer: Option<Arc<Plugin>>,
    /// For HTTP.
    pub protocol: Protocol,
    /// Whether all endpoints have the same weight.
    pub(crate) uniform: bool,
    /// The turn of whoever goes round.
    pub(crate) turn: AtomicU64,
    /// False while every endpoint is fine: then nobody looks at their health one by one.
    pub(crate) any_failed: Arc<AtomicBool>,
}

impl Cluster {
    /// `workers` is the number of threads that will count.
    pub fn new(
        name: impl Into<String>,
        endpoints: impl IntoIterator<Item = (SocketAddr, u32)>,
        balancer: Option<Arc<Plugin>>,
        protocol: Protocol,
        workers: usize,
    ) -> Self {
        let endpoint = |(address, weight)| Endpoint { address, weight, state: EndpointState::new(workers) };
        let endpoints: Vec<_> = endpoints.into_iter().map(endpoint).collect();
        Cluster {
            name: name.into(),
            uniform: endpoints.windows(2).all(|pair| pair[0].weight == pair[1].weight),
            endpoints,
            balancer,
            protocol,
            turn: AtomicU64::new(0),
            any_failed: Arc::default(),
        }
    }

    /// Goes on with what is known of the endpoints that `before` has as well: health, counters and connections.
    #[must_use]
    pub fn after(mut self, before: &Cluster) -> Self {
        let mut known: HashMap<SocketAddr, Vec<&Arc<EndpointState>>> = HashMap::new();
        for endpoint in before.endpoints.iter().rev() {
            known.entry(endpoint.address).or_default().push(&endpoint.state);
        }
        for endpoint in &mut self.endpoints {
            // An address may be there twice; each is one endpoint.
            if let Some(state) = known.get_mut(&endpoint.address).and_then(Vec::pop) {
                endpoint.state = state.clone();
            }
        }
        self.turn = AtomicU64::new(before.turn.load(Relaxed));
        // Exchanges that began with the cluster of before may still meet a failure.
        self.any_failed = before.any_failed.clone();
        self
    }

    /// After a failed connect: the endpoint is out until its penalty is over.
    pub(crate) fn connect_failed(&self, index: usize) {
        let endpoint = &self.endpoints[index].state;
        let failures = endpoint.failures_in_a_row.fetch_add(1, Relaxed);
        let penalty = FIRST_PENALTY.as_millis() as u64 * (1 << failures.min(MAX_DOUBLINGS));
        endpoint.out_until.store(clock::millis() + penalty, Relaxed);
        self.any_failed.store(true, Relaxed);
    }

    /// After a connect that worked: all is forgiven.
    pub(crate) fn connected(&self, index: usize) {
        if !self.any_failed.load(Relaxed) {
            return;
        }
        let endpoint = &self.endpoints[index].state;
        endpoint.failures_in_a_row.store(0, Relaxed);
        endpoint.out_until.store(0, Relaxed);
        let failed = self.endpoints.iter().any(|endpoint| endpoint.state.out_until.load(Relaxed) != 0);
        self.any_failed.store(failed, Relaxed);
        // Another worker may have found a failure in between; a penalty must not be forgotten.
        if !failed && self.endpoints.iter().any(|endpoint| endpoint.state.out_until.load(Relaxed) != 0) {
            self.any_failed.store(true, Relaxed);
        }
    }
}

/// One address of a cluster.
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// For weighted balancers; 1 unless set.
    pub weight: u32,
    state: Arc<EndpointState>,
}

/// What is known of an endpoint; outlives a reload that keeps its address.
struct EndpointState {
    /// [`clock::millis`] at which it may be tried again; zero when it is fine.
    out_until: AtomicU64,
    failures_in_a_row: AtomicU64,
    counters: Box<[EndpointCounters]>,
}

impl EndpointState {
    fn new(workers: usize) -> Arc<Self> {
        Arc::new(EndpointState {
            out_until: AtomicU64::new(0),
            failures_in_a_row: AtomicU64::new(0),
            counters: (0..workers.max(1)).map(|_| EndpointCounters::default()).collect(),
        })
    }
}

impl Endpoint {
    /// The same for the endpoint in the config before and after a reload that keeps it.
    pub(crate) fn identity(&self) -> *const () {
        Arc::as_ptr(&self.state).cast()
    }

    /// False after a failed connect, until it may be tried again.
    pub fn healthy(&self) -> bool {
        let until = self.state.out_until.load(Relaxed);
        until == 0 || clock::millis() >= until
    }

    /// What has happened to it, over all workers.
    pub fn totals(&self) -> EndpointTotals {
        let mut totals = EndpointTotals::default();
        for counters in &self.state.counters {
            totals.requests += counters.started.get();
            totals.active += counters.started.get().wrapping_sub(counters.ended.get());
            totals.connects += counters.connects.get();
            totals.connect_failures += counters.connect_failures.get();
        }
        totals
    }

    pub(crate) fn active(&self) -> u64 {
        self.state.counters.iter().map(|counters| counters.started.get().wrapping_sub(counters.ended.get())).sum()
    }

    pub(crate) fn counters(&self, worker: usize) -> &EndpointCounters {
        &self.state.counters[worker]
    }
}

/// An endpoint in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointTotals {
    /// Exchanges and TCP connections that were given to it.
    pub requests: u64,
    /// Those that are open now.
    pub active: u64,
    /// Connections that were opened to it.
    pub connects: u64,
    /// Connects that failed.
    pub connect_failures: u64,
}

/// One worker's share.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct EndpointCounters {
    pub(crate) started: Counter,
    pub(crate) ended: Counter,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
}

/// A number with one writer and any readers: no locked instruction.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may call this.
    pub(crate) fn add(&self, delta: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(delta), Relaxed);
    }

    /// The value now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
