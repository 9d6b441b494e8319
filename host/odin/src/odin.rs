//! The running Odin: what was assembled last, and the few things that may change it: a reload and a swap of a plugin.
//!
//! Must never leave a half-applied config behind: what can fail is done first.

mod leaving;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use odin_proxy::{Hurry, Proxy};
use odin_runtime::{Granting, Runtime, RuntimeOptions, Swap};
use serde_json::Value;

use crate::admin::{self, Token};
use crate::assemble::{self, Assembly};
use crate::background::Background;
use crate::check::{self, Validated};
use crate::cli::{HTTP_CLUSTER, Run, Start};
use crate::config::Config;
use crate::diff::{self, Change};
use crate::files::digest;
use crate::plugin_spec::roles;
use crate::resolve::Names;
use crate::sockets::Sockets;
use crate::upgrade::{Canceller, Successor};
use crate::{compile_cache, demo, memory, steering, systemd, uses};

/// Everything that lives from start to end.
pub(crate) struct Odin {
    run: Arc<Run>,
    background: Background,
    runtime: Arc<Runtime>,
    /// None once the drain has begun.
    proxy: RefCell<Option<Proxy>>,
    /// There once the drain has begun.
    hurry: RefCell<Option<Hurry>>,
    sockets: RefCell<Sockets>,
    /// What a new binary gets to serve the admin pages from; none once the drain has begun.
    admin: RefCell<Option<Arc<admin::Shared>>>,
    /// What gives a client of the TCP pages every right.
    token: RefCell<Option<Token>>,
    /// The file that was started, wherever it leads by now.
    binary: io::Result<PathBuf>,
    upgrading: Cell<bool>,
    /// Ends an upgrade that is under way.
    canceller: RefCell<Option<Canceller>>,
    /// There once a new binary has taken over.
    successor: RefCell<Option<Successor>>,
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
    pub(crate) admin: admin::Shared,
    pub(crate) binary: io::Result<PathBuf>,
    pub(crate) workers: usize,
}

impl Odin {
    /// Loads everything; nothing is served before [`Odin::serve`].
    pub(crate) async fn start(run: Run, mut start: Start, ready: Ready) -> anyhow::Result<Self> {
        let Ready { sockets, admin, binary, workers } = ready;
        let demo = start_demo(&start).await.context("cannot start the demo backends")?;
        let compile = compile_cache::compile(&start.config);
        let granting = if start.file.is_some() { Granting::File } else { Granting::Flag };
        let runtime = Runtime::new(RuntimeOptions { workers, compile, granting, ..RuntimeOptions::default() })?;
        let background = Background::start().context("cannot start a thread")?;
        set_demo(&mut start, &demo);
        let (assembly, token) = assemble(start, None, &runtime, workers, &background).await?;
        let proxy = Proxy::start(workers, memory::give_back).context("cannot start the workers")?;
        Ok(Odin {
            run: Arc::new(run),
            background,
            runtime,
            proxy: RefCell::new(Some(proxy)),
            hurry: RefCell::new(None),
            sockets: RefCell::new(sockets),
            admin: RefCell::new(Some(Arc::new(admin))),
            token: RefCell::new(token),
            binary,
            upgrading: Cell::new(false),
            canceller: RefCell::new(None),
            successor: RefCell::new(None),
            missed_reload: Cell::new(false),
            assembly: RefCell::new(Arc::new(assembly)),
            demo,
            started: Instant::now(),
            reloads: Cell::new(0),
            failed_reloads: Cell::new(0),
        })
    }

