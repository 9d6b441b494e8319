//! A plugin is swapped while everything goes on, in every state of the process.

use std::sync::Arc;

use anyhow::Context as _;
use odin_runtime::Swap;

use super::Odin;
use super::state::State;
use crate::assemble::Assembly;
use crate::files::digest;
use crate::plugin_spec::roles;
use crate::{steering, uses};

impl Odin {
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
    pub(super) fn steer_again(&self, assembly: &Arc<Assembly>) {
        if !matches!(*self.state.borrow(), State::Serving(_)) {
            // The maps belong to the new process unless it fails; once this one drains nothing is steered to it.
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
