//! One instance of a plugin: made, configured, called. Knows nothing of workers, swaps or statistics.
//! Must hand the exchange back whatever the guest does, and also when a call that waits is dropped.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use odin_chain::{Hook, HookState};
use wasmtime::Store;

use crate::abi::ask::{Configure, Question};
use crate::abi::{Ask, Functions, Refusal, Told, at_once, trap};
use crate::deadline::NEXT_TICK;
use crate::error::Cause;
use crate::failure::{self, Failure};
use crate::generation::Generation;
use crate::outbound::OutboundSender;
use crate::slot::Slot;
use crate::spec::Limits;
use crate::stamp::Stamp;
use crate::store::{StoreData, on_deadline};
use crate::words;

/// Handles that a guest may hold at once.
const MAX_HANDLES: usize = 4_096;

/// One instance of a plugin, ready to be called.
pub(crate) struct Instance {
    pub(crate) store: Store<StoreData>,
    pub(crate) functions: Functions,
    calls_left: u32,
    memory_bound: usize,
}

/// Why there is no instance.
#[derive(Debug)]
pub(crate) enum NoInstance {
    /// It could not be made.
    Instantiate(String),
    /// A hook has another signature.
    Mismatch(Hook, String),
    /// `configure` failed.
    Configure(Cause),
    /// `configure` answered with an error: the plugin's own words.
    Refused(String),
}

impl From<NoInstance> for Cause {
    fn from(none: NoInstance) -> Self {
        match none {
            NoInstance::Instantiate(why) => Cause::Instantiate(why),
            NoInstance::Mismatch(hook, why) => Cause::Instantiate(format!("{hook}: {why}")),
            NoInstance::Configure(cause) => Cause::Configure(cause.to_string()),
            NoInstance::Refused(words) => Cause::Configure(format!("refused: {words}")),
        }
    }
}

impl Instance {
    /// Makes an instance and configures it. `worker` says whose counters it writes.
    pub(crate) fn new(
        generation: &Generation,
        slot: &Arc<Slot>,
        worker: usize,
        outbound: Option<OutboundSender>,
    ) -> Result<Self, NoInstance> {
        let limits = &slot.spec.limits;
        let mut store = Store::new(generation.pre.engine(), StoreData::new(slot.clone(), worker, outbound));
        store.limiter(|data| &mut data.meter);
        store.set_hostcall_fuel(limits.hostcall_bytes());
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(on_deadline);
        store.data_mut().begin_configure();
        store.set_epoch_deadline(NEXT_TICK);
        let _running = slot.clock.run(worker);
        slot.stats[worker].instances.add(1);

        let instance = if generation.waits {
            at_once(generation.pre.instantiate_async(&mut store))
        } else {
            generation.pre.instantiate(&mut store)
        };
        let instance =
            instance.map_err(|error| NoInstance::Instantiate(instantiation_failure(&error, store.data())))?;
        let functions = generation.exports.functions(&instance, &mut store);
        let functions = functions.map_err(|(hook, error)| NoInstance::Mismatch(hook, failure::one_line(&error)))?;
        if generation.hooks.has(Hook::Configure) {
            configure(&functions, generation.waits, &mut store)?;
        }
        let memory = store.data().meter.memory_bytes();
        Ok(Instance {
            store,
            functions,
            calls_left: jittered(limits.recycle_after_calls),
            memory_bound: memory + limits.memory_bytes.saturating_sub(memory) / 2,
        })
    }

    /// Whether the instance has served long enough, or grown so much, that a new one should take its place.
    pub(crate) fn is_worn(&self) -> bool {
        self.calls_left == 0 || self.store.data().meter.memory_bytes() > self.memory_bound
    }

    /// What became of a call. To be asked after the exchange has been taken out.
    #[inline]
    pub(crate) fn outcome<T>(&self, told: Told<T>) -> Result<T, Box<Failure>> {
        match told {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refusal)) => Err(refused(refusal)),
            Err(error) => Err(self.trapped(&error)),
        }
    }

    /// Why a call that found no time left was not made.
    #[cold]
    pub(crate) fn overrun(&self) -> Box<Failure> {
        self.store.data().overrun().into()
    }

    #[cold]
    fn trapped(&self, error: &wasmtime::Error) -> Box<Failure> {
        Box::new(trap::failure(error, self.store.data()))
    }
}

