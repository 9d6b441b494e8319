//! One engine of wasmtime: its settings, its pool of instances, and what it offers to plugins. There is one for each
//! size of the guest's stack, for wasmtime sets that per engine. Must never run a plugin itself.

use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::capability;
use crate::store::StoreData;

/// The smallest stack that a plugin may be given, in bytes.
const MIN_STACK_BYTES: usize = 64 << 10;
/// The largest. The worker's own stack must be larger.
const MAX_STACK_BYTES: usize = 1 << 20;
/// What host functions may use of the stack on which a call waits, beside what the guest may.
const HOST_STACK_BYTES: usize = 256 << 10;
/// The pool's bound on one memory; `Limits::memory_bytes` bounds it further.
pub(crate) const MAX_MEMORY_BYTES: usize = 1 << 30;
/// The pool's bound on one table; `Limits::table_elements` bounds it further.
const MAX_TABLE_ELEMENTS: usize = 20_000;
/// What a freed slot keeps in memory, so that the next instance does not fault it in again.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// How many instances the pool of an engine holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSize {
    /// Instances, of whatever kind.
    pub(crate) slots: usize,
    /// Among them such that may wait: each has a stack of its own.
    pub(crate) stacks: usize,
    /// Slots that are free but still warm: enough for `fresh` plugins, few enough that swaps do not fill memory.
    pub(crate) warm: usize,
}

/// See the module.
pub(crate) struct Engine {
    engine: wasmtime::Engine,
    /// Everything but `outbound`: its stores are called without a stack of their own.
    linker: Linker<StoreData>,
    /// Everything.
    waiting_linker: Linker<StoreData>,
}

impl Engine {
    pub(crate) fn new(stack_bytes: usize, pool: PoolSize) -> wasmtime::Result<Engine> {
        let engine = wasmtime::Engine::new(&config(stack_bytes, pool))?;
        let mut linker = Linker::new(&engine);
        capability::link(&mut linker)?;
        let mut waiting_linker = linker.clone();
        capability::outbound::link(&mut waiting_linker)?;
        Ok(Engine { engine, linker, waiting_linker })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// What a component is linked with. Only one that `waits` gets functions that do: a store that has one of them
    /// refuses plain calls, which cost half as much.
    pub(crate) fn linker(&self, waits: bool) -> &Linker<StoreData> {
        if waits { &self.waiting_linker } else { &self.linker }
    }
}

/// The size of stack that an engine is made for: a power of two, so that there are few engines.
pub(crate) fn stack_class(bytes: usize) -> usize {
    bytes.clamp(MIN_STACK_BYTES, MAX_STACK_BYTES).next_power_of_two()
}

/// An engine that only compiles, for engines with this size of stack: it makes the same code, and reserves no memory.
pub(crate) fn compiler(stack_bytes: usize) -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&settings(stack_bytes))
}

fn config(stack_bytes: usize, size: PoolSize) -> Config {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let slots = count(size.slots);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(4))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(2))
        .total_stacks(count(size.stacks))
        .max_core_instances_per_component(16)
        .max_memories_per_component(4)
        .max_tables_per_component(8)
        .max_memory_size(MAX_MEMORY_BYTES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(count(size.warm))
        .pagemap_scan(Enabled::Auto);

    let mut config = settings(stack_bytes);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// What makes a difference to the code.
fn settings(stack_bytes: usize) -> Config {
    let mut config = Config::new();
    config
        // A guest has one call at a time: the state of concurrent guests would triple the cost of a call.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(stack_bytes)
        .async_stack_size(stack_bytes + HOST_STACK_BYTES)
        .memory_init_cow(true)
        // What no plugin needs is not there to be attacked. Threads and exceptions are not even compiled in.
        .wasm_gc(false)
        .wasm_memory64(false)
        .cranelift_opt_level(OptLevel::Speed);
    config
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    use super::*;

    /// Or nothing that a child process compiles could be used.
    #[test]
    fn an_engine_that_only_compiles_makes_code_for_one_that_runs() {
        let hash = |engine: &wasmtime::Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let stack = stack_class(0);
        let runs = Engine::new(stack, PoolSize { slots: 4, stacks: 2, warm: 1 }).unwrap();
        assert_eq!(hash(runs.wasmtime()), hash(&compiler(stack).unwrap()));
    }

    #[test]
    fn there_are_few_classes_of_stacks() {
        let classes = [0, 1, 64 << 10, (64 << 10) + 1, 300 << 10, 512 << 10, 1 << 20, usize::MAX].map(stack_class);
        assert_eq!(classes.map(|bytes| bytes >> 10), [64, 64, 64, 128, 512, 512, 1024, 1024]);
    }
}
