//! What there is from the start to the end of the process, whatever its state: the config that is served, the sockets,
//! and the state itself. The admin pages read it; the rest of this folder changes it.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use odin_proxy::{Applying, Proxy};
use odin_runtime::Runtime;

use super::state::{Act, Event, State};
use crate::acme::Keepers;
use crate::assemble::Assembly;
use crate::background::Background;
use crate::cli::Run;
use crate::demo::Demo;
use crate::sockets::Sockets;
use crate::steering;

/// The running Odin.
pub(crate) struct Odin {
    pub(super) run: Arc<Run>,
    pub(super) background: Background,
    pub(super) runtime: Arc<Runtime>,
    /// The file that was started, wherever it leads by now.
    pub(super) binary: io::Result<PathBuf>,
    pub(super) demo: Demo,
    pub(crate) started: Instant,
    pub(crate) reloads: Cell<u64>,
    pub(crate) failed_reloads: Cell<u64>,
    pub(crate) acme: RefCell<Keepers>,
    /// What a config names that was refused.
    pub(super) refused_files: RefCell<Vec<PathBuf>>,
    /// Closed once the drain has begun; they tell then how they were.
    pub(super) sockets: RefCell<Sockets>,
    pub(super) assembly: RefCell<Arc<Assembly>>,
    pub(super) state: RefCell<State>,
}

impl Odin {
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
        self.state.borrow().running().map(|running| ask(&running.proxy))
    }

    /// Asks about the listening sockets.
    pub(crate) fn with_sockets<T>(&self, ask: impl FnOnce(&Sockets) -> T) -> T {
        ask(&self.sockets.borrow())
    }

    /// Takes an event to the state; the caller does what is to be done about it.
    pub(super) fn on(&self, event: Event) -> Act {
        let mut state = self.state.borrow_mut();
        let (next, act) = std::mem::replace(&mut *state, State::Ended).on(event);
        *state = next;
        act
    }

    /// An error if the state refuses what is asked for.
    pub(super) fn may(&self, event: Event) -> anyhow::Result<()> {
        match self.on(event) {
            Act::Refuse(words) => bail!(words),
            _ => Ok(()),
        }
    }

    /// Opens and closes sockets as `assembly` wants them, and lets the workers serve it. `tell` comes in between: what can
    /// fail without harm is over by then, and no connection has been accepted.
    pub(super) fn apply(
        &self,
        assembly: &Assembly,
        before: Option<&Assembly>,
        tell: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Applying> {
        let apply = |proxy: &Proxy| {
            let mut sockets = self.sockets.borrow_mut();
            let wanted = steering::wanted(assembly, &sockets, before);
            let change = sockets.change(wanted).map_err(|error| assembly.places.locate(error))?;
            tell()?;
            Ok(proxy.apply(&assembly.snapshot, change.opened, &change.closing))
        };
        self.with_proxy(apply).context("this process drains")?
    }
}
