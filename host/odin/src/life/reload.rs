//! Reloads: the config is read again, built and served, or nothing is changed. What can fail is done first.

use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use odin_proxy::Proxy;
use odin_runtime::Runtime;
use serde_json::Value;

use super::state::Event;
use super::{Odin, Reply, answer};
use crate::assemble::{self, Assembly};
use crate::background::Background;
use crate::check;
use crate::cli::Start;
use crate::config::{self, Config};
use crate::diff::{self, Change};
use crate::plugin_spec::roles;
use crate::resolve::Names;
use crate::systemd;
use crate::tls;
use crate::watch::Watch;

type Changes = Vec<Change>;

/// Reloads, one after the other. While one waits for a resolver or a compiler, signals, orders and swaps go on; those that
/// are asked for meanwhile become one more, which begins when it is over.
#[derive(Default)]
pub(super) struct Reloads(Option<Reload>);

/// The one that runs.
struct Reload {
    work: Pin<Box<dyn Future<Output = anyhow::Result<Changes>>>>,
    /// Who has asked for it.
    asked: Vec<Reply<Changes>>,
    since: SystemTime,
    /// Who has asked for the next one, if anybody has.
    next: Option<Vec<Reply<Changes>>>,
}

impl Reloads {
    pub(super) fn ask<I: IntoIterator<Item = Reply<Changes>>>(&mut self, odin: &Rc<Odin>, watch: &mut Watch, who: I) {
        if let Some(reload) = &mut self.0 {
            return reload.next.get_or_insert_default().extend(who);
        }
        // It would tell of the very change that is read now.
        watch.config_is_read();
        let (odin, since) = (odin.clone(), SystemTime::now());
        let work = Box::pin(async move { odin.reload().await });
        self.0 = Some(Reload { work, asked: who.into_iter().collect(), since, next: None });
    }

    /// Ready when the reload that runs has ended; never while none runs.
    pub(super) async fn done(&mut self) -> anyhow::Result<Changes> {
        match &mut self.0 {
            Some(reload) => reload.work.as_mut().await,
            None => std::future::pending().await,
        }
    }

    /// Answers all orders for the reload that has ended, and begins the next one if it was ordered.
    pub(super) fn tell(&mut self, odin: &Rc<Odin>, watch: &mut Watch, result: anyhow::Result<Changes>) {
        let Some(Reload { asked, since, next, .. }) = self.0.take() else { return };
        watch.follow(&odin.assembly(), &odin.refused_files.take(), since);
        for reply in asked {
            answer(Some(reply), result.as_ref().map(Vec::clone).map_err(|error| anyhow!("{error:#}")));
        }
        if let Some(next) = next {
            self.ask(odin, watch, next);
        }
    }
}

impl Odin {
    /// Reads the config again and serves it; plugins whose files changed are swapped. Answers what has changed in the
    /// config. A fault changes nothing.
    async fn reload(&self) -> anyhow::Result<Changes> {
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

    async fn try_reload(&self) -> anyhow::Result<Changes> {
        self.may(Event::Reload)?;
        let before = self.assembly();
        let workers = self.with_proxy(Proxy::workers).context("this process drains")?;
        let start = self.read().await?;
        // If it is refused, a change of these may be what is missing.
        self.refused_files.replace(files_of(&start.config));
        let assembly = assemble(start, Some(before.clone()), &self.runtime, workers, &self.background).await?;
        // An upgrade may have begun meanwhile, and was given what is to be changed here.
        self.may(Event::Reload)?;
        assembly.check_uses().map_err(|error| assembly.places.locate(error))?;
        let applying = self.apply(&assembly, Some(&before), || Ok(()))?;
        self.refused_files.take();
        let assembly = Arc::new(assembly);
        self.acme.borrow_mut().follow(&assembly.config);
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
        self.demo.complete(&mut start);
        Ok(start)
    }

    /// What a reload would change now; `shown` makes of each config what may be told of it.
    pub(crate) async fn diff(&self, shown: fn(Value) -> Value) -> anyhow::Result<Changes> {
        let start = self.read().await?;
        let before = self.assembly();
        let diff = move || diff::diff(&shown(value(&before.config)), &shown(value(&start.config)));
        self.background.run(diff).await
    }
}

/// What a config names that is read with it.
fn files_of(config: &Config) -> Vec<PathBuf> {
    let plugins = config.plugins.values().map(|section| section.path.clone());
    tls::files_of(config).chain(plugins).collect()
}

fn value(config: &Config) -> Value {
    serde_json::to_value(config).unwrap_or_default()
}

/// What a reload has changed; warns of what it could not.
fn changes(before: &Assembly, after: &Assembly) -> Vec<Change> {
    let (old, new) = (value(&before.config), value(&after.config));
    for (key, next) in config::late().filter(|(key, _)| old[key] != new[key]) {
        tracing::warn!("`{key}` takes effect at the next {next}");
    }
    for section in after.tls.renewed(&before.tls) {
        tracing::info!("{section}: its TLS files are others: new connections go by them");
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

/// Builds everything that a config names. What takes long for a large one is done in the background.
pub(super) async fn assemble(
    mut start: Start,
    before: Option<Arc<Assembly>>,
    runtime: &Arc<Runtime>,
    workers: usize,
    background: &Background,
) -> anyhow::Result<Assembly> {
    let validated = check::validate(&start, before.as_deref(), runtime).await?;
    for name in start.unplaced_plugins.clone() {
        if let Some(loaded) = validated.plugins.get(&name) {
            start.place_plugin(&name, roles(loaded.plugin.hooks()))?;
        }
    }
    let (start, old) = (Arc::new(start), before.clone());
    let new = start.clone();
    let wanted = move || Names::wanted(assemble::new_clusters(&new.config, old.as_deref()));
    let names = Names::resolve(background.run(wanted).await?).await;
    let build = move || {
        let assembly = Assembly::new(&start, validated, &names, before.as_deref(), workers);
        assembly.map_err(|error| start.places.locate(error))
    };
    background.run(build).await?
}
