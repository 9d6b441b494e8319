//! Every way in which a plugin can fail to load or to answer, with the words that an operator reads.
//! Must never carry a wasmtime type, and a message must never span lines (a backtrace is kept apart).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use odin_chain::{Hook, Whose};

/// The engine could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the plugin engine does not start: {0}")]
pub struct RuntimeError(pub String);

/// A plugin was refused; whatever served before still serves.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no WebAssembly at all.
    #[error("not a WebAssembly file: it begins with {begins_with}")]
    NotWasm {
        /// The first bytes, quoted.
        begins_with: String,
    },
    /// A core module without the component type that Odin's SDK embeds.
    #[error("a core WebAssembly module without a component type: build it with odin-sdk or make it a component")]
    NoComponentType,
    /// The core module's embedded component type does not fit it.
    #[error("the module does not make a component: {0}")]
    Encode(String),
    /// WebAssembly, but invalid or using a feature that is off.
    #[error("the component is not valid: {0}")]
    Invalid(String),
    /// It asks the compiler for more than any plugin needs.
    #[error("it is too large to compile: {0}")]
    TooLarge(String),
    /// Compiling it took too much, or failed in a way that is no fault of its validity.
    #[error("it was not compiled: {0}")]
    Compile(String),
    /// It imports what Odin does not offer.
    #[error("it imports {imports}, which Odin does not offer to plugins")]
    UnknownImport {
        /// The imports' full names, quoted and joined.
        imports: String,
    },
    /// It imports what its config does not grant.
    #[error("it imports {imports}, which its config does not grant: add {add}")]
    NotGranted {
        /// The imports' full names, quoted and joined.
        imports: String,
        /// The line to add, and where.
        add: String,
    },
    /// An import has another shape than in this version of the contract.
    #[error("its imports do not fit odin:plugin@0.1.0: {0}")]
    ImportMismatch(String),
    /// It exports no hook.
    #[error("it exports no hook of odin:plugin@0.1.0 ({})", exports_in_words(.exports))]
    NoHook {
        /// What it does export.
        exports: Vec<String>,
    },
    /// It exports a hook that this version of Odin would never call.
    #[error("it exports the hook `{export}`, which this version of Odin does not have")]
    UnknownHook {
        /// The export's full name.
        export: String,
    },
    /// A hook has another signature than in this version of the contract.
    #[error("its hook {hook} does not fit odin:plugin@0.1.0: {reason}")]
    HookMismatch {
        /// The hook.
        hook: Hook,
        /// What differs.
        reason: String,
    },
    /// It is good, and not for where the plugin is used: the words of whoever asked for the swap.
    #[error("{0}")]
    Unfit(String),
    /// The config section is not JSON.
    #[error("its config is not JSON: {0}")]
    Config(String),
    /// `configure` answered with an error; the plugin's own words.
    #[error("configure refused: {0}")]
    Refused(String),
    /// The first instance could not be made, or `configure` failed.
    #[error("no instance of it starts: {0}")]
    Start(String),
}

fn exports_in_words(exports: &[String]) -> String {
    match exports {
        [] => "it exports nothing".to_owned(),
        some => format!("it exports {}", some.join(", ")),
    }
}

/// A hook call failed. It costs the exchange that made it and nothing else.
#[derive(Debug, Clone)]
pub struct CallError(Box<Failed>);

#[derive(Debug, Clone)]
struct Failed {
    plugin: Arc<str>,
    hook: Hook,
    cause: Cause,
    backtrace: String,
    told: bool,
}

impl CallError {
    /// `told`: it may have a line in the log.
    pub(crate) fn new(plugin: Arc<str>, hook: Hook, cause: Cause, backtrace: String, told: bool) -> Self {
        CallError(Box::new(Failed { plugin, hook, cause, backtrace, told }))
    }

    /// The name of the plugin.
    pub fn plugin(&self) -> &str {
        &self.0.plugin
    }

    /// The hook that was called.
    pub fn hook(&self) -> Hook {
        self.0.hook
    }

    /// What went wrong.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// Whether the hook was not called, because it failed too often before.
    pub fn is_pause(&self) -> bool {
        self.0.cause == Cause::Paused
    }

