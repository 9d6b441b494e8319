//! The running Odin: what was assembled last, and the few things that may change it: a reload, a swap of a plugin, and
//! a new binary.
//!
//! Must never leave a half-applied config behind: what can fail is done first.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use odin_proxy::{Draining, Hurry, Proxy};
use odin_runtime::{Runtime, RuntimeOptions, Swap};
use rustix::process::{Pid, Signal};
use tokio::sync::oneshot;

use crate::assemble::{self, Assembly};
use crate::cli::{HTTP_CLUSTER, Run, Start};
use crate::diff::{self, Change};
use crate::sockets::Sockets;
use crate::upgrade::{Attempt, Canceller};
use crate::{demo, plugin_spec, steering, systemd};

/// Everything that lives from start to end.
pub(crate) struct Odin {
    run: Run,
    runtime: Arc<Runtime>,
    /// None once the drain has begun.
    proxy: RefCell<Option<Proxy>>,
    /// There once the drain has begun.
    hurry: RefCell<Option<Hurry>>,
    sockets: RefCell<Sockets>,
    /// What a new binary gets to serve the admin pages from; none once the drain has begun.
    admin: RefCell<Option<Arc<TcpListener>>>,
    /// The file that was started, wherever it leads by now.
    binary: PathBuf,
    upgrading: Cell<bool>,
    /// Ends an upgrade that is under way.
    canceller: RefCell<Option<Canceller>>,
    /// A reload was refused because of an upgrade.
    missed_reload: Cell<bool>,
    assembly: RefCell<Arc<Assembly>>,
    demo: Vec<(&'static str, Vec<SocketAddr>)>,
    pub(crate) started: Instant,
    pub(crate) reloads: Cell<u64>,
    pub(crate) failed_reloads: Cell<u64>,
}

/// What was got ready while there were the privileges to.
pub(crate) struct Ready {
    pub(crate) sockets: Sockets,
    pub(crate) admin: Option<Arc<TcpListener>>,
    pub(crate) binary: PathBuf,
    pub(crate) workers: usize,
}

impl Odin {
    /// Loads everything; nothing is served before [`Odin::serve`].
    pub(crate) async fn start(run: Run, mut start: Start, ready: Ready) -> anyhow::Result<Self> {
        let Ready { sockets, admin, binary, workers } = ready;
        let demo = start_demo(&start).await.context("cannot start the demo backends")?;
        let runtime = Runtime::new(RuntimeOptions { workers, ..RuntimeOptions::default() })?;
        let assembly = assemble(&mut start, &demo, None, &runtime, workers)?;
        let proxy = Proxy::start(workers).context("cannot start the workers")?;
        Ok(Odin {
            run,
            runtime,
            proxy: RefCell::new(Some(proxy)),
            hurry: RefCell::new(None),
            sockets: RefCell::new(sockets),
            admin: RefCell::new(admin),
            binary,
            upgrading: Cell::new(false),
            canceller: RefCell::new(None),
            missed_reload: Cell::new(false),
            assembly: RefCell::new(Arc::new(assembly)),
            demo,
            started: Instant::now(),
            reloads: Cell::new(0),
            failed_reloads: Cell::new(0),
        })
    }

    /// Serves. What can fail without harm to a process before this one has been done by then.
    pub(crate) fn serve(&self) -> anyhow::Result<()> {
        let assembly = self.assembly();
        let mut sockets = self.sockets.borrow_mut();
        let weights = steering::weights(&assembly, &sockets, None);
        let change = sockets.change(&assembly.config.listeners, &weights)?;
        self.with_proxy(|proxy| proxy.apply(&assembly.snapshot, change.opened, &change.closing));
        Ok(())
    }

    /// What is served now.
    pub(crate) fn assembly(&self) -> Arc<Assembly> {
        self.assembly.borrow().clone()
    }

    /// The config file, if there is one.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.run.file.as_ref()
    }

    /// Asks the data path something, while there is one.
    pub(crate) fn with_proxy<T>(&self, ask: impl FnOnce(&Proxy) -> T) -> Option<T> {
        self.proxy.borrow().as_ref().map(ask)
    }

    /// Asks about the listening sockets.
    pub(crate) fn with_sockets<T>(&self, ask: impl FnOnce(&Sockets) -> T) -> T {
        ask(&self.sockets.borrow())
    }