#[cold]
fn refused(refusal: Refusal) -> Box<Failure> {
    match refusal {
        Refusal::Words(words) => Cause::Refused(words::one_line(&words)).into(),
        Refusal::BadAnswer(what) => Cause::BadAnswer(words::one_line(&what)).into(),
        Refusal::NotExported => Cause::Instantiate("the hook is not exported".to_owned()).into(),
    }
}

/// How a call is made.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// When it began.
    pub(crate) start: Stamp,
    /// On a fiber: it may wait, and give way to others. True: it is counted among those that do when it first does.
    pub(crate) fiber: Option<bool>,
}

/// The exchange is in the instance's store for as long as this lives, and comes back however it ends.
pub(crate) struct Running<'a> {
    pub(crate) instance: &'a mut Instance,
    state: &'a mut Box<HookState>,
    /// What a call that waits has computed so far, in nanoseconds: the exchange's to remember, even when the call is dropped.
    pub(crate) spent: u64,
}

impl<'a> Running<'a> {
    /// Answers no `Result`: this is on the path of every call, and taking one apart is a tenth of its cost. Who calls asks
    /// [`has_time`](Self::has_time) first.
    #[inline]
    pub(crate) fn begin(
        instance: &'a mut Instance,
        question: &mut impl Question,
        state: &'a mut Box<HookState>,
        how: How,
    ) -> Self {
        instance.calls_left = instance.calls_left.saturating_sub(1);
        let data = instance.store.data_mut();
        std::mem::swap(&mut data.state, state);
        data.endpoints = question.among();
        data.begin_call(question.hook(), how.start, how.fiber);
        instance.store.set_epoch_deadline(NEXT_TICK);
        Running { instance, state, spent: 0 }
    }

    /// Asks on this thread's stack.
    #[inline]
    pub(crate) fn ask<Q: Ask>(&mut self, question: Q) -> Told<Q::Answer> {
        self.instance.functions.ask(question, &mut self.instance.store)
    }

    /// Whether there is CPU time left for the call.
    #[inline]
    pub(crate) fn has_time(&self) -> bool {
        self.instance.store.data().deadline.has_time()
    }

    /// See [`Deadline::is_unseen`](crate::deadline::Deadline::is_unseen).
    #[inline]
    pub(crate) fn is_unseen(&self) -> bool {
        self.instance.store.data().deadline.is_unseen()
    }
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        let data = self.instance.store.data_mut();
        data.end_call();
        std::mem::swap(&mut data.state, self.state);
        data.endpoints = None;
        self.state.plugin_nanos += self.spent;
    }
}

fn configure(functions: &Functions, waits: bool, store: &mut Store<StoreData>) -> Result<(), NoInstance> {
    let configure = Configure(store.data().slot.spec.config.clone());
    match functions.ask_at_once(configure, waits, store) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Refusal::Words(words))) => Err(NoInstance::Refused(words::one_line(&words))),
        Ok(Err(refusal)) => Err(NoInstance::Configure(refused(refusal).cause)),
        Err(error) => Err(NoInstance::Configure(trap::failure(&error, store.data()).cause)),
    }
}

fn instantiation_failure(error: &wasmtime::Error, data: &StoreData) -> String {
    let Limits { memory_bytes, .. } = data.slot.spec.limits;
    if data.meter.refused() {
        return format!("it needs more memory than its limit of {} KiB", memory_bytes / 1024);
    }
    match trap::failure(error, data).cause {
        Cause::Trap { .. } => failure::one_line(error),
        cause => format!("its start function {cause}"),
    }
}

/// Give or take a quarter, so that instances of many workers are not replaced at the same time.
fn jittered(calls: u32) -> u32 {
    let calls = u64::from(calls.max(1));
    let random = RandomState::new().build_hasher().finish();
    let jittered = calls * 3 / 4 + random % (calls / 2 + 1);
    u32::try_from(jittered.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_quarter() {
        for _ in 0..1000 {
            assert!((75_000..=125_000).contains(&jittered(100_000)));
        }
        assert_eq!(jittered(0), 1);
        assert_eq!(jittered(1), 1);
    }
}