    /// Whether the exchange has no CPU time left for its plugins: it must end, whatever their `on-failure` says.
    pub fn is_over_budget(&self) -> bool {
        matches!(self.0.cause, Cause::Budget { whose: Whose::Exchange, .. })
    }

    /// Whether it may have a line in the log: the plugin is within its `log-rate`, and this is no pause, which was told
    /// when it began. Otherwise the plugin's own words are not in it.
    pub fn is_told(&self) -> bool {
        self.0.told
    }

    /// The guest's functions, innermost first, one a line; empty when there are none to tell.
    pub fn backtrace(&self) -> &str {
        &self.0.backtrace
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {:?}: {} {}", self.plugin(), self.hook(), self.cause())
    }
}

impl std::error::Error for CallError {}

/// Why a hook call failed. Displayed after the hook's name: "balancer trapped: …".
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The guest trapped, or a host function refused what it was asked.
    Trap {
        /// One line.
        message: String,
    },
    /// The call used more than its time.
    Timeout {
        /// The limit that it overran.
        limit: Duration,
    },
    /// All calls of the exchange together used more than a CPU budget.
    Budget {
        /// What the budget is at once.
        limit: Duration,
        /// Whose it is.
        whose: Whose,
    },
    /// The guest trapped after it was refused more memory.
    OutOfMemory {
        /// The limit in bytes.
        limit: usize,
    },
    /// The guest recursed past the end of its stack.
    StackOverflow,
    /// The hook answered something that the contract forbids.
    BadAnswer(String),
    /// The hook answered with an error: the plugin's own words.
    Refused(String),
    /// The hook failed too often on this route, and was not called.
    Paused,
    /// Too many calls wait, or give way to others, on this worker.
    TooManyCalls {
        /// How many there may be.
        limit: usize,
        /// The limit is the plugin's own share.
        own: bool,
    },
    /// No instance could be made for the call.
    Instantiate(String),
    /// A fresh instance failed in `configure`.
    Configure(String),
}

impl Cause {
    /// Takes the plugin's own words out; what kind of failure it was stays.
    pub(crate) fn without_words(&mut self) {
        match self {
            Cause::Trap { message: words } | Cause::BadAnswer(words) | Cause::Refused(words) => {
                "(in words that log-rate leaves out)".clone_into(words);
            }
            _ => {}
        }
    }

    /// Whether it says something about the plugin, and not about this exchange alone: what the breaker counts.
    pub(crate) fn is_the_plugins(&self) -> bool {
        match self {
            Cause::Trap { .. }
            | Cause::Timeout { .. }
            | Cause::OutOfMemory { .. }
            | Cause::StackOverflow
            | Cause::BadAnswer(_)
            | Cause::Instantiate(_)
            | Cause::Configure(_) => true,
            Cause::Refused(_) | Cause::Paused | Cause::Budget { .. } | Cause::TooManyCalls { .. } => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Trap { message } => write!(f, "trapped: {message}"),
            Cause::Timeout { limit } => write!(f, "overran its time limit of {limit:?}"),
            Cause::Budget { limit, whose: Whose::Exchange } => {
                write!(f, "was ended: the plugins of this exchange have used up its cpu-budget of {limit:?}")
            }
            Cause::Budget { limit, whose: Whose::Plugin } => {
                write!(f, "was ended: the plugin has used up its cpu-budget of {limit:?} for this exchange")
            }
            Cause::OutOfMemory { limit } => {
                write!(f, "ran out of memory (the limit is {} KiB)", limit / 1024)
            }
            Cause::StackOverflow => f.write_str("overflowed its stack"),
            Cause::BadAnswer(what) => write!(f, "gave a bad answer: {what}"),
            Cause::Refused(words) => write!(f, "failed: {words}"),
            Cause::Paused => f.write_str("was not called: it is paused on this route, for it failed too often"),
            Cause::TooManyCalls { limit, own: true } => {
                write!(f, "was given up: {limit} other calls of this plugin wait on this worker, which is its share")
            }
            Cause::TooManyCalls { limit, own: false } => {
                write!(f, "was given up: {limit} other calls of plugins wait on this worker, which are all that may")
            }
            Cause::Instantiate(why) => write!(f, "got no instance: {why}"),
            Cause::Configure(why) => write!(f, "got no instance: configure {why}"),
        }
    }
}