    /// Serves. What can fail without harm to a process before this one has been done by then; that one is told in
    /// between, before connections are accepted that would end with this process if it died untold.
    pub(crate) fn serve(&self, tell: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let assembly = self.assembly();
        let mut sockets = self.sockets.borrow_mut();
        let wanted = steering::wanted(&assembly, &sockets, None);
        let change = sockets.change(wanted).map_err(|error| assembly.places.locate(error))?;
        tell()?;
        // Nothing was served before that would have to end first.
        let _ = self.with_proxy(|proxy| proxy.apply(&assembly.snapshot, change.opened, &change.closing));
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
    pub(crate) async fn reload(&self) -> anyhow::Result<Vec<Change>> {
        systemd::reloading();
        let result = self.try_reload().await;
        let count = if result.is_ok() { &self.reloads } else { &self.failed_reloads };
        count.set(count.get() + 1);
        match &result {
            Ok(changes) => report(changes),
            Err(error) => tracing::error!("not reloaded, the old config serves on: {error:#}"),
        }
        systemd::ready();
        result
    }

    async fn try_reload(&self) -> anyhow::Result<Vec<Change>> {
        self.refuse_during_upgrade()?;
        let before = self.assembly();
        let Some(workers) = self.with_proxy(Proxy::workers) else { bail!("this process drains") };
        let start = self.read().await?;
        let (assembly, token) = assemble(start, Some(before.clone()), &self.runtime, workers, &self.background).await?;
        // One may have begun meanwhile, and was given what is to be changed here.
        self.refuse_during_upgrade()?;
        assembly.check_uses().map_err(|error| assembly.places.locate(error))?;
        let applying = {
            let proxy = self.proxy.borrow();
            let Some(proxy) = proxy.as_ref() else { bail!("this process drains") };
            let mut sockets = self.sockets.borrow_mut();
            let wanted = steering::wanted(&assembly, &sockets, Some(&before));
            let change = sockets.change(wanted).map_err(|error| assembly.places.locate(error))?;
            proxy.apply(&assembly.snapshot, change.opened, &change.closing)
        };
        *self.token.borrow_mut() = token;
        let assembly = Arc::new(assembly);
        *self.assembly.borrow_mut() = assembly.clone();
        let (old, new) = (before.clone(), assembly.clone());
        let changes = self.background.run(move || changes(&old, &new)).await?;
        for name in assembly.plugins.keys() {
            self.swap_from_file(name).await;
        }
        // Last: whatever is asked for meanwhile is about the new config.
        applying.done().await;
        // Not before: no worker serves it any more, so that this is where it is freed.
        self.background.free(before);
        Ok(changes)
    }

    /// Reads the config once more.
    async fn read(&self) -> anyhow::Result<Start> {
        let run = self.run.clone();
        let mut start = self.background.run(move || run.start()).await??;
        set_demo(&mut start, &self.demo);
        Ok(start)
    }

    fn refuse_during_upgrade(&self) -> anyhow::Result<()> {
        if self.upgrading.get() {
            self.missed_reload.set(true);
            bail!("a new binary is about to take over; whoever serves then reads the config again");
        }
        Ok(())
    }

    /// What a reload would change now; `shown` makes of each config what may be told of it.
    pub(crate) async fn diff(&self, shown: fn(Value) -> Value) -> anyhow::Result<Vec<Change>> {
        let start = self.read().await?;
        let before = self.assembly();
        let diff = move || diff::diff(&shown(value(&before.config)), &shown(value(&start.config)));
        self.background.run(diff).await
    }

    /// Compares something with the token of the admin pages.
    pub(crate) fn with_token<T>(&self, ask: impl FnOnce(Option<&Token>) -> T) -> T {
        ask(self.token.borrow().as_ref())
    }

    /// Swaps a plugin for what its file holds now, if that is another than what was loaded from it last. A file that does
    /// not load is logged; the generation before it goes on.
    pub(crate) async fn swap_from_file(&self, name: &str) {
        let swapped = async {
            let assembly = self.assembly();
            let loaded = assembly.plugins.get(name).with_context(|| format!("no plugin is named {name:?}"))?;
            let file = loaded.clone();
            let Some(wasm) = tokio::task::spawn_blocking(move || file.read()).await?? else { return Ok(()) };
            let digest = digest(&wasm);
            self.swap(name, wasm).await?;
            loaded.was_read(digest);
            anyhow::Ok(())
        };
        if let Err(error) = swapped.await {
            tracing::error!(plugin = name, "not swapped, the old generation serves on: {error:#}");
        }
    }

    /// Swaps a plugin for these bytes. It is compiled elsewhere; meanwhile everything else goes on, swaps of other plugins
    /// too.
    pub(crate) async fn swap(&self, name: &str, wasm: Vec<u8>) -> anyhow::Result<Swap> {
        let before = self.assembly();
        let loaded = before.plugins.get(name).with_context(|| format!("no plugin is named {name:?}"))?;
        let _turn = loaded.turn.lock().await;
        let plugin = loaded.plugin.clone();
        let prepared = tokio::task::spawn_blocking(move || plugin.prepare(&wasm)).await??;
        // By now the config may be another.
        let assembly = self.assembly();
        let fits = |hooks| uses::check(&assembly.config, name, roles(hooks)).map_err(|error| format!("{error:#}"));
        let swap = loaded.plugin.publish(prepared, fits)?;
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
        let wanted = steering::wanted(assembly, &sockets, None);
        // The listeners are the same, so there is nothing to tell the workers.
        if let Err(error) = sockets.change(wanted) {
            tracing::error!("the steering stays as it was: {error:#}");
        }
    }
}

fn value(config: &Config) -> Value {
    serde_json::to_value(config).unwrap_or_default()
}

/// What a reload has changed; warns of what it could not.
fn changes(before: &Assembly, after: &Assembly) -> Vec<Change> {
    let (old, new) = (value(&before.config), value(&after.config));
    const UPGRADE: &str = " or upgrade";
    let late = [
        ("workers", UPGRADE),
        ("admin", UPGRADE),
        ("admin-socket", UPGRADE),
        ("compile-cache", UPGRADE),
        ("compile-timeout", UPGRADE),
        ("compile-memory", UPGRADE),
        ("steering", ""),
        ("user", ""),
    ];
    for (key, upgrade) in late.into_iter().filter(|(key, _)| old[key] != new[key]) {
        tracing::warn!("`{key}` takes effect at the next start{upgrade}");
    }
    diff::diff(&old, &new)
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

/// Builds everything that a config names. What takes long for a large one is done in the background.
async fn assemble(
    mut start: Start,
    before: Option<Arc<Assembly>>,
    runtime: &Arc<Runtime>,
    workers: usize,
    background: &Background,
) -> anyhow::Result<(Assembly, Option<Token>)> {
    let Validated { plugins, token } = check::validate(&start, before.as_deref(), runtime).await?;
    for name in start.unplaced_plugins.clone() {
        if let Some(loaded) = plugins.get(&name) {
            start.place_plugin(&name, roles(loaded.plugin.hooks()))?;
        }
    }
    let (start, old) = (Arc::new(start), before.clone());
    let new = start.clone();
    let wanted = move || Names::wanted(assemble::new_clusters(&new.config, old.as_deref()));
    let names = Names::resolve(background.run(wanted).await?).await;
    let build = move || {
        let assembly = Assembly::new(&start, plugins, &names, before.as_deref(), workers);
        assembly.map_err(|error| start.places.locate(error))
    };
    Ok((background.run(build).await??, token))
}
