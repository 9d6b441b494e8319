//! One instance of a plugin: made, configured, called. Knows nothing of workers, swaps or statistics.
//! Must hand the exchange back whatever the guest does.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{ComponentType, Lower, Resource, TypedFunc};

use crate::answer::{self, Unusual, WitDecision};
use crate::capability::connection::Connection;
use crate::capability::endpoints::EndpointsHandle;
use crate::capability::head::{RequestHead, ResponseHead};
use crate::deadline::on_deadline;
use crate::error::Cause;
use crate::failure::{self, Failure};
use crate::generation::Generation;
use crate::slot::Slot;
use crate::spec::{Hook, Limits};
use crate::state::{Endpoints, HookState};
use crate::store::StoreData;

/// Handles that a guest may hold at once.
const MAX_HANDLES: usize = 4_096;
/// There is one resource of each kind per call, so every handle carries the same number.
const ONLY: u32 = 0;

type Configure = TypedFunc<(String,), (Result<(), String>,)>;
type OnRequest = TypedFunc<(Resource<RequestHead>,), (WitDecision,)>;
type OnResponse = TypedFunc<(Resource<ResponseHead>, Resource<RequestHead>), (WitDecision,)>;
type Pick = TypedFunc<(Resource<EndpointsHandle>, Subject), (Option<u32>,)>;

/// `subject` of wit/balancer.wit.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum Subject {
    #[component(name = "request")]
    Request(Resource<RequestHead>),
    #[component(name = "connection")]
    Connection(Resource<Connection>),
}

/// One instance of a plugin, ready to be called.
pub(crate) struct Instance {
    store: Store<StoreData>,
    request_headers: Option<OnRequest>,
    response_headers: Option<OnResponse>,
    pick: Option<Pick>,
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
    pub(crate) fn new(generation: &Generation, slot: &Arc<Slot>, worker: usize) -> Result<Self, NoInstance> {
        let limits = &slot.spec.limits;
        let mut store = Store::new(generation.pre.engine(), StoreData::new(slot.clone(), worker));
        store.limiter(|data| &mut data.meter);
        store.set_hostcall_fuel(limits.host_allocation_bytes);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(on_deadline);
        begin_call(&mut store, Hook::Configure);
        slot.stats[worker].instances.add(1);

        let instance = generation
            .pre
            .instantiate(&mut store)
            .map_err(|error| NoInstance::Instantiate(instantiation_failure(&error, store.data())))?;
        let exports = &generation.exports;
        macro_rules! hook {
            ($export:ident, $hook:expr) => {
                match &exports.$export {
                    Some(index) => Some(
                        instance
                            .get_typed_func(&mut store, index)
                            .map_err(|error| NoInstance::Mismatch($hook, failure::one_line(&error)))?,
                    ),
                    None => None,
                }
            };
        }
        let configure: Option<Configure> = hook!(configure, Hook::Configure);
        let request_headers = hook!(request_headers, Hook::RequestHeaders);
        let response_headers = hook!(response_headers, Hook::ResponseHeaders);
        let pick = hook!(pick, Hook::Balancer);

        if let Some(configure) = configure {
            match configure.call(&mut store, (slot.spec.config.clone(),)) {
                Ok((Ok(()),)) => {}
                Ok((Err(words),)) => return Err(NoInstance::Refused(failure::single_line(&words))),
                Err(error) => return Err(NoInstance::Configure(failure::failure(&error, store.data()).cause)),
            }
        }
        store.data_mut().configured();
        let memory = store.data().meter.memory_bytes();
        Ok(Instance {
            store,
            request_headers,
            response_headers,
            pick,
            calls_left: jittered(limits.recycle_after_calls),
            memory_bound: memory + limits.memory_bytes.saturating_sub(memory) / 2,
        })
    }

    /// Calls the hook, which the generation exports.
    pub(crate) fn request_headers(&mut self, state: &mut Box<HookState>) -> Result<Unusual, Box<Failure>> {
        let Some(hook) = self.request_headers else { return Ok(None) };
        let (answer,) =
            self.call(Hook::RequestHeaders, state, None, |store| hook.call(store, (Resource::new_borrow(ONLY),)))?;
        answer::decision(answer, state.max_head_bytes).map_err(|what| Cause::BadAnswer(what).into())
    }

    /// Calls the hook, which the generation exports.
    pub(crate) fn response_headers(&mut self, state: &mut Box<HookState>) -> Result<Unusual, Box<Failure>> {
        let Some(hook) = self.response_headers else { return Ok(None) };
        let (answer,) = self.call(Hook::ResponseHeaders, state, None, |store| {
            hook.call(store, (Resource::new_borrow(ONLY), Resource::new_borrow(ONLY)))
        })?;
        answer::decision(answer, state.max_head_bytes).map_err(|what| Cause::BadAnswer(what).into())
    }

    /// Asks the balancer, which the generation exports.
    pub(crate) fn pick(
        &mut self,
        state: &mut Box<HookState>,
        endpoints: Rc<dyn Endpoints>,
    ) -> Result<Option<u32>, Box<Failure>> {
        let Some(hook) = self.pick else {
            return Err(Cause::BadAnswer("the plugin exports no balancer".to_owned()).into());
        };
        let len = endpoints.len();
        let subject = match state.request {
            Some(_) => Subject::Request(Resource::new_borrow(ONLY)),
            None => Subject::Connection(Resource::new_borrow(ONLY)),
        };
        let (picked,) = self.call(Hook::Balancer, state, Some(endpoints), |store| {
            hook.call(store, (Resource::new_borrow(ONLY), subject))
        })?;
        match picked {
            Some(index) if index >= len => {
                Err(Cause::BadAnswer(format!("endpoint index {index} is past the end: there are {len}")).into())
            }
            picked => Ok(picked),
        }
    }

    /// Whether the instance has served long enough, or grown so much, that a new one should take its place.
    pub(crate) fn is_worn(&self) -> bool {
        self.calls_left == 0 || self.store.data().meter.memory_bytes() > self.memory_bound
    }

    fn call<R>(
        &mut self,
        hook: Hook,
        state: &mut Box<HookState>,
        endpoints: Option<Rc<dyn Endpoints>>,
        run: impl FnOnce(&mut Store<StoreData>) -> wasmtime::Result<R>,
    ) -> Result<R, Box<Failure>> {
        self.calls_left = self.calls_left.saturating_sub(1);
        let store = &mut self.store;
        begin_call(store, hook);
        std::mem::swap(&mut store.data_mut().state, state);
        store.data_mut().endpoints = endpoints;
        let result = run(store);
        std::mem::swap(&mut store.data_mut().state, state);
        store.data_mut().endpoints = None;
        result.map_err(|error| Box::new(failure::failure(&error, store.data())))
    }
}

fn begin_call(store: &mut Store<StoreData>, hook: Hook) {
    let data = store.data_mut();
    data.hook = hook;
    data.meter.begin_call();
    let ticks = data.deadline.begin_call();
    store.set_epoch_deadline(ticks);
}

fn instantiation_failure(error: &wasmtime::Error, data: &StoreData) -> String {
    let Limits { memory_bytes, .. } = data.slot.spec.limits;
    if data.meter.refused() {
        return format!("it needs more memory than its limit of {} KiB", memory_bytes / 1024);
    }
    match failure::failure(error, data).cause {
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
