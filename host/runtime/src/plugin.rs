//! The slot of one plugin: it lives across swaps and holds the generation that serves.
//! Must never publish a generation that did not load, link, start and configure itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use odin_chain::Hooks;

use crate::breaker::BreakerUnit;
use crate::error::LoadError;
use crate::generation::{self, Generation};
use crate::grants;
use crate::instance::{Instance, NoInstance};
use crate::runtime::Runtime;
use crate::slot::Slot;
use crate::spec::PluginSpec;
use crate::stats::StatsSnapshot;

/// The slot of one plugin.
pub struct Plugin {
    runtime: Arc<Runtime>,
    slot: Arc<Slot>,
    current: Arc<ArcSwap<Generation>>,
    /// Held for the length of a load, so that swaps come one after another.
    swapping: Mutex<()>,
    /// Held for the length of a call of the steer hook, whose counters have one writer at a time.
    steering: Mutex<()>,
    history: Mutex<History>,
}

/// What became of the swaps so far.
#[derive(Default)]
struct History {
    last_error: Option<String>,
    swaps: u64,
    failed_swaps: u64,
}

/// A file that was loaded for a plugin and does not serve yet; none inside when it is the one that serves.
pub struct Prepared(Option<Box<Generation>>);

/// What a swap did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The bytes are those that already serve.
    Unchanged {
        /// The generation that serves.
        generation: u64,
    },
    /// The new file serves.
    Swapped {
        /// Its generation.
        generation: u64,
    },
}

/// What serves now, and what was refused last.
#[derive(Clone, Debug)]
pub struct PluginStatus {
    /// Counted from 1.
    pub generation: u64,
    /// The first 16 hex digits of the file's SHA-256.
    pub hash: String,
    /// What the generation exports.
    pub hooks: Hooks,
    /// When the generation was published.
    pub loaded_at: SystemTime,
    /// Why the last swap was refused; none after one that was not.
    pub last_error: Option<String>,
    /// Swaps that published a generation.
    pub swaps: u64,
    /// Swaps that were refused.
    pub failed_swaps: u64,
    /// The hooks that failed lately, and the routes on which they did: whether they are called there.
    pub breaker: Vec<BreakerUnit>,
    /// What its config grants: names of capabilities, `outbound:CLUSTER` for each cluster that it may call, and
    /// `cluster:CLUSTER` for each that it may send exchanges to.
    pub grants: Vec<String>,
    /// What it imports of that which must be granted: names of capabilities, and `outbound`.
    pub imports: Vec<String>,
}

impl Plugin {
    /// Compiles, links, instantiates and configures the plugin. Blocks for as long as it compiles: not for a thread that
    /// has other things to do.
    pub fn load(runtime: &Arc<Runtime>, spec: PluginSpec, wasm: &[u8]) -> Result<Arc<Plugin>, LoadError> {
        let slot = Arc::new(Slot::new(spec, runtime.clock(), runtime.waiting(), runtime.spaces())?);
        let first = load(runtime, &slot, wasm, 1)?;
        Ok(Arc::new(Plugin {
            runtime: runtime.clone(),
            slot,
            current: Arc::new(ArcSwap::from_pointee(first)),
            swapping: Mutex::default(),
            steering: Mutex::default(),
            history: Mutex::default(),
        }))
    }

    /// Loads another file into the slot. On an error the old one serves on and [`Plugin::status`] tells the reason.
    ///
    /// Blocks for as long as it compiles: not for a thread that has other things to do.
    pub fn swap(&self, wasm: &[u8]) -> Result<Swap, LoadError> {
        self.publish(self.prepare(wasm)?, |_| Ok(()))
    }

    /// The part of a swap that blocks: compiles, links, instantiates and configures. Nothing of it serves yet.
    pub fn prepare(&self, wasm: &[u8]) -> Result<Prepared, LoadError> {
        let _one_at_a_time = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load();
        if generation::hash(wasm) == old.hash {
            return Ok(Prepared(None));
        }
        let loaded = load(&self.runtime, &self.slot, wasm, old.number + 1);
        loaded.map(|new| Prepared(Some(Box::new(new)))).inspect_err(|error| self.refused(error))
    }

    /// The part of a swap that takes no time: what was prepared serves from now on, unless `fits` says why its hooks do
    /// not do where the plugin is used.
    pub fn publish(
        &self,
        Prepared(prepared): Prepared,
        fits: impl FnOnce(Hooks) -> Result<(), String>,
    ) -> Result<Swap, LoadError> {
        let old = self.current.load();
        let Some(mut new) = prepared else {
            self.history().last_error = None;
            return Ok(Swap::Unchanged { generation: old.number });
        };
        fits(new.hooks).map_err(LoadError::Unfit).inspect_err(|error| self.refused(error))?;
        let generation = old.number + 1;
        new.number = generation;
        self.current.store(Arc::new(*new));
        self.slot.swapped();
        let mut history = self.history();
        history.last_error = None;
        history.swaps += 1;
        Ok(Swap::Swapped { generation })
    }

    fn refused(&self, error: &LoadError) {
        let mut history = self.history();
        history.last_error = Some(error.to_string());
        history.failed_swaps += 1;
    }

    /// What the operator said.
    pub fn spec(&self) -> &PluginSpec {
        &self.slot.spec
    }

    /// The name in the config.
    pub fn name(&self) -> &str {
        &self.slot.spec.name
    }

    /// What the generation that serves exports.
    pub fn hooks(&self) -> Hooks {
        self.current.load().hooks
    }

    /// What serves now, and what was refused last.
    pub fn status(&self) -> PluginStatus {
        let history = self.history();
        let serving = self.current.load();
        PluginStatus {
            generation: serving.number,
            hash: serving.hash.clone(),
            hooks: serving.hooks,
            loaded_at: serving.loaded_at,
            last_error: history.last_error.clone(),
            swaps: history.swaps,
            failed_swaps: history.failed_swaps,
            breaker: self.slot.breaker.units(Instant::now()),
            grants: grants::names(&self.slot.spec.grants),
            imports: serving.imports.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    /// Counts and times, summed over workers and generations.
    pub fn stats(&self) -> StatsSnapshot {
        let mut stats = StatsSnapshot::sum(&self.slot.stats);
        stats.custom = self.slot.metrics.read();
        stats.breaker_trips = self.slot.breaker.trips();
        stats.open_limit = self.runtime.waiting()[0].share() as u64;
        stats
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(crate) fn current(&self) -> &Arc<ArcSwap<Generation>> {
        &self.current
    }

    /// Whoever holds it alone asks the steer hook.
    pub(crate) fn steering(&self) -> MutexGuard<'_, ()> {
        self.steering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A generation of which an instance could be made and configured.
fn load(runtime: &Runtime, slot: &Arc<Slot>, wasm: &[u8], number: u64) -> Result<Generation, LoadError> {
    let generation = Generation::load(runtime, &slot.spec, wasm, number)?;
    Instance::new(&generation, slot, slot.loader(), None).map_err(|none| match none {
        NoInstance::Refused(words) => LoadError::Refused(words),
        NoInstance::Mismatch(hook, reason) => LoadError::HookMismatch { hook, reason },
        NoInstance::Instantiate(why) => LoadError::Start(why),
        NoInstance::Configure(cause) => LoadError::Start(format!("configure {cause}")),
    })?;
    Ok(generation)
}