    /// Reads the config again and serves it; plugins whose files changed are swapped. Answers what has changed in the
    /// config. A fault changes nothing.
    pub(crate) fn reload(&self) -> anyhow::Result<Vec<Change>> {
        systemd::reloading();
        let result = self.try_reload();
        let count = if result.is_ok() { &self.reloads } else { &self.failed_reloads };
        count.set(count.get() + 1);
        match &result {
            Ok(changes) => report(changes),
            Err(error) => tracing::error!("not reloaded, the old config serves on: {error:#}"),
        }
        systemd::ready();
        result
    }

    fn try_reload(&self) -> anyhow::Result<Vec<Change>> {
        if self.upgrading.get() {
            self.missed_reload.set(true);
            bail!("a new binary is about to take over; whoever serves then reads the config again");
        }
        let mut start = self.run.start()?;
        let before = self.assembly();
        let proxy = self.proxy.borrow();
        let Some(proxy) = proxy.as_ref() else { bail!("this process drains") };
        let assembly = assemble(&mut start, &self.demo, Some(&before), &self.runtime, proxy.workers())?;
        {
            let mut sockets = self.sockets.borrow_mut();
            let weights = steering::weights(&assembly, &sockets, Some(&before));
            let change = sockets.change(&assembly.config.listeners, &weights)?;
            proxy.apply(&assembly.snapshot, change.opened, &change.closing);
        }
        let (old, new) = (value(&before), value(&assembly));
        for late in ["workers", "steering", "user", "admin"].into_iter().filter(|late| old[late] != new[late]) {
            tracing::warn!("`{late}` takes effect at the next start");
        }
        let changes = diff::diff(&old, &new);
        let assembly = Arc::new(assembly);
        *self.assembly.borrow_mut() = assembly.clone();
        for (name, loaded) in &assembly.plugins {
            // A file that does not load is logged; the generation before it goes on.
            let _ = self.swap_from_file(name, &loaded.section.path);
        }
        Ok(changes)
    }

