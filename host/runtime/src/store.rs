//! What a plugin's store holds: the exchange of the running call, and what the instance has opened.
//! Must never hold an exchange between calls.

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{StoreContextMut, bail};

use crate::capability::fields::Names;
use crate::capability::{metrics, shared};
use crate::deadline::Deadline;
use crate::hook::Hook;
use crate::meter::Meter;
use crate::outbound::OutboundSender;
use crate::slot::Slot;
use crate::state::{Endpoints, HookState};
use crate::stats::WorkerStats;

/// `configure` may take so many times the time limit of a call: it runs once for many calls.
const CONFIGURE_FACTOR: u32 = 10;

/// The type of a host function's first argument.
pub(crate) type Ctx<'a> = StoreContextMut<'a, StoreData>;
/// What the capabilities link themselves into.
pub(crate) type Link = Linker<StoreData>;

/// The data of one instance's store.
pub(crate) struct StoreData {
    /// The exchange of the running call; between calls, and in `configure`, an idle one.
    pub(crate) state: Box<HookState>,
    /// What a running `pick` chooses from.
    pub(crate) endpoints: Option<Arc<dyn Endpoints>>,
    /// The hook that runs, or ran last.
    pub(crate) hook: Hook,
    pub(crate) deadline: Deadline,
    pub(crate) meter: Meter,
    pub(crate) slot: Arc<Slot>,
    /// The index of this worker's counters in the slot.
    pub(crate) worker: usize,
    /// Where calls of `outbound` go.
    pub(crate) outbound: Option<OutboundSender>,
    /// How many of them the running hook has made.
    pub(crate) outbound_calls: u32,
    pub(crate) names: Names,
    pub(crate) counters: shared::Opened,
    pub(crate) metrics: metrics::Opened,
}

impl StoreData {
    pub(crate) fn new(slot: Arc<Slot>, worker: usize, outbound: Option<OutboundSender>) -> Self {
        StoreData {
            state: HookState::idle(),
            endpoints: None,
            hook: Hook::Configure,
            deadline: Deadline::new(slot.spec.limits.timeout.saturating_mul(CONFIGURE_FACTOR)),
            meter: Meter::new(&slot.spec.limits),
            slot,
            worker,
            outbound,
            outbound_calls: 0,
            names: Names::default(),
            counters: shared::Opened::default(),
            metrics: metrics::Opened::default(),
        }
    }

    /// A call begins; answers how many ticks to give it at first.
    pub(crate) fn begin_call(&mut self, hook: Hook) -> u64 {
        self.hook = hook;
        self.outbound_calls = 0;
        self.meter.begin_call();
        self.deadline.begin_call()
    }

    /// The plugin is configured: from here on calls have the time of a hook.
    pub(crate) fn configured(&mut self) {
        self.deadline = Deadline::new(self.slot.spec.limits.timeout);
    }

    pub(crate) fn stats(&self) -> &WorkerStats {
        &self.slot.stats[self.worker]
    }

    /// The cluster's endpoints, which are there only while `pick` runs.
    pub(crate) fn endpoints(&self) -> wasmtime::Result<&dyn Endpoints> {
        match &self.endpoints {
            Some(endpoints) => Ok(&**endpoints),
            None => bail!("endpoints asked outside `pick`"),
        }
    }
}
