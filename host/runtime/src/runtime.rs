//! What all plugins share: the engines, their clock, the common spaces, and how many calls may wait.
//! Must never run a plugin itself, and its clock thread must end with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Clock, Hands};
use crate::compile::{Compilation, Compile};
use crate::engine::{Engine, PoolSize, stack_class};
use crate::error::{LoadError, RuntimeError};
use crate::failure;
use crate::shared::Spaces;
use crate::spec::Limits;
use crate::stamp;
use crate::waiting::{WARM_PER_WORKER, Waiting};

/// Address space is reserved for every slot, 4 GiB each, so that guest code needs no bounds checks; there are at most
/// five engines in 128 TiB.
const MAX_SLOTS: usize = 4_096;

/// How large the engine is made.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Threads that call plugins. `WorkerPlugin::new` takes a number below it.
    pub workers: usize,
    /// Plugins that may be loaded at once; sizes the instance pool.
    pub max_plugins: usize,
    /// Calls that may be open at once on one worker of plugins that import `outbound`. With very many workers there
    /// are fewer: all that may be open together must fit the process' address space.
    pub waiting_calls: usize,
    /// Where plugins are compiled, and with which limits.
    pub compile: Compile,
    /// How the operator grants what a plugin lacks: errors suggest it.
    pub granting: Granting,
}

/// How the operator grants imports to plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granting {
    /// By keys of a config file.
    #[default]
    File,
    /// By the flag `--grant`.
    Flag,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions {
            workers: 1,
            max_plugins: 64,
            waiting_calls: 1_024,
            compile: Compile::default(),
            granting: Granting::default(),
        }
    }
}

/// By the size of the stack.
type Engines = Arc<Mutex<BTreeMap<usize, Arc<Engine>>>>;

/// What all plugins share. One per process.
pub struct Runtime {
    pool: PoolSize,
    /// Made when a plugin first needs one.
    engines: Engines,
    spaces: Spaces,
    compilation: Compilation,
    granting: Granting,
    /// By worker.
    waiting: Arc<[Waiting]>,
    clock: Clock,
}

impl Runtime {
    /// Starts the engine of plugins with the default stack, and the clock.
    pub fn new(options: RuntimeOptions) -> Result<Arc<Runtime>, RuntimeError> {
        stamp::prepare();
        let workers = options.workers.max(1);
        let (pool, waiting_calls) = pool_size(workers, &options);
        let stack = stack_class(Limits::default().stack_bytes);
        let engine = Engine::new(stack, pool).map_err(|error| RuntimeError(failure::one_line(&error)))?;
        let engines = Engines::new(Mutex::new([(stack, Arc::new(engine))].into()));
        let ticking = engines.clone();
        let tick = move || {
            // Locked by others only while an engine is made: milliseconds, by which a time limit is longer then.
            let engines = ticking.lock().unwrap_or_else(PoisonError::into_inner);
            engines.values().for_each(|engine| engine.wasmtime().increment_epoch());
        };
        let clock = Clock::start(tick, workers).map_err(|error| RuntimeError(error.to_string()))?;
        Ok(Arc::new(Runtime {
            pool,
            engines,
            spaces: Spaces::default(),
            compilation: Compilation::new(options.compile),
            granting: options.granting,
            waiting: (0..workers).map(|_| Waiting::new(waiting_calls)).collect(),
            clock,
        }))
    }

    /// The engine for plugins with so much stack.
    pub(crate) fn engine(&self, stack_bytes: usize) -> Result<Arc<Engine>, LoadError> {
        let stack = stack_class(stack_bytes);
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&stack) {
            return Ok(engine.clone());
        }
        let engine = Engine::new(stack, self.pool).map_err(|error| {
            LoadError::Start(format!("the engine for stack = \"{}KiB\": {}", stack / 1024, failure::one_line(&error)))
        })?;
        Ok(engines.entry(stack).or_insert(Arc::new(engine)).clone())
    }

    pub(crate) fn clock(&self) -> &Arc<Hands> {
        self.clock.hands()
    }

    pub(crate) fn compilation(&self) -> &Compilation {
        &self.compilation
    }

    pub(crate) fn granting(&self) -> Granting {
        self.granting
    }

    pub(crate) fn spaces(&self) -> &Spaces {
        &self.spaces
    }

    pub(crate) fn waiting(&self) -> &Arc<[Waiting]> {
        &self.waiting
    }
}

/// The size of an engine's pool, and how many calls may wait on one worker.
fn pool_size(workers: usize, options: &RuntimeOptions) -> (PoolSize, usize) {
    // Per worker and plugin: the generation that serves, the one before it, and one in the making.
    let calling = (workers + 1).saturating_mul(options.max_plugins.max(1)).saturating_mul(3).min(MAX_SLOTS / 2);
    let most = ((MAX_SLOTS - calling) / workers).saturating_sub(WARM_PER_WORKER).max(1);
    let waiting_calls = options.waiting_calls.clamp(1, most);
    // One more for each plugin that loads, and for the one whose steer hook is asked. Not more than that: slots are used
    // in turn, and each keeps some memory once it was used.
    let stacks = workers * (waiting_calls + WARM_PER_WORKER) + options.max_plugins.clamp(1, 64) + 1;
    (PoolSize { slots: calling + stacks, stacks, warm: 16 + 4 * workers }, waiting_calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_holds_what_may_be_open_and_fits_the_address_space() {
        for workers in [1, 2, 8, 64, 256] {
            let options = RuntimeOptions { workers, ..RuntimeOptions::default() };
            let (pool, waiting) = pool_size(workers, &options);
            assert!(pool.stacks >= workers * (waiting + WARM_PER_WORKER));
            assert!(pool.slots > pool.stacks);
            assert!(pool.slots <= MAX_SLOTS + 64 + 1 + 256 * (1 + WARM_PER_WORKER), "{workers}: {pool:?}");
        }
        let (_, waiting) = pool_size(2, &RuntimeOptions { workers: 2, ..RuntimeOptions::default() });
        assert_eq!(waiting, 1_024);
    }
}
