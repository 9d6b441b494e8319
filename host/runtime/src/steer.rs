//! The steer hook: how the new connections of a binding are shared out over listeners and workers.
//!
//! It is asked when bindings change, by a thread that is no worker: each time on a fresh instance, which counts for
//! itself. Must never touch an instance or a counter of a worker.

use std::time::Instant;

use odin_chain::{Hook, HookState, SteerBinding, SteerWeight};

use crate::abi::ask::Weigh;
use crate::error::{CallError, Cause};
use crate::failure::Failure;
use crate::instance::{How, Instance, Running};
use crate::plugin::Plugin;
use crate::stamp::Stamp;

impl Plugin {
    /// Asks the steer hook how to share out the new connections of a binding. An empty answer, which is also that of a
    /// plugin without the hook, means evenly over the workers of the binding's own listener.
    ///
    /// Blocks for at most the plugin's time limit, and ten times as long where `configure` takes its time: for the main
    /// thread, never for a worker. `outbound` is unavailable in it.
    ///
    /// # Errors
    /// As of any hook. An answer that names what there is not, or is too long, is [`Cause::BadAnswer`].
    pub fn steer(&self, binding: &SteerBinding<'_>) -> Result<Vec<SteerWeight>, CallError> {
        let generation = self.current().load_full();
        if !generation.hooks.has(Hook::Steer) {
            return Ok(Vec::new());
        }
        let _alone = self.steering();
        let (slot, worker) = (self.slot(), self.slot().steerer());
        let start = Stamp::now();
        let mut no_exchange = HookState::idle();
        let paused = |_| slot.paused(worker, Hook::Steer);
        slot.breaker.admit(Hook::Steer, &no_exchange, Instant::now).map_err(paused)?;
        let result = match Instance::new(&generation, slot, worker, None) {
            Ok(mut instance) => weigh(&mut instance, generation.waits, binding, &mut no_exchange),
            Err(none) => Err(Cause::from(none).into()),
        };
        slot.done(worker, Hook::Steer, &no_exchange, start.elapsed(), result)
    }
}

fn weigh(
    instance: &mut Instance,
    waits: bool,
    binding: &SteerBinding<'_>,
    no_exchange: &mut Box<HookState>,
) -> Result<Vec<SteerWeight>, Box<Failure>> {
    let mut question = Weigh(*binding);
    let running = Running::begin(instance, &mut question, no_exchange, How { start: Stamp::now(), fiber: None });
    let clock = running.instance.store.data().slot.clock.clone();
    let _ticking = clock.run(usize::MAX);
    let Instance { functions, store, .. } = &mut *running.instance;
    let told = functions.ask_at_once(question, waits, store);
    drop(running);
    instance.outcome(told)
}
