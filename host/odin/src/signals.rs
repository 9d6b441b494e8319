//! The life of the process: start, say what listens where, obey signals and changed files, drain.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::Admin;
use crate::cli::Run;
use crate::config::Traffic;
use crate::odin::Odin;
use crate::watch::Watch;
use crate::{logging, plugin_spec};

/// Runs Odin until a signal ends it.
pub(crate) async fn run(run: Run) -> anyhow::Result<()> {
    let start = run.start()?;
    logging::start(start.config.access_log.format);
    // Before anything is told to the user: a signal that comes early must not kill what has begun.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let admin = match start.config.admin {
        Some(address) => {
            Some(Admin::bind(address).await.with_context(|| format!("admin: cannot listen on {address}"))?)
        }
        None => None,
    };
    let demo = !start.demo_clusters.is_empty();
    let odin = Rc::new(Odin::start(run, start).await?);
    let mut watch = Watch::new(&odin.assembly())?;
    let admin_address = admin.as_ref().and_then(|admin| admin.address().ok());
    if let Some(admin) = admin {
        tokio::task::spawn_local(admin.serve(odin.clone()));
    }
    banner(&odin, admin_address, demo);

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match odin.reload() {
                Ok(()) => {
                    tracing::info!("reloaded");
                    watch.follow(&odin.assembly());
                }
                Err(error) => tracing::error!("not reloaded, the old config serves on: {error:#}"),
            },
            name = watch.changed() => {
                let assembly = odin.assembly();
                if let Some(loaded) = assembly.plugins.get(&name) {
                    // Logged there; the old generation serves on.
                    let _ = odin.swap_from_file(&name, &loaded.section.path);
                }
            }
        }
    }
    tracing::info!("draining");
    tokio::select! {
        () = odin.drain() => {}
        // A second signal: whoever sent it does not want to wait.
        _ = terminate.recv() => anyhow::bail!("stopped before the drain was over"),
        _ = interrupt.recv() => anyhow::bail!("stopped before the drain was over"),
    }
    Ok(())
}

/// Tells what listens where. The lines are part of the interface: tests and scripts read them.
fn banner(odin: &Odin, admin: Option<SocketAddr>, demo: bool) {
    let assembly = odin.assembly();
    let addresses: Vec<(String, SocketAddr)> = odin
        .with_proxy(|proxy| proxy.addresses().map(|(name, address)| (name.to_owned(), address)).collect())
        .unwrap_or_default();
    let mut http = None;
    for (name, address) in &addresses {
        let listener = assembly.config.listeners.iter().find(|listener| listener.name == *name);
        let scheme = match listener.map(|listener| &listener.traffic) {
            Some(Traffic::Tcp { .. }) => "tcp",
            _ => {
                http = http.or(Some(*address));
                "http"
            }
        };
        eprintln!("odin: listening on {scheme}://{address} ({name})");
    }
    if let Some(address) = admin {
        eprintln!("odin: admin on http://{address}");
    }
    for (name, loaded) in &assembly.plugins {
        let hooks = plugin_spec::hook_names(loaded.plugin.hooks()).join(", ");
        eprintln!("odin: plugin {name} ({hooks}) from {}", loaded.section.path.display());
    }
    if let Some(address) = http
        && demo
    {
        eprintln!("odin: try: curl http://{address}");
        if assembly.plugins.is_empty() {
            eprintln!("odin: no plugin: endpoints are picked by the built-in round robin; add one with --plugin FILE");
        }
    }
    eprintln!("odin: ready");
}
