//! What a plugin's store holds: the exchange of the running call, and what the instance has opened.
//! Must never hold an exchange between calls.

use std::sync::Arc;
use std::time::Duration;

use odin_chain::fields::Names;
use odin_chain::{Endpoints, Hook, HookState, Whose};
use wasmtime::component::Linker;
use wasmtime::{StoreContextMut, UpdateDeadline, bail};

use crate::deadline::{Deadline, nanos};
use crate::error::Cause;
use crate::meter::Meter;
use crate::metrics;
use crate::outbound::OutboundSender;
use crate::shared;
use crate::slot::Slot;
use crate::stamp::Stamp;
use crate::stats::WorkerStats;

/// `configure` may take so many times the time limit of a call: it runs once for many calls.
const CONFIGURE_FACTOR: u32 = 10;

/// The times of a plugin's calls, in nanoseconds: worked out once, for every call asks.
#[derive(Clone, Copy)]
struct Times {
    call: u64,
    slice: u64,
    /// See [`Slot::own_budget`].
    own: Option<(usize, Duration)>,
}

impl Times {
    fn new(slot: &Slot) -> Self {
        let limits = &slot.spec.limits;
        Times { call: nanos(limits.timeout), slice: nanos(limits.slice), own: slot.own_budget() }
    }
}

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
    times: Times,
    /// That of the running call's exchange, if it bounds the call.
    exchange_budget: Duration,
    pub(crate) meter: Meter,
    pub(crate) slot: Arc<Slot>,
    /// The index of this worker's counters in the slot.
    pub(crate) worker: usize,
    /// Where calls of `outbound` go.
    pub(crate) outbound: Option<OutboundSender>,
    /// How many of them the running hook has made.
    pub(crate) outbound_calls: u32,
    /// What the guest said before it trapped.
    pub(crate) last_words: Option<String>,
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
            deadline: Deadline::new(),
            times: Times::new(&slot),
            exchange_budget: Duration::ZERO,
            meter: Meter::new(&slot.spec.limits),
            slot,
            worker,
            outbound,
            outbound_calls: 0,
            last_words: None,
            names: Names::default(),
            counters: shared::Opened::default(),
            metrics: metrics::Opened::default(),
        }
    }

    /// The instance is made and configured, beginning now.
    pub(crate) fn begin_configure(&mut self) {
        let time = self.times.call.saturating_mul(CONFIGURE_FACTOR.into());
        self.deadline.begin_call(Stamp::now(), (time, None), self.times.slice, None);
    }

    /// A call begins, for the exchange that is here; `fiber` as in [`How`](crate::instance::How).
    #[inline]
    pub(crate) fn begin_call(&mut self, hook: Hook, start: Stamp, fiber: Option<bool>) {
        self.hook = hook;
        self.outbound_calls = 0;
        // Nearly always there are none, and dropping them would write.
        if self.last_words.is_some() {
            self.last_words = None;
        }
        self.meter.begin_call();
        let Times { call: most, slice, own } = self.times;
        let grant = match hook.is_budgeted() {
            true => {
                let budget = &mut self.state.cpu;
                if !self.state.piece.is_empty() {
                    budget.shown(self.state.piece.len(), own);
                }
                budget.grant(most, own)
            }
            false => (most, None),
        };
        if grant.1 == Some(Whose::Exchange) {
            self.exchange_budget = self.state.cpu.whole();
        }
        self.deadline.begin_call(start, grant, slice, fiber);
    }

    /// The call ended; what it computed is taken from the exchange's budget. One that met no tick is paid by
    /// [`Slot::spend`].
    #[inline]
    pub(crate) fn end_call(&mut self) {
        if !self.deadline.is_unseen() {
            let spent = self.deadline.end_call(&self.slot.clock);
            if std::mem::take(&mut self.deadline.entered) {
                self.slot.waiting[self.worker].leave(&self.slot.stats[self.worker].open);
            }
            self.slot.spend(self.hook, &mut self.state, spent);
        }
    }

    /// The running call has no time left: why.
    pub(crate) fn overrun(&self) -> Cause {
        if let Some(crowded) = &self.deadline.crowded {
            return crowded.clone();
        }
        let limits = &self.slot.spec.limits;
        match (self.deadline.whose, limits.cpu_budget) {
            (Some(whose @ Whose::Exchange), _) => Cause::Budget { limit: self.exchange_budget, whose },
            (Some(whose @ Whose::Plugin), Some(limit)) => Cause::Budget { limit, whose },
            _ if self.hook == Hook::Configure => {
                Cause::Timeout { limit: limits.timeout.saturating_mul(CONFIGURE_FACTOR) }
            }
            _ => Cause::Timeout { limit: limits.timeout },
        }
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

/// The engine calls this at each tick that a guest meets.
pub(crate) fn on_deadline(mut store: Ctx<'_>) -> wasmtime::Result<UpdateDeadline> {
    let data = store.data_mut();
    Ok(data.deadline.on_tick(&data.slot, data.worker, data.hook))
}
