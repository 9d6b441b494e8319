//! The running Odin: what was assembled last, and the few things that may change it: a reload, and a swap of a plugin.
//!
//! Must never leave a half-applied config behind: what can fail is done first.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use odin_proxy::Proxy;
use odin_runtime::{Runtime, RuntimeOptions, Swap};

use crate::assemble::{self, Assembly};
use crate::cli::{HTTP_CLUSTER, Run, Start};
use crate::{demo, plugin_spec};

/// Everything that lives from start to end.
pub(crate) struct Odin {
    run: Run,
    runtime: Arc<Runtime>,
    /// None once the drain has begun.
    proxy: RefCell<Option<Proxy>>,
    assembly: RefCell<Arc<Assembly>>,
    demo: Vec<(&'static str, Vec<std::net::SocketAddr>)>,
    pub(crate) started: Instant,
    pub(crate) reloads: Cell<u64>,
    pub(crate) failed_reloads: Cell<u64>,
}

impl Odin {
    /// Loads everything, opens the sockets and serves.
    pub(crate) async fn start(run: Run, mut start: Start) -> anyhow::Result<Self> {
        let workers = start.config.workers.unwrap_or_else(cores);
        let demo = start_demo(&start).await.context("cannot start the demo backends")?;
        let runtime = Runtime::new(RuntimeOptions { workers, ..RuntimeOptions::default() })?;
        let assembly = assemble(&mut start, &demo, None, &runtime, workers)?;
        let mut proxy = Proxy::start(workers).context("cannot start the workers")?;
        proxy.apply(&assembly.snapshot, &assembly.addresses())?;
        Ok(Odin {
            run,
            runtime,
            proxy: RefCell::new(Some(proxy)),
            assembly: RefCell::new(Arc::new(assembly)),
            demo,
            started: Instant::now(),
            reloads: Cell::new(0),
            failed_reloads: Cell::new(0),
        })
    }

    /// What is served now.
    pub(crate) fn assembly(&self) -> Arc<Assembly> {
        self.assembly.borrow().clone()
    }

    /// Asks the data path something, while there is one.
    pub(crate) fn with_proxy<T>(&self, ask: impl FnOnce(&Proxy) -> T) -> Option<T> {
        self.proxy.borrow().as_ref().map(ask)
    }

    /// Reads the config again and serves it; plugins whose files changed are swapped. A fault changes nothing.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let result = self.try_reload();
        let count = if result.is_ok() { &self.reloads } else { &self.failed_reloads };
        count.set(count.get() + 1);
        result
    }

    fn try_reload(&self) -> anyhow::Result<()> {
        let mut start = self.run.start()?;
        let before = self.assembly();
        let mut proxy = self.proxy.borrow_mut();
        let Some(proxy) = proxy.as_mut() else { return Ok(()) };
        let assembly = assemble(&mut start, &self.demo, Some(&before), &self.runtime, proxy.workers())?;
        proxy.apply(&assembly.snapshot, &assembly.addresses())?;
        if assembly.config.workers != before.config.workers {
            tracing::warn!("`workers` takes effect at the next start");
        }
        let assembly = Arc::new(assembly);
        *self.assembly.borrow_mut() = assembly.clone();
        for (name, loaded) in &assembly.plugins {
            // A file that does not load is logged; the generation before it goes on.
            let _ = self.swap_from_file(name, &loaded.section.path);
        }
        Ok(())
    }

    /// Swaps a plugin for what its file holds now.
    pub(crate) fn swap_from_file(&self, name: &str, path: &PathBuf) -> anyhow::Result<Swap> {
        let wasm = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let result = wasm.and_then(|wasm| self.swap(name, &wasm));
        if let Err(error) = &result {
            tracing::error!(plugin = name, "not swapped, the old generation serves on: {error:#}");
        }
        result
    }

    /// Swaps a plugin for these bytes.
    pub(crate) fn swap(&self, name: &str, wasm: &[u8]) -> anyhow::Result<Swap> {
        let assembly = self.assembly();
        let loaded = assembly.plugins.get(name).with_context(|| format!("no plugin is named {name:?}"))?;
        let swap = loaded.plugin.swap(wasm)?;
        if let Swap::Swapped { generation } = &swap {
            tracing::info!(plugin = name, generation, "swapped");
        }
        Ok(swap)
    }

    /// Accepts no more, and waits for what runs.
    pub(crate) async fn drain(&self) {
        let grace = self.assembly().config.shutdown_grace;
        let Some(proxy) = self.proxy.borrow_mut().take() else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || proxy.drain(grace)).await {
            tracing::error!(%error, "the drain failed");
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn start_demo(start: &Start) -> std::io::Result<Vec<(&'static str, Vec<std::net::SocketAddr>)>> {
    let mut demo = Vec::new();
    for cluster in &start.demo_clusters {
        let addresses = if *cluster == HTTP_CLUSTER { demo::start_http().await } else { demo::start_tcp().await };
        demo.push((*cluster, addresses?));
    }
    Ok(demo)
}

/// Completes the config with what only a running Odin knows, and builds everything that it names.
fn assemble(
    start: &mut Start,
    demo: &[(&'static str, Vec<std::net::SocketAddr>)],
    before: Option<&Assembly>,
    runtime: &Arc<Runtime>,
    workers: usize,
) -> anyhow::Result<Assembly> {
    for (cluster, addresses) in demo {
        start.set_endpoints(cluster, addresses.iter().copied());
    }
    let plugins = assemble::load_plugins(&start.config, before, runtime)?;
    for name in start.unplaced_plugins.clone() {
        if let Some(loaded) = plugins.get(&name) {
            start.place_plugin(&name, plugin_spec::roles(loaded.plugin.hooks()))?;
        }
    }
    Assembly::new(start.config.clone(), plugins, before, workers)
}
