//! A cluster and its endpoints: what all workers share. Counters are written by one worker each and summed when read,
//! so no request waits for another worker's cache line; health ([`health`](crate::upstream::health)) is written only when it
//! changes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use odin_runtime::Plugin;

use crate::transport::clock;
use crate::transport::connector::Protocol;
use crate::transport::proxy_header::ProxyVersion;
use crate::transport::tls;
use crate::upstream::eligible::Eligible;
use crate::upstream::health::{Failure, Health, Standing};
use crate::upstream::stride::Stride;

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
    /// How its endpoints are spoken to; none for plain text.
    pub tls: Option<Arc<tls::Client>>,
    /// What its connections begin with. Each of them then carries one exchange and is not kept: the endpoint takes whatever
    /// comes on it for that client's.
    pub proxy_header: Option<ProxyVersion>,
    /// The turn of whoever goes round.
    pub(crate) turn: AtomicU64,
    pub(crate) stride: Stride,
    /// The endpoints by health.
    pub(crate) eligible: Arc<Eligible>,
}

/// What was known of an endpoint when an attempt at it began.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    penalties: u32,
    answers: u64,
}

impl Cluster {
    /// `workers` is the number of threads that will count.
    pub fn new(
        name: impl Into<String>,
        endpoints: impl IntoIterator<Item = impl Into<NewEndpoint>>,
        balancer: Option<Arc<Plugin>>,
        protocol: Protocol,
        workers: usize,
    ) -> Self {
        let endpoint = |NewEndpoint { address, weight, host }| Endpoint {
            address,
            weight,
            host,
            state: EndpointState::new(workers),
        };
        let endpoints: Vec<_> = endpoints.into_iter().map(|new| endpoint(new.into())).collect();
        let weights: Vec<_> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let eligible = Arc::new(Eligible::new(&weights));
        for (index, endpoint) in (0..).zip(&endpoints) {
            endpoint.state.health.join(&eligible, index);
        }
        Cluster {
            name: name.into(),
            endpoints,
            balancer,
            protocol,
            tls: None,
            proxy_header: None,
            turn: AtomicU64::new(0),
            stride: Stride::default(),
            eligible,
        }
    }

    /// Its endpoints are spoken to over TLS.
    #[must_use]
    pub fn over(mut self, tls: Option<Arc<tls::Client>>) -> Self {
        self.tls = tls;
        self
    }

    /// Goes on with what is known of the endpoints that `before` has as well: health, counters and connections.
    #[must_use]
    pub fn after(mut self, before: &Cluster) -> Self {
        let mut known: HashMap<SocketAddr, Vec<&Arc<EndpointState>>> = HashMap::new();
        for endpoint in before.endpoints.iter().rev() {
            known.entry(endpoint.address).or_default().push(&endpoint.state);
        }
        for (index, endpoint) in (0..).zip(&mut self.endpoints) {
            // An address may be there twice; each is one endpoint.
            if let Some(state) = known.get_mut(&endpoint.address).and_then(Vec::pop) {
                endpoint.state = state.clone();
                // Exchanges that began with the cluster of before may still meet a failure.
                endpoint.state.health.join(&self.eligible, index);
            }
        }
        self.turn = AtomicU64::new(before.turn.load(Relaxed));
        self
    }

    /// Endpoints whose penalty is over may be picked again. To be called before each pick.
    pub fn refresh(&self) {
        if let Some((now, over)) = self.eligible.overdue(clock::millis) {
            over.into_iter().for_each(|index| self.health(index as usize).expire(now));
        }
    }

    /// An attempt at an endpoint begins; what this answers belongs to its failure, if it fails.
    pub fn begin(&self, index: usize, worker: usize) -> Began {
        let state = &self.endpoints[index].state;
        Began { penalties: state.health.penalties(), answers: state.counters[worker].answers.get() }
    }

    /// A connect failed: the endpoint is out until its penalty is over.
    pub fn connect_failed(&self, index: usize, began: Began) {
        self.health(index).failed(Failure::Connect, began.penalties);
    }

    /// The endpoint had the whole request, and the head of the response did not come in time: it is out until its penalty
    /// is over. Unless it has answered this worker's other requests meanwhile: then it is not the endpoint that hangs.
    pub(crate) fn timed_out(&self, index: usize, worker: usize, began: Began) {
        if self.endpoints[index].state.counters[worker].answers.get() == began.answers {
            self.health(index).failed(Failure::Silence, began.penalties);
        }
    }

    /// A connect worked: the endpoint is fine, unless it was its answers that did not come.
    pub fn connected(&self, index: usize) {
        if !self.eligible.all_fine() {
            self.health(index).connected();
        }
    }

    /// A response came: the endpoint is fine.
    pub(crate) fn answered(&self, index: usize, worker: usize) {
        self.endpoints[index].counters(worker).answers.add(1);
        if !self.eligible.all_fine() {
            self.health(index).answered();
        }
    }

    pub(crate) fn health(&self, index: usize) -> &Health {
        &self.endpoints[index].state.health
    }
}

/// An endpoint of which nothing is known yet.
pub struct NewEndpoint {
    /// Its address.
    pub address: SocketAddr,
    /// For weighted balancers.
    pub weight: u32,
    /// Its name in the config, if it has one.
    pub host: Option<Arc<str>>,
}

impl From<(SocketAddr, u32)> for NewEndpoint {
    fn from((address, weight): (SocketAddr, u32)) -> Self {
        NewEndpoint { address, weight, host: None }
    }
}

/// One address of a cluster.
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// For weighted balancers; 1 unless set.
    pub weight: u32,
    /// Its name in the config, if it has one.
    pub(crate) host: Option<Arc<str>>,
    state: Arc<EndpointState>,
}

/// What is known of an endpoint; outlives a reload that keeps its address.
struct EndpointState {
    health: Health,
    counters: Box<[EndpointCounters]>,
}

impl EndpointState {
    fn new(workers: usize) -> Arc<Self> {
        Arc::new(EndpointState {
            health: Health::new(),
            counters: (0..workers.max(1)).map(|_| EndpointCounters::default()).collect(),
        })
    }
}

impl Endpoint {
    /// The same for the endpoint in the config before and after a reload that keeps it.
    pub(crate) fn identity(&self) -> *const () {
        Arc::as_ptr(&self.state).cast()
    }

    /// False after it failed, until it may be tried again.
    pub fn healthy(&self) -> bool {
        !matches!(self.state.health.standing(), Standing::Out { until } if clock::millis() < until)
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
    /// Responses whose head came.
    pub(crate) answers: Counter,
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
