//! The section of one plugin, with every default: what it is, what it may reach, and what it may cost.
//! Must never grant anything by default.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::super::nearest::did_you_mean;
use super::{duration, size};

/// A `.wasm` file with its settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Plugin {
    /// The file. In a config file it is relative to that file's folder; here it is joined with it.
    pub(crate) path: PathBuf,
    /// Handed to the plugin as JSON. Default null.
    pub(crate) config: serde_json::Value,
    /// What becomes of an exchange when a hook fails. Default closed.
    pub(crate) on_failure: OnFailure,
    /// Whether instances are used again. Default pooled.
    pub(crate) isolation: Isolation,
    /// CPU time of one hook call, without the wait for `outbound`; at least 1 ms. Default 10 ms.
    #[serde(serialize_with = "duration")]
    pub(crate) timeout: Duration,
    /// CPU time of all its calls for one exchange or connection: at once, and again in each second that it lasts; at
    /// least 1 ms. Default: none, which means what `[limits]` gives all plugins together.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_duration")]
    pub(crate) cpu_budget: Option<Duration>,
    /// A hook that computes for longer lets its worker do other work after each slice of so long; at least 1 ms.
    /// Default 1 ms.
    #[serde(serialize_with = "duration")]
    pub(crate) slice: Duration,
    /// Bytes of linear memory of one instance. Default 16 MiB.
    #[serde(serialize_with = "size")]
    pub(crate) memory: u64,
    /// Bytes of stack of one call, 64 KiB to 1 MiB. Default 512 KiB.
    #[serde(serialize_with = "size")]
    pub(crate) stack: u64,
    /// Bytes that one call between host and guest may make the host allocate, 64 KiB to 1 GiB. Default 1 MiB.
    #[serde(serialize_with = "size")]
    pub(crate) host_allocation: u64,
    /// Lines in Odin's log per second and worker; the rest is dropped. Default 100.
    pub(crate) log_rate: u32,
    /// A warm instance is replaced after so many calls. Default 100,000.
    pub(crate) recycle_after: u32,
    /// What the plugin may import beyond the interfaces of the exchange. Default nothing.
    pub(crate) grant: BTreeSet<Grant>,
    /// Keys of `clusters` that it may call; naming one grants the import. Default none.
    pub(crate) outbound: Vec<String>,
    /// Keys of `clusters` that it may send exchanges and connections to, by `routing.set-cluster`. Default none.
    pub(crate) clusters: Vec<String>,
    /// The longest that one call of `outbound` may take. Default 1 s.
    #[serde(serialize_with = "duration")]
    pub(crate) outbound_timeout: Duration,
    /// A space of `shared` in common with the plugins that name the same. Default: none, which means its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_space: Option<String>,
    /// Bytes of keys and values in that space, 64 KiB to 1 GiB; the same in every plugin of a common one. Default 8 MiB.
    #[serde(serialize_with = "size")]
    pub(crate) shared_size: u64,
    /// Bytes of a body that are held for it, and of an answer to `outbound`; up to 1 GiB. Default 1 MiB.
    #[serde(serialize_with = "size")]
    pub(crate) body_limit: u64,
    /// What becomes of a body over `body_limit`. Default reject.
    pub(crate) body_overflow: BodyOverflow,
    /// How long a body that is held may take to arrive. Default 5 s.
    #[serde(serialize_with = "duration")]
    pub(crate) body_wait: Duration,
    /// When a hook that fails too often on a route is left out there.
    pub(crate) breaker: Breaker,
}

impl Plugin {
    /// A plugin with every default.
    pub(crate) fn new(path: PathBuf) -> Self {
        Plugin {
            path,
            config: serde_json::Value::Null,
            on_failure: OnFailure::default(),
            isolation: Isolation::default(),
            timeout: Duration::from_millis(10),
            cpu_budget: None,
            slice: Duration::from_millis(1),
            memory: 16 << 20,
            stack: 512 << 10,
            host_allocation: 1 << 20,
            log_rate: 100,
            recycle_after: 100_000,
            grant: BTreeSet::new(),
            outbound: Vec::new(),
            clusters: Vec::new(),
            outbound_timeout: Duration::from_secs(1),
            shared_space: None,
            shared_size: 8 << 20,
            body_limit: 1 << 20,
            body_overflow: BodyOverflow::default(),
            body_wait: Duration::from_secs(5),
            breaker: Breaker::default(),
        }
    }
}

fn some_duration<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => duration(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// An interface that a plugin may import only when it is granted. `outbound` is none of them: clusters are named for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grant {
    /// Lines in Odin's log.
    Log,
    /// The time.
    Clock,
    /// Random numbers.
    Random,
    /// Its `config`, value by value.
    Config,
    /// Numbers of its own on `/metrics`.
    Metrics,
    /// State that outlives an exchange.
    Shared,
}

impl Grant {
    const ALL: [(&'static str, Grant); 6] = [
        ("log", Grant::Log),
        ("clock", Grant::Clock),
        ("random", Grant::Random),
        ("config", Grant::Config),
        ("metrics", Grant::Metrics),
        ("shared", Grant::Shared),
    ];

    /// The grant of this name; the error tells which there are.
    pub(crate) fn parse(text: &str) -> Result<Grant, String> {
        if let Some((_, grant)) = Grant::ALL.iter().find(|(name, _)| *name == text) {
            return Ok(*grant);
        }
        if text == "outbound" {
            let how = r#"name the clusters that it may call in a config file, as `outbound = ["auth"]`"#;
            return Err(format!("`outbound` is granted in another way; {how}"));
        }
        let names = || Grant::ALL.iter().map(|(name, _)| *name);
        let listed = names().collect::<Vec<_>>().join(", ");
        let help = match did_you_mean(text, names()) {
            near if near.is_empty() => format!("; what there is: {listed}"),
            near => format!("{near} (what there is: {listed})"),
        };
        Err(format!("nothing is granted by the name `{text}`{help}"))
    }
}

/// What becomes of an exchange when a hook of the plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFailure {
    /// It fails with 502.
    #[default]
    Closed,
    /// It goes on as if the plugin were not there.
    Open,
}

/// Whether instances of the plugin are used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Isolation {
    /// One warm instance per worker.
    #[default]
    Pooled,
    /// A new instance for each call.
    Fresh,
}

/// What becomes of a body that is larger than the plugin may have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BodyOverflow {
    /// The exchange fails: 413 for a request, 502 for a response.
    #[default]
    Reject,
    /// The plugin sees the beginning; the rest streams past it.
    Partial,
}

/// When a hook that fails too often on a route is left out there, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Breaker {
    /// So many percent of the calls in a window must fail; 0 means never. Default 50.
    pub(crate) percent: u32,
    /// Of at least so many calls. Default 20.
    pub(crate) calls: u64,
    /// How long calls are counted together. Default 10 s.
    #[serde(serialize_with = "duration")]
    pub(crate) window: Duration,
    /// The first pause; each one after it is longer, until calls succeed. Default 1 s.
    #[serde(serialize_with = "duration")]
    pub(crate) pause: Duration,
    /// The longest pause; not below `pause`. Default 60 s.
    #[serde(serialize_with = "duration")]
    pub(crate) max_pause: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            percent: 50,
            calls: 20,
            window: Duration::from_secs(10),
            pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(60),
        }
    }
}