    /// What a reload would change now.
    pub(crate) fn diff(&self) -> anyhow::Result<Vec<Change>> {
        let mut start = self.run.start()?;
        set_demo(&mut start, &self.demo);
        let after = serde_json::to_value(&start.config)?;
        Ok(diff::diff(&value(&self.assembly()), &after))
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
            if assembly.config.listeners.iter().any(|listener| listener.steer.as_deref() == Some(name)) {
                self.steer_again(&assembly);
            }
        }
        Ok(swap)
    }

    /// Asks the plugins for their weights once more.
    fn steer_again(&self, assembly: &Arc<Assembly>) {
        if self.upgrading.get() {
            // The maps belong to the new process until it has failed.
            return;
        }
        let mut sockets = self.sockets.borrow_mut();
        let weights = steering::weights(assembly, &sockets, None);
        // The listeners are the same, so there is nothing to tell the workers.
        if let Err(error) = sockets.change(&assembly.config.listeners, &weights) {
            tracing::error!("the steering stays as it was: {error:#}");
        }
    }

    /// Starts the binary again, as it is on the disk now, and lets it take over. Answers its process id once it
    /// serves; then this process is to be drained. After an error it serves on.
    pub(crate) async fn upgrade(&self) -> anyhow::Result<u32> {
        if self.upgrading.replace(true) {
            bail!("a new binary is about to take over already");
        }
        let result = self.try_upgrade().await;
        self.canceller.take();
        if self.proxy.borrow().is_none() {
            self.upgrading.set(false);
            // It came up all the same, and is what was stopped.
            let pid = result.ok().and_then(|pid| Pid::from_raw(pid.cast_signed()));
            pid.map(|pid| rustix::process::kill_process(pid, Signal::TERM));
            bail!("this process was stopped");
        }
        match &result {
            Ok(pid) => {
                tracing::info!(pid, "a new process serves");
                self.sockets.borrow().retire();
                systemd::replaced_by(*pid);
            }
            Err(error) => {
                tracing::error!("not upgraded: {error:#}");
                self.sockets.borrow_mut().restore();
                self.upgrading.set(false);
                self.steer_again(&self.assembly());
            }
        }
        result
    }

    async fn try_upgrade(&self) -> anyhow::Result<u32> {
        if self.proxy.borrow().is_none() {
            bail!("this process drains");
        }
        if std::process::id() == 1 {
            bail!("Odin is process 1: its container would end with this process; replace the container instead");
        }
        let given = self.sockets.borrow().hand_over().context("cannot share the listening sockets")?;
        let admin = self.admin.borrow().clone();
        tracing::info!(binary = %self.binary.display(), "starting a new process");
        let attempt = Attempt::start(&self.binary)?;
        *self.canceller.borrow_mut() = Some(attempt.canceller());
        let (told, result) = oneshot::channel();
        // Not one of the runtime's threads: a process that is stopped does not wait for a new one that hangs.
        std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            // Nobody is there to be told when this process is stopped meanwhile.
            let _ = told.send(attempt.finish(admin, given));
        })?;
        result.await?
    }

    /// Whether a reload was refused because of an upgrade that has failed by now; asked once.
    pub(crate) fn missed_reload(&self) -> bool {
        self.missed_reload.take()
    }

    /// This process is stopped, and an upgrade that is under way with it.
    pub(crate) fn cancel_upgrade(&self) {
        if let Some(canceller) = self.canceller.take() {
            canceller.cancel();
        }
    }

    /// Waits until a new process that was cancelled is gone.
    pub(crate) async fn upgrade_over(&self) {
        const STEP: Duration = Duration::from_millis(5);
        for _ in 0..200 {
            if !self.upgrading.get() {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// A drain that has begun leaves so long from now on.
    pub(crate) fn hurry(&self, grace: Duration) {
        if let Some(hurry) = &*self.hurry.borrow() {
            hurry.drain(Draining { grace, leaving: false });
        }
    }

    /// Accepts no more, and waits for what runs.
    pub(crate) async fn drain(&self, draining: Draining) {
        let Some(proxy) = self.proxy.borrow_mut().take() else { return };
        *self.hurry.borrow_mut() = Some(proxy.hurry());
        self.admin.take();
        // First: who is steered to a socket now would wait in a queue that closes.
        self.sockets.borrow_mut().close();
        if let Err(error) = tokio::task::spawn_blocking(move || proxy.drain(draining)).await {
            tracing::error!(%error, "the drain failed");
        }
    }
}

fn value(assembly: &Assembly) -> serde_json::Value {
    serde_json::to_value(&assembly.config).unwrap_or_default()
}

/// Tells what a reload has changed, line by line unless it is a great deal.
fn report(changes: &[Change]) {
    const LINES: usize = 20;
    tracing::info!(changes = changes.len(), "reloaded");
    for change in changes.iter().take(LINES) {
        tracing::info!("{change}");
    }
    if changes.len() > LINES {
        tracing::info!("... and {} more", changes.len() - LINES);
    }
}

async fn start_demo(start: &Start) -> std::io::Result<Vec<(&'static str, Vec<SocketAddr>)>> {
    let mut demo = Vec::new();
    for cluster in &start.demo_clusters {
        let addresses = if *cluster == HTTP_CLUSTER { demo::start_http().await } else { demo::start_tcp().await };
        demo.push((*cluster, addresses?));
    }
    Ok(demo)
}

/// Gives the demo's clusters the addresses that its backends got.
fn set_demo(start: &mut Start, demo: &[(&'static str, Vec<SocketAddr>)]) {
    for (cluster, addresses) in demo {
        start.set_endpoints(cluster, addresses.iter().copied());
    }
}

/// Completes the config with what only a running Odin knows, and builds everything that it names.
fn assemble(
    start: &mut Start,
    demo: &[(&'static str, Vec<SocketAddr>)],
    before: Option<&Assembly>,
    runtime: &Arc<Runtime>,
    workers: usize,
) -> anyhow::Result<Assembly> {
    set_demo(start, demo);
    let plugins = assemble::load_plugins(&start.config, before, runtime)?;
    for name in start.unplaced_plugins.clone() {
        if let Some(loaded) = plugins.get(&name) {
            start.place_plugin(&name, plugin_spec::roles(loaded.plugin.hooks()))?;
        }
    }
    Assembly::new(start.config.clone(), plugins, before, workers)
}
