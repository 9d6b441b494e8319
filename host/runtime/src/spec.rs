//! What the operator says about one plugin, in plain values. Must never hold anything that is loaded or live.

use std::collections::BTreeSet;
use std::time::Duration;

use odin_chain::{BodyOverflow, OnFailure, Rules};

/// One plugin of the config: who it is and what it may use.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpec {
    /// The name in the config; it marks log lines, metrics and private context values.
    pub name: String,
    /// The plugin's `config` section as JSON text; `null` when there is none.
    pub config: String,
    /// What one instance, and one call, may use.
    pub limits: Limits,
    /// What becomes of an exchange when a hook fails. The host acts on it, not this crate.
    pub on_failure: OnFailure,
    /// Whether instances are used again.
    pub isolation: Isolation,
    /// What the plugin may import beyond the interfaces of the exchange.
    pub grants: Grants,
    /// When a hook that fails too often on a route is left out there.
    pub breaker: BreakerPolicy,
}

impl PluginSpec {
    /// A plugin with default limits, no config and no grants.
    pub fn new(name: impl Into<String>) -> Self {
        PluginSpec {
            name: name.into(),
            config: "null".to_owned(),
            limits: Limits::default(),
            on_failure: OnFailure::default(),
            isolation: Isolation::default(),
            grants: Grants::default(),
            breaker: BreakerPolicy::default(),
        }
    }

    /// What the chain of filters has to know of it.
    pub fn rules(&self) -> Rules {
        let Limits { body_bytes, body_wait, body_overflow, .. } = self.limits;
        Rules { body_bytes, body_wait, body_overflow, on_failure: self.on_failure }
    }
}

/// What the plugin may import beyond the interfaces of the exchange. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `grant = […]`
    pub capabilities: BTreeSet<Capability>,
    /// `outbound = […]`: the clusters that it may call. Naming one grants the import.
    pub outbound: Vec<String>,
    /// `clusters = […]`: the clusters that it may send exchanges and connections to.
    pub clusters: Vec<String>,
    /// `shared-space`: a common space of `shared`, by name. None: the plugin has its own.
    pub shared_space: Option<String>,
}

/// An import that the config must grant. (`outbound` is granted by naming clusters.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it; the contract is wit/")]
pub enum Capability {
    Log,
    Clock,
    Random,
    Config,
    Metrics,
    Shared,
}

impl Capability {
    /// All of them.
    pub const ALL: [Capability; 6] = [
        Capability::Log,
        Capability::Clock,
        Capability::Random,
        Capability::Config,
        Capability::Metrics,
        Capability::Shared,
    ];

    /// The name in the config, which is that of the interface.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Log => "log",
            Capability::Clock => "clock",
            Capability::Random => "random",
            Capability::Config => "config",
            Capability::Metrics => "metrics",
            Capability::Shared => "shared",
        }
    }
}

/// What one instance, and one call, may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of linear memory of one instance, all its memories together. Default 16 MiB.
    pub memory_bytes: usize,
    /// Elements of all tables of one instance. Default 10,000; more than 20,000 does not fit the pool.
    pub table_elements: usize,
    /// CPU time of one hook call; the wait for `outbound` is none, and gives no new time. Default 10 ms.
    pub timeout: Duration,
    /// CPU time of all its calls in one exchange: at once, and again in each second that the exchange lasts. None, the
    /// default: what the exchange has.
    pub cpu_budget: Option<Duration>,
    /// A hook that computes for longer lets the worker do its other work after each such slice. Default 1 ms.
    pub slice: Duration,
    /// Bytes that one call between host and guest may make the host allocate; bodies that fit `body_bytes` may pass
    /// in any case. Default 1 MiB.
    pub host_allocation_bytes: usize,
    /// A warm instance is replaced after so many calls, give or take a quarter. Default 100,000.
    pub recycle_after_calls: u32,
    /// Bytes of stack that the guest may use: 64 KiB to 1 MiB, rounded up to a power of two. Default 512 KiB.
    pub stack_bytes: usize,
    /// Lines in the log per second and worker; the rest is dropped. Default 100.
    pub log_lines_per_second: u32,
    /// Bytes of a body that are held for the plugin, and of an answer to `outbound`. Default 1 MiB.
    pub body_bytes: usize,
    /// How long the host waits for a body that it holds for the plugin. Default 5 s. The host acts on it.
    pub body_wait: Duration,
    /// What becomes of a body over `body_bytes`. The host acts on it.
    pub body_overflow: BodyOverflow,
    /// The longest that one call of `outbound` may take. Default 1 s.
    pub outbound_timeout: Duration,
    /// Bytes of keys and values in the plugin's space of `shared`. Default 8 MiB.
    pub shared_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 16 << 20,
            table_elements: 10_000,
            timeout: Duration::from_millis(10),
            cpu_budget: None,
            slice: Duration::from_millis(1),
            host_allocation_bytes: 1 << 20,
            recycle_after_calls: 100_000,
            stack_bytes: 512 << 10,
            log_lines_per_second: 100,
            body_bytes: 1 << 20,
            body_wait: Duration::from_secs(5),
            body_overflow: BodyOverflow::default(),
            outbound_timeout: Duration::from_secs(1),
            shared_bytes: 8 << 20,
        }
    }
}

impl Limits {
    /// Bytes that one call between host and guest may copy out of the guest: a whole body always fits.
    pub(crate) fn hostcall_bytes(&self) -> usize {
        self.host_allocation_bytes.max(self.body_bytes.saturating_add(BESIDE_A_BODY_BYTES))
    }
}

/// What a reply may hold beside its body.
const BESIDE_A_BODY_BYTES: usize = 64 << 10;

/// When a hook that fails too often on a route is left out there, and for how long. Traps, overruns and bad answers are
/// failures; the plugin's own errors are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// So many percent of the calls in a window must fail; 0 means that it is never left out. Default 50: a pause costs
    /// every exchange of the route, so it must not cost more than the failures do.
    pub percent: u32,
    /// There must be so many calls in the window: fewer say little about the plugin. Default 20.
    pub calls: u64,
    /// How long failures and calls are counted together, from a failure on. Default 10 s.
    pub window: Duration,
    /// The first pause. Each one that ends in more failures doubles the next. Default 1 s.
    pub pause: Duration,
    /// No pause is longer. Default 60 s.
    pub max_pause: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        BreakerPolicy {
            percent: 50,
            calls: 20,
            window: Duration::from_secs(10),
            pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(60),
        }
    }
}

/// Whether instances are used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Warm instances serve every call.
    #[default]
    Pooled,
    /// A new instance for each call: guest memory carries nothing from one call to the next.
    Fresh,
}
