//! The section of one plugin, with every default: what it is, what it may reach, and what it may cost.
//! Must never grant anything by default.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::super::nearest::did_you_mean;
use super::super::places::Kind;
use super::super::section::{Choice as _, choice, section};
use super::super::sections::{breaker, grants, settings, wasm_file};
use super::super::shapes::{self, duration, list, name, optional, reference, section_by, size, whole};
use super::LEAST_TIME;

/// WebAssembly's page: no memory is smaller, and no other budget is worth having below it.
const LEAST: u64 = 64 << 10;
/// What pools of instances are made for; a plugin that wants more does not fit.
const MOST: u64 = 1 << 30;
/// A guest runs on a worker's stack, which has room for so much of it.
const MOST_STACK: u64 = 1 << 20;

section! {
    /// A `.wasm` file with its settings.
    pub(crate) struct Plugin {
        /// The file, relative to the folder of the config file.
        path: PathBuf [required r#"for example "lb_rr.wasm""#], wasm_file(),
            r#""../plugins/target/wasm32-unknown-unknown/release/headers.wasm""#;
        /// Any values, handed to the plugin as JSON.
        config: serde_json::Value = serde_json::Value::Null, settings(), "{}";
        /// What becomes of an exchange when a hook fails.
        on_failure: OnFailure = OnFailure::default(), shapes::choice();
        /// Whether instances are used again.
        isolation: Isolation = Isolation::default(), shapes::choice();
        /// CPU time of one hook call, without the wait for `outbound`.
        timeout: Duration = Duration::from_millis(10), duration(LEAST_TIME);
        /// CPU time of all its calls for one exchange or connection: at once, and again in each second that it lasts.
        /// Default: what `[limits]` gives all plugins together.
        cpu_budget: Option<Duration> = None, optional(duration(LEAST_TIME)), r##"#"20ms""##;
        /// A hook that computes for longer lets its worker do other work after each slice of so long.
        slice: Duration = Duration::from_millis(1), duration(LEAST_TIME);
        /// Bytes of linear memory of one instance.
        memory: u64 = 16 << 20, size(LEAST..=MOST);
        /// Bytes of stack of one call.
        stack: u64 = 512 << 10, size(LEAST..=MOST_STACK);
        /// Bytes that one call between host and guest may make the host allocate.
        host_allocation: u64 = 1 << 20, size(LEAST..=MOST);
        /// Lines in Odin's log per second and worker, also of its errors; the rest is dropped.
        log_rate: u32 = 100, whole(0..=1_000_000);
        /// A warm instance is replaced after so many calls.
        recycle_after: u32 = 100_000, whole(1..=u32::MAX);
        /// What the plugin may import beyond the interfaces of the exchange.
        grant: BTreeSet<Grant> = BTreeSet::new(), grants(),
            r#"["log", "clock", "random", "config", "metrics", "shared"]"#;
        /// Clusters that it may call; naming one grants the import.
        outbound: Vec<String> = Vec::new(), list("cluster names", reference(Kind::Cluster));
        /// Clusters that it may send exchanges and connections to, by `routing.set-cluster`.
        clusters: Vec<String> = Vec::new(), list("cluster names", reference(Kind::Cluster));
        /// The longest that one call of `outbound` may take.
        outbound_timeout: Duration = Duration::from_secs(1), duration(LEAST_TIME);
        /// A space of `shared` in common with the plugins that name the same. Default: a space of its own.
        shared_space: Option<String> = None, optional(name()), r##"#"sessions""##;
        /// Bytes of keys and values in that space; the same in every plugin of a common one.
        shared_size: u64 = 8 << 20, size(LEAST..=MOST);
        /// Bytes of a body that are held for it, and of an answer to `outbound`.
        body_limit: u64 = 1 << 20, size(0..=MOST);
        /// What becomes of a body over `body-limit`.
        body_overflow: BodyOverflow = BodyOverflow::default(), shapes::choice();
        /// How long a body that is held may take to arrive.
        body_wait: Duration = Duration::from_secs(5), duration(LEAST_TIME);
        /// When a hook that fails too often on a route is left out there.
        breaker: Breaker = Breaker::default(), section_by(breaker);
    }
}

section! {
    /// When a hook that fails too often on a route is left out there, and for how long.
    pub(crate) struct Breaker {
        /// So many percent of the calls in a window must fail; 0 means never.
        percent: u32 = 50, whole(0..=100);
        /// Of at least so many calls.
        calls: u64 = 20, whole(1..=1_000_000);
        /// How long calls are counted together.
        window: Duration = Duration::from_secs(10), duration(LEAST_TIME);
        /// The first pause; each one after it is longer, until calls succeed.
        pause: Duration = Duration::from_secs(1), duration(LEAST_TIME);
        /// The longest pause; not below `pause`.
        max_pause: Duration = Duration::from_secs(60), duration(LEAST_TIME);
    }
}

choice! {
    /// An interface that a plugin may import only when it is granted. `outbound` is none of them: clusters are named for it.
    pub(crate) enum Grant {
        /// Lines in Odin's log.
        Log = "log",
        /// The time.
        Clock = "clock",
        /// Random numbers.
        Random = "random",
        /// Its `config`, value by value.
        Config = "config",
        /// Numbers of its own on `/metrics`.
        Metrics = "metrics",
        /// State that outlives an exchange.
        Shared = "shared",
    }
}

impl Grant {
    /// The grant of this name; the error tells which there are.
    pub(crate) fn parse(text: &str) -> Result<Grant, String> {
        if let Some((_, grant, _)) = Grant::ALL.iter().find(|(name, ..)| *name == text) {
            return Ok(*grant);
        }
        if text == "outbound" {
            let how = r#"name the clusters that it may call in a config file, as `outbound = ["auth"]`"#;
            return Err(format!("`outbound` is granted in another way; {how}"));
        }
        let names = || Grant::ALL.iter().map(|(name, ..)| *name);
        let listed = names().collect::<Vec<_>>().join(", ");
        let help = match did_you_mean(text, names()) {
            near if near.is_empty() => format!("; what there is: {listed}"),
            near => format!("{near} (what there is: {listed})"),
        };
        Err(format!("nothing is granted by the name `{text}`{help}"))
    }
}

choice! {
    /// What becomes of an exchange when a hook of the plugin fails.
    pub(crate) enum OnFailure {
        /// It fails with 502.
        Closed = "closed",
        /// It goes on as if the plugin were not there.
        Open = "open",
    }
}

choice! {
    /// Whether instances of the plugin are used again.
    pub(crate) enum Isolation {
        /// One warm instance per worker.
        Pooled = "pooled",
        /// A new instance for each call, for code that is not trusted.
        Fresh = "fresh",
    }
}

choice! {
    /// What becomes of a body that is larger than the plugin may have it.
    pub(crate) enum BodyOverflow {
        /// The exchange fails: 413 for a request, 502 for a response.
        Reject = "reject",
        /// The plugin sees the beginning; the rest streams past it.
        Partial = "partial",
    }
}
