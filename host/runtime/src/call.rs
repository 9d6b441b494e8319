//! The path of one call: breaker, instance, guest, statistics. There are two ways in, a plain call, and one on a fiber,
//! which may wait and gives way to others when it runs long; what comes before and after is the same.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use odin_chain::HookState;

use crate::abi::Ask;
use crate::deadline;
use crate::error::{CallError, Cause};
use crate::failure::Failure;
use crate::generation::Generation;
use crate::instance::{How, Instance, Running};
use crate::outbound::OutboundSender;
use crate::plugin::Plugin;
use crate::spec::Isolation;
use crate::stamp::Stamp;
use crate::waiting::{WARM_PER_PLUGIN, Waiting};

/// Calls one generation of a plugin on one worker.
pub(crate) struct Caller {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) generation: Arc<Generation>,
    pub(crate) worker: usize,
    outbound: Option<OutboundSender>,
    /// The warm instance of a plugin that does not wait: it has one call at a time.
    warm: Cell<Option<Box<Instance>>>,
    /// Those of a plugin that waits.
    #[allow(clippy::vec_box, reason = "an instance is large, and goes in and out with each call")]
    waiters: RefCell<Vec<Box<Instance>>>,
}

impl Caller {
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        generation: Arc<Generation>,
        worker: usize,
        outbound: Option<OutboundSender>,
    ) -> Self {
        Caller { plugin, generation, worker, outbound, warm: Cell::new(None), waiters: RefCell::default() }
    }

    /// Asks the plugin.
    pub(crate) async fn call<Q: Ask>(&self, question: Q, state: &mut Box<HookState>) -> Result<Q::Answer, CallError> {
        if self.generation.waits || self.plugin.slot().is_slow(question.hook()) {
            // Boxed, for it is large, and the future of a plain call should be small.
            Box::pin(self.call_waiting(question, state)).await
        } else {
            self.call_plain(question, state)
        }
    }

    fn call_plain<Q: Ask>(&self, mut question: Q, state: &mut Box<HookState>) -> Result<Q::Answer, CallError> {
        let hook = question.hook();
        let start = Stamp::now();
        let slot = self.plugin.slot();
        slot.breaker.admit(hook, state, Instant::now).map_err(|_| slot.paused(self.worker, hook))?;
        let mut unseen = false;
        let result = match self.plain_instance() {
            Ok(mut instance) => {
                let mut running = Running::begin(&mut instance, &mut question, state, How { start, fiber: None });
                let result = if running.has_time() {
                    let ticking = slot.clock.run(self.worker);
                    let told = running.ask(question);
                    drop(ticking);
                    unseen = running.is_unseen();
                    drop(running);
                    instance.outcome(told)
                } else {
                    drop(running);
                    Err(instance.overrun())
                };
                if self.keeps(&instance, &result) {
                    self.warm.set(Some(instance));
                }
                result
            }
            Err(cause) => Err(cause.into()),
        };
        let spent = start.elapsed();
        state.plugin_nanos += spent;
        if unseen {
            slot.spend(hook, state, deadline::unseen(spent, &slot.clock));
        }
        slot.done(self.worker, hook, state, spent, result)
    }

    async fn call_waiting<Q: Ask>(&self, mut question: Q, state: &mut Box<HookState>) -> Result<Q::Answer, CallError> {
        let hook = question.hook();
        let start = Stamp::now();
        let slot = self.plugin.slot();
        slot.breaker.admit(hook, state, Instant::now).map_err(|_| slot.paused(self.worker, hook))?;
        // One that only may run long is counted when it does: those that are short must find room whatever others do.
        let open = self.generation.waits.then(|| self.waiting().open(&slot.stats[self.worker].open)).transpose();
        let _open = match open {
            Ok(open) => open,
            Err(cause) => return Err(slot.failed(self.worker, hook, 0, Failure { cause, backtrace: String::new() })),
        };
        let (mut spent, mut unseen) = (0, false);
        let result = match self.waiting_instance() {
            Ok(mut instance) => {
                let how = How { start, fiber: Some(!self.generation.waits) };
                let mut running = Running::begin(&mut instance, &mut question, state, how);
                let result = if running.has_time() {
                    running.spent = start.elapsed();
                    let Running { instance: inside, spent: counted, .. } = &mut running;
                    let call = inside.functions.ask_waiting(question, &mut inside.store);
                    let told = timed(call, counted, || slot.clock.run(self.worker)).await;
                    (spent, unseen) = (running.spent, running.is_unseen());
                    drop(running);
                    instance.outcome(told)
                } else {
                    drop(running);
                    Err(instance.overrun())
                };
                if self.keeps(&instance, &result) {
                    self.keep_waiter(instance);
                }
                result
            }
            Err(cause) => Err(cause.into()),
        };
        if unseen {
            slot.spend(hook, state, deadline::unseen(spent, &slot.clock));
        }
        slot.done(self.worker, hook, state, spent, result)
    }

    /// Whether the instance may serve again. After a trap the guest's memory is in no known state.
    fn keeps<T>(&self, instance: &Instance, result: &Result<T, Box<Failure>>) -> bool {
        let sound = match result {
            Ok(_) => true,
            Err(failure) => matches!(failure.cause, Cause::BadAnswer(_) | Cause::Refused(_)),
        };
        sound && self.plugin.spec().isolation == Isolation::Pooled && !instance.is_worn()
    }

    fn plain_instance(&self) -> Result<Box<Instance>, Cause> {
        match self.warm.take() {
            Some(warm) => Ok(warm),
            None => self.new_instance(),
        }
    }

    fn waiting_instance(&self) -> Result<Box<Instance>, Cause> {
        match self.waiters.borrow_mut().pop() {
            Some(warm) => {
                self.waiting().cooled(1);
                Ok(warm)
            }
            // That of a plugin which does not wait, and was found to be slow.
            None => self.plain_instance(),
        }
    }

    fn keep_waiter(&self, instance: Box<Instance>) {
        let mut waiters = self.waiters.borrow_mut();
        if waiters.len() < WARM_PER_PLUGIN && self.waiting().warmed() {
            waiters.push(instance);
        }
    }

    fn new_instance(&self) -> Result<Box<Instance>, Cause> {
        let made = Instance::new(&self.generation, self.plugin.slot(), self.worker, self.outbound.clone())?;
        Ok(Box::new(made))
    }

    fn waiting(&self) -> &Waiting {
        &self.plugin.runtime().waiting()[self.worker]
    }

    /// Makes the first instance before a call waits for it. A failure shows when a call tries again.
    pub(crate) fn warm_up(&self) {
        if self.plugin.spec().isolation != Isolation::Pooled {
            return;
        }
        if !self.generation.waits {
            self.warm.set(self.plain_instance().ok());
        } else if self.waiters.borrow().is_empty()
            && let Ok(instance) = self.new_instance()
        {
            self.keep_waiter(instance);
        }
    }

    /// Drops what is kept warm.
    pub(crate) fn cool_down(&self) {
        self.warm.set(None);
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        self.waiting().cooled(waiters.len());
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.cool_down();
    }
}

/// Adds the time that polling takes, and no other, to `spent`; what `run` answers lives while it polls.
async fn timed<F: Future, R>(future: F, spent: &mut u64, run: impl Fn() -> R) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let start = Stamp::now();
        let _running = run();
        let poll = future.as_mut().poll(cx);
        *spent += start.elapsed();
        poll
    })
    .await
}
