//! What the operator says about one plugin, in plain values. Must never hold anything that is loaded or live.

use std::fmt;
use std::time::Duration;

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
}

impl PluginSpec {
    /// A plugin with default limits and no config.
    pub fn new(name: impl Into<String>) -> Self {
        PluginSpec {
            name: name.into(),
            config: "null".to_owned(),
            limits: Limits::default(),
            on_failure: OnFailure::default(),
            isolation: Isolation::default(),
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
    /// Time of one hook call. Default 10 ms; resolution 1 ms.
    pub timeout: Duration,
    /// Bytes that one call between host and guest may make the host allocate. Default 1 MiB.
    pub host_allocation_bytes: usize,
    /// A warm instance is replaced after so many calls, give or take a quarter. Default 100,000.
    pub recycle_after_calls: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 16 << 20,
            table_elements: 10_000,
            timeout: Duration::from_millis(10),
            host_allocation_bytes: 1 << 20,
            recycle_after_calls: 100_000,
        }
    }
}

/// What becomes of an exchange when a hook of the plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The exchange fails with 502.
    #[default]
    Closed,
    /// The exchange goes on as if the plugin were not there.
    Open,
}

/// Whether instances are used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// One warm instance per worker serves every call.
    #[default]
    Pooled,
    /// A new instance for each call: guest memory carries nothing from one exchange to the next.
    Fresh,
}

/// Which hooks a plugin exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// `lifecycle.configure`
    pub lifecycle: bool,
    /// `balancer.pick`
    pub balancer: bool,
    /// `request-headers.on-request-headers`
    pub request_headers: bool,
    /// `response-headers.on-response-headers`
    pub response_headers: bool,
}

/// A hook, as named in errors, logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `lifecycle.configure`
    Configure,
    /// `balancer.pick`
    Balancer,
    /// `request-headers.on-request-headers`
    RequestHeaders,
    /// `response-headers.on-response-headers`
    ResponseHeaders,
}

impl Hook {
    /// Every hook, in the order in which an exchange meets them.
    pub const ALL: [Hook; 4] = [Hook::Configure, Hook::RequestHeaders, Hook::Balancer, Hook::ResponseHeaders];

    /// The name for logs and metrics, for example `request-headers`.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Configure => "configure",
            Hook::Balancer => "balancer",
            Hook::RequestHeaders => "request-headers",
            Hook::ResponseHeaders => "response-headers",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
