//! One worker's side of a plugin: which generation serves, and which older ones exchanges still keep.
//! Must never leave its thread, and never take a lock on the path of a call.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use crate::generation::Generation;
use crate::outbound::OutboundSender;
use crate::pinned::PinnedPlugin;
use crate::plugin::Plugin;

/// One worker's side of a plugin. Stays on its thread.
pub struct WorkerPlugin {
    worker: usize,
    outbound: Option<OutboundSender>,
    latest: RefCell<Cache<Arc<ArcSwap<Generation>>, Arc<Generation>>>,
    serving: RefCell<Rc<PinnedPlugin>>,
    /// Older generations that exchanges may still keep.
    older: RefCell<Vec<Weak<PinnedPlugin>>>,
}

impl WorkerPlugin {
    /// For the worker with this number, below `RuntimeOptions::workers`. Two live threads must not share a number: their
    /// statistics would lose counts. Calls of `outbound` go to `outbound`; with none they are `Unavailable`.
    pub fn new(plugin: Arc<Plugin>, worker: usize, outbound: Option<OutboundSender>) -> Self {
        let worker = worker % plugin.slot().loader();
        let mut latest = Cache::new(plugin.current().clone());
        let generation = latest.load().clone();
        let serving = Rc::new(PinnedPlugin::new(plugin, generation, worker, outbound.clone()));
        serving.warm_up();
        WorkerPlugin {
            worker,
            outbound,
            latest: RefCell::new(latest),
            serving: RefCell::new(serving),
            older: RefCell::default(),
        }
    }

    /// The generation that serves now: what an exchange keeps to its end. A pointer comparison when nothing changed.
    pub fn pin(&self) -> Rc<PinnedPlugin> {
        let mut latest = self.latest.borrow_mut();
        let latest = latest.load();
        let mut serving = self.serving.borrow_mut();
        if !Arc::ptr_eq(latest, serving.of()) {
            let newer = PinnedPlugin::new(serving.plugin().clone(), latest.clone(), self.worker, self.outbound.clone());
            let older = std::mem::replace(&mut *serving, Rc::new(newer));
            self.older.borrow_mut().push(Rc::downgrade(&older));
        }
        serving.clone()
    }

    /// Warms a new generation, drops what older ones keep warm, and lets the breaker forget. For a tick of the worker.
    pub fn refresh(&self) {
        let serving = self.pin();
        serving.warm_up();
        serving.plugin().slot().breaker.sweep(Instant::now());
        self.older.borrow_mut().retain(|older| match older.upgrade() {
            Some(older) => {
                older.cool_down();
                true
            }
            None => false,
        });
    }
}
