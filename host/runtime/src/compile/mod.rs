//! From the bytes of a component to machine code: bounded, once for the same bytes, and kept on disk.
//!
//! ```text
//! scan (how much it is) ─→ memory (the same bytes, in use?) ─→ cache (on disk?) ─→ child or in_process ─→ cache
//! ```
//!
//! Everything here blocks, a compile for seconds: it is for a thread that may wait.

mod cache;
mod child;
mod scan;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::engine::Engine;
use crate::error::LoadError;
use crate::failure;
use cache::Cache;

pub use child::compile_child;
pub(crate) use scan::scan;

/// Where plugins are compiled.
#[derive(Clone, Debug, Default)]
pub enum Compile {
    /// On the thread that loads the plugin, without limits: for tests and benchmarks.
    #[default]
    InProcess,
    /// In a child process of the same program, which calls [`compile_child`] for the first of these arguments.
    Child(CompileLimits),
}

/// What one compile may take, and where its result is kept.
#[derive(Clone, Debug)]
pub struct CompileLimits {
    /// The argument by which the program knows that it is to compile.
    pub subcommand: &'static str,
    /// CPU time, in whole seconds. The child is ended after ten times as much time of the clock, too.
    pub cpu: Duration,
    /// Address space that the child may use beside its own program, in bytes.
    pub memory_bytes: u64,
    /// The folder of the cache; none: nothing is kept.
    pub cache: Option<PathBuf>,
}

/// The result of a SHA-256.
pub(crate) type Hash = [u8; 32];

/// Compiles for all plugins of a process.
pub(crate) struct Compilation {
    how: Compile,
    turns: Turns,
    /// By the size of the stack and the bytes; what no plugin uses any more is compiled again.
    components: Mutex<HashMap<(usize, Hash), Slot>>,
    cache: OnceLock<Option<Cache>>,
}

/// Locked while it is compiled: who wants the same waits for it.
type Slot = Arc<Mutex<Weak<Component>>>;

impl Compilation {
    pub(crate) fn new(how: Compile) -> Self {
        let turns = Turns::new(std::thread::available_parallelism().map_or(1, usize::from));
        Compilation { how, turns, components: Mutex::default(), cache: OnceLock::new() }
    }

    /// The component for an engine with this size of stack. Blocks.
    pub(crate) fn component(&self, engine: &Engine, stack: usize, wasm: &[u8]) -> Result<Arc<Component>, LoadError> {
        let hash: Hash = Sha256::digest(wasm).into();
        let slot = self.slot((stack, hash));
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = slot.upgrade() {
            return Ok(component);
        }
        let component = Arc::new(self.compile(engine, stack, wasm, &hash)?);
        *slot = Arc::downgrade(&component);
        Ok(component)
    }

    fn slot(&self, key: (usize, Hash)) -> Slot {
        let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        components.retain(|_, slot| match slot.try_lock() {
            Ok(component) => component.strong_count() > 0,
            // Being compiled.
            Err(_) => true,
        });
        components.entry(key).or_default().clone()
    }

    fn compile(&self, engine: &Engine, stack: usize, wasm: &[u8], hash: &Hash) -> Result<Component, LoadError> {
        let limits = match &self.how {
            Compile::InProcess => {
                let component = Component::from_binary(engine.wasmtime(), wasm);
                return component.map_err(|error| LoadError::Invalid(failure::one_line(&error)));
            }
            Compile::Child(limits) => limits,
        };
        let cache = self.cache(limits);
        let name = cache::name(engine.wasmtime(), hash);
        if let Some(code) = cache.and_then(|cache| cache.get(&name)) {
            match deserialize(engine, &code) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::info!("a compiled plugin of the cache does not fit: {error}"),
            }
        }
        let code = {
            let _turn = self.turns.take();
            let begun = Instant::now();
            let code = child::compile(limits, stack, wasm)?;
            let millis = begun.elapsed().as_millis() as u64;
            tracing::debug!(bytes = wasm.len(), code = code.len(), millis, "compiled a plugin");
            code
        };
        let component = deserialize(engine, &code).map_err(LoadError::Compile)?;
        if let Some(cache) = cache {
            cache.put(&name, &code);
        }
        Ok(component)
    }

    /// Opened when a plugin is first compiled.
    fn cache(&self, limits: &CompileLimits) -> Option<&Cache> {
        let open = || {
            let folder = limits.cache.as_ref()?;
            let opened = Cache::open(folder);
            let told = |why: &String| tracing::info!("compiled plugins are not kept in {}: {why}", folder.display());
            opened.inspect_err(told).ok()
        };
        self.cache.get_or_init(open).as_ref()
    }
}

/// Maps machine code that was compiled for this engine.
#[allow(unsafe_code, reason = "wasmtime's only way to take machine code from another process")]
fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: the code comes from `child::compile`, a child process of this program, whose length and SHA-256 were
    // compared; or from `Cache::get`, a file with the same made by such a child, owned by this user, in a folder that
    // nobody else can write. wasmtime compares its version and the settings of the engine itself.
    let component = unsafe { Component::deserialize(engine.wasmtime(), code) };
    component.map_err(|error| failure::one_line(&error))
}

/// How many may compile at once.
struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

/// One of the turns.
struct Turn<'a>(&'a Turns);

impl Turns {
    fn new(number: usize) -> Self {
        Turns { free: Mutex::new(number), freed: Condvar::new() }
    }

    /// Waits for one.
    fn take(&self) -> Turn<'_> {
        let none_free = |free: &mut usize| *free == 0;
        let mut free: MutexGuard<'_, usize> =
            self.freed.wait_while(self.lock(), none_free).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Turn(self)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() += 1;
        self.0.freed.notify_one();
    }
}
