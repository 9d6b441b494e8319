//! The engine that all plugins share, what it offers them, and its clock.
//! Must never run a plugin itself, and its clock thread must end with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::capability;
use crate::error::RuntimeError;
use crate::failure;
use crate::store::StoreData;

/// One tick of the engine's clock: the resolution of a hook's time limit. Every tick wakes a thread, which costs all
/// requests (docs/decisions/0003-tick.md).
pub(crate) const TICK: Duration = Duration::from_millis(4);
/// What a guest may recurse; the worker's own stack must be larger.
const WASM_STACK_BYTES: usize = 512 << 10;
/// The pool's bound on one memory; `Limits::memory_bytes` bounds it further.
pub(crate) const MAX_MEMORY_BYTES: usize = 1 << 30;
/// The pool's bound on one table; `Limits::table_elements` bounds it further.
const MAX_TABLE_ELEMENTS: usize = 20_000;
/// Address space is reserved for every slot, 4 GiB each, so that guest code needs no bounds checks.
const MAX_SLOTS: usize = 4_096;
/// What a freed slot keeps in memory, so that the next instance does not fault it in again.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// How large the engine is made.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Threads that call plugins. `WorkerPlugin::new` takes a number below it.
    pub workers: usize,
    /// Plugins that may be loaded at once; sizes the instance pool.
    pub max_plugins: usize,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions { workers: 1, max_plugins: 64 }
    }
}

/// The engine that all plugins share. One per process.
pub struct Runtime {
    workers: usize,
    engine: Engine,
    linker: Linker<StoreData>,
    // Dropped with the runtime; ends the thread.
    _ticker: Ticker,
}

impl Runtime {
    /// Starts the engine and its clock.
    pub fn new(options: RuntimeOptions) -> Result<Arc<Runtime>, RuntimeError> {
        let workers = options.workers.max(1);
        // Per worker and plugin: the generation that serves, the one before it, and one in the making.
        let slots = (workers + 1).saturating_mul(options.max_plugins.max(1)).saturating_mul(3).min(MAX_SLOTS);
        let start = || {
            let engine = Engine::new(&engine_config(slots, workers))?;
            let mut linker = Linker::new(&engine);
            capability::link(&mut linker)?;
            Ok((engine, linker))
        };
        let (engine, linker) = start().map_err(|error: wasmtime::Error| RuntimeError(failure::one_line(&error)))?;
        let ticker = Ticker::start(engine.clone()).map_err(|error| RuntimeError(error.to_string()))?;
        Ok(Arc::new(Runtime { workers, engine, linker, _ticker: ticker }))
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn linker(&self) -> &Linker<StoreData> {
        &self.linker
    }
}

fn engine_config(slots: usize, workers: usize) -> Config {
    // Slots that are free but still warm: enough for `fresh` plugins, few enough that swaps do not fill memory.
    let warm = u32::try_from(16 + 4 * workers).unwrap_or(u32::MAX);
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(4))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(2))
        .max_core_instances_per_component(16)
        .max_memories_per_component(4)
        .max_tables_per_component(8)
        .max_memory_size(MAX_MEMORY_BYTES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(warm)
        .pagemap_scan(Enabled::Auto);

    let mut config = Config::new();
    config
        // Calls are synchronous, on the worker's own thread: the state of concurrent guests would triple their cost.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .memory_init_cow(true)
        // What no plugin needs is not there to be attacked. Threads and exceptions are not even compiled in.
        .wasm_gc(false)
        .wasm_memory64(false)
        .cranelift_opt_level(OptLevel::Speed)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The thread that moves the engine's epoch on.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine) -> std::io::Result<Ticker> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("odin-epoch".to_owned()).spawn(move || {
            while !stopped.load(Relaxed) {
                thread::park_timeout(TICK);
                engine.increment_epoch();
            }
        })?;
        Ok(Ticker { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread cannot panic, and there is nobody to tell if it did.
            let _ = thread.join();
        }
    }
}
