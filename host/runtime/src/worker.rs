//! One worker's side of a plugin: its warm instance, and the generation that an exchange keeps.
//! Must never leave its thread, and never take a lock on the path of a call.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use crate::answer::Unusual;
use crate::error::{CallError, Cause};
use crate::failure::Failure;
use crate::generation::Generation;
use crate::instance::Instance;
use crate::plugin::Plugin;
use crate::spec::{Hook, Hooks, Isolation};
use crate::state::{Decision, Endpoints, HookState};

/// One worker's side of a plugin. Stays on its thread.
pub struct WorkerPlugin {
    worker: usize,
    latest: RefCell<Cache<Arc<ArcSwap<Generation>>, Arc<Generation>>>,
    serving: RefCell<Rc<PinnedPlugin>>,
    /// Older generations that exchanges may still keep.
    older: RefCell<Vec<Weak<PinnedPlugin>>>,
}

impl WorkerPlugin {
    /// For the worker with this number, below `RuntimeOptions::workers`. Two live threads must not share a number: their
    /// statistics would lose counts.
    pub fn new(plugin: Arc<Plugin>, worker: usize) -> Self {
        let worker = worker % plugin.slot().loader();
        let mut latest = Cache::new(plugin.current().clone());
        let generation = latest.load().clone();
        let serving = Rc::new(PinnedPlugin { plugin, generation, worker, warm: Cell::new(None) });
        serving.warm_up();
        WorkerPlugin { worker, latest: RefCell::new(latest), serving: RefCell::new(serving), older: RefCell::default() }
    }

    /// The generation that serves now: what an exchange keeps to its end. A pointer comparison when nothing changed.
    pub fn pin(&self) -> Rc<PinnedPlugin> {
        let mut latest = self.latest.borrow_mut();
        let latest = latest.load();
        let mut serving = self.serving.borrow_mut();
        if !Arc::ptr_eq(latest, &serving.generation) {
            let newer = PinnedPlugin {
                plugin: serving.plugin.clone(),
                generation: latest.clone(),
                worker: self.worker,
                warm: Cell::new(None),
            };
            let older = std::mem::replace(&mut *serving, Rc::new(newer));
            self.older.borrow_mut().push(Rc::downgrade(&older));
        }
        serving.clone()
    }

    /// Warms a new generation and drops what older ones keep warm. For a tick of the worker.
    pub fn refresh(&self) {
        self.pin().warm_up();
        self.older.borrow_mut().retain(|older| match older.upgrade() {
            Some(older) => {
                older.warm.set(None);
                true
            }
            None => false,
        });
    }
}

/// One generation on one worker, with its warm instance. Dropped with the last exchange that keeps it.
pub struct PinnedPlugin {
    plugin: Arc<Plugin>,
    generation: Arc<Generation>,
    worker: usize,
    warm: Cell<Option<Box<Instance>>>,
}

impl PinnedPlugin {
    /// What this generation exports.
    pub fn hooks(&self) -> Hooks {
        self.generation.hooks()
    }

    /// The number of this generation, from 1.
    pub fn generation(&self) -> u64 {
        self.generation.number
    }

    /// The slot.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Calls the hook; `Continue` when it is not exported. `state.request` must be there.
    pub fn request_headers(&self, state: &mut Box<HookState>) -> Result<Decision, CallError> {
        if self.generation.exports.request_headers.is_none() {
            return Ok(Decision::Continue);
        }
        Ok(decision(self.call(Hook::RequestHeaders, state, Instance::request_headers)?))
    }

    /// Calls the hook; `Continue` when it is not exported. `state.request` and `state.response` must be there.
    pub fn response_headers(&self, state: &mut Box<HookState>) -> Result<Decision, CallError> {
        if self.generation.exports.response_headers.is_none() {
            return Ok(Decision::Continue);
        }
        Ok(decision(self.call(Hook::ResponseHeaders, state, Instance::response_headers)?))
    }

    /// Asks the balancer. An index that it answers is in range; it is not checked to be eligible. `BadAnswer` when the
    /// plugin exports no balancer.
    pub fn pick(&self, state: &mut Box<HookState>, endpoints: Rc<dyn Endpoints>) -> Result<Option<u32>, CallError> {
        self.call(Hook::Balancer, state, |instance, state| instance.pick(state, endpoints))
    }

    fn call<R>(
        &self,
        hook: Hook,
        state: &mut Box<HookState>,
        run: impl FnOnce(&mut Instance, &mut Box<HookState>) -> Result<R, Box<Failure>>,
    ) -> Result<R, CallError> {
        let start = Instant::now();
        let result = self.instance().map_err(Box::from).and_then(|mut instance| {
            let result = run(&mut instance, state);
            // After a trap the guest's memory is in no known state.
            let sound = match &result {
                Ok(_) => true,
                Err(failure) => matches!(failure.cause, Cause::BadAnswer(_)),
            };
            if sound && self.plugin.spec().isolation == Isolation::Pooled && !instance.is_worn() {
                self.warm.set(Some(instance));
            }
            result
        });
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        state.plugin_nanos += nanos;
        self.plugin.slot().stats[self.worker].record(hook, nanos, result.as_ref().err().map(|failure| &failure.cause));
        result.map_err(|failure| {
            let Failure { cause, backtrace } = *failure;
            CallError { plugin: self.plugin.name().to_owned(), hook, cause, backtrace }
        })
    }

    fn instance(&self) -> Result<Box<Instance>, Cause> {
        match self.warm.take() {
            Some(warm) => Ok(warm),
            None => Ok(Box::new(Instance::new(&self.generation, self.plugin.slot(), self.worker)?)),
        }
    }

    /// Makes the first instance before a call waits for it. A failure shows when a call tries again.
    fn warm_up(&self) {
        if self.plugin.spec().isolation == Isolation::Pooled {
            self.warm.set(self.instance().ok());
        }
    }
}

fn decision(unusual: Unusual) -> Decision {
    match unusual {
        None => Decision::Continue,
        Some(decision) => *decision,
    }
}
