//! How long a call may run, and when it gives way to others. What counts is the CPU time of this thread: a worker that
//! the kernel took off its core must not be punished for it.
//!
//! Nothing is asked on a call that ends before the next tick of the clock. At each tick that it does not: a call past its
//! limit ends, and one that has run for a slice lets the worker do its other work, if it is on a fiber. A plain call
//! cannot; so the hook is noted, and called on a fiber from then on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use odin_chain::{Hook, Whose};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::UpdateDeadline;

use crate::clock::Hands;
use crate::error::Cause;
use crate::slot::Slot;
use crate::stamp::Stamp;

/// A call that took no longer, in nanoseconds, is nothing to look at.
const SHORT: u64 = 500_000;
/// Every call is looked at again at the next tick.
pub(crate) const NEXT_TICK: u64 = 1;

/// The time of the running call.
pub(crate) struct Deadline {
    /// Nanoseconds that it may compute.
    limit: u64,
    /// Whose budget sets the limit; none: it is that of one call.
    pub(crate) whose: Option<Whose>,
    slice: u64,
    /// It is on a fiber, and counted among the long calls when it becomes one (true), or already.
    fiber: Option<bool>,
    /// It was counted.
    pub(crate) entered: bool,
    /// It had to end, because too many others are long.
    pub(crate) crowded: Option<Cause>,
    /// When the present stretch began: a stretch ends with the call, when it waits, and when it gives way.
    start: Stamp,
    /// The thread's CPU time at the first tick of this stretch, less what the stretch had computed by then.
    base: Option<u64>,
    /// The thread's CPU time when it was first read in this stretch: from here on nothing is assumed.
    read: u64,
    /// Nanoseconds computed in the stretches before.
    spent: u64,
    /// There once it has given way.
    turn: Option<Arc<Turn>>,
}

/// A long call's place among the long calls of its worker.
struct Turn {
    queue: Arc<Semaphore>,
    /// It is this one's turn.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    /// The thread's CPU time when it went on.
    resumed: AtomicU64,
}

impl Deadline {
    pub(crate) fn new() -> Self {
        Deadline {
            limit: 0,
            whose: None,
            slice: 0,
            fiber: None,
            entered: false,
            crowded: None,
            start: Stamp::now(),
            base: None,
            read: 0,
            spent: 0,
            turn: None,
        }
    }

    /// Begins a call at `start` that may compute for `limit` nanoseconds; on a `fiber` it can
    /// give way after each slice, and with true it is counted when it does so first.
    #[inline]
    pub(crate) fn begin_call(
        &mut self,
        start: Stamp,
        (limit, whose): (u64, Option<Whose>),
        slice: u64,
        fiber: Option<bool>,
    ) {
        (self.limit, self.whose, self.slice, self.fiber) = (limit, whose, slice, fiber);
        (self.start, self.base, self.spent) = (start, None, 0);
        if self.crowded.is_some() {
            self.crowded = None;
        }
    }

    /// There is time to make the call.
    #[inline]
    pub(crate) fn has_time(&self) -> bool {
        self.limit > 0
    }

    /// The call has met no tick and has not waited: who made it knows how long it took, and [`unseen`] what that means.
    #[inline]
    pub(crate) fn is_unseen(&self) -> bool {
        self.base.is_none() && self.spent == 0 && self.turn.is_none()
    }

    /// The call ended, and was seen: answers how many nanoseconds it computed.
    #[cold]
    pub(crate) fn end_call(&mut self, hands: &Hands) -> u64 {
        self.leave_the_queue();
        self.spent + self.stretch(hands)
    }

    fn leave_the_queue(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.base = self.base.or(Some(turn.resumed.load(Relaxed)));
            turn.release();
        }
    }

    /// The call waits for something: the time until it goes on is not its own. True when it has computed for as long as it
    /// may; many short stretches between waits would meet no tick.
    pub(crate) fn pause(&mut self, hands: &Hands) -> bool {
        self.spent += self.stretch(hands);
        if let Some(turn) = &self.turn {
            turn.release();
        }
        self.spent >= self.limit
    }

    /// What it waited for is there.
    pub(crate) fn resume(&mut self) {
        (self.start, self.base, self.turn) = (Stamp::now(), None, None);
    }

    /// What the present stretch has computed so far, in nanoseconds.
    fn stretch(&self, hands: &Hands) -> u64 {
        match self.base {
            Some(base) => thread_cpu_time().saturating_sub(base),
            None => unseen(self.start.elapsed(), hands),
        }
    }

    /// The running call of this hook has met a tick: whether it ends, goes on, or gives way.
    pub(crate) fn on_tick(&mut self, slot: &Slot, worker: usize, hook: Hook) -> UpdateDeadline {
        let cpu = thread_cpu_time();
        let stretch = self.at_tick(cpu, &slot.clock);
        // What a stretch computed before its first tick is not known; a short call on a worker without a core must not
        // give way for it, nor be taken for one that runs long.
        let sure = cpu.saturating_sub(self.read);
        if sure >= self.slice {
            slot.clock.hurry();
            slot.note_slow(hook);
        } else if stretch >= SHORT {
            slot.clock.glance();
        }
        if self.spent + stretch >= self.limit {
            return UpdateDeadline::Interrupt;
        }
        // Half a slice too early is as near as half a slice too late.
        let sliced = sure >= self.slice / 2;
        if !(sliced && self.fiber.is_some() && hook.has_exchange()) {
            return UpdateDeadline::Continue(NEXT_TICK);
        }
        if self.fiber == Some(true) && !self.entered {
            if let Err(crowded) = slot.waiting[worker].enter(&slot.stats[worker].open) {
                self.crowded = Some(crowded);
                return UpdateDeadline::Interrupt;
            }
            self.entered = true;
        }
        let turn = self.give_way(stretch, &slot.clock, worker);
        UpdateDeadline::YieldCustom(NEXT_TICK, Box::pin(turn))
    }

    /// At a tick, with the thread's CPU time; answers what the stretch has computed so far.
    fn at_tick(&mut self, cpu: u64, hands: &Hands) -> u64 {
        let base = match (self.base, &self.turn) {
            (Some(base), _) => base,
            (None, Some(turn)) => {
                self.read = turn.resumed.load(Relaxed);
                self.read
            }
            (None, None) => {
                self.read = cpu;
                cpu.saturating_sub(unseen(self.start.elapsed(), hands))
            }
        };
        self.base = Some(base);
        cpu.saturating_sub(base)
    }

    /// Ends the stretch; the future is ready when it is this call's turn again.
    fn give_way(&mut self, stretch: u64, hands: &Hands, worker: usize) -> impl Future<Output = ()> + use<> {
        self.spent += stretch;
        self.base = None;
        let new =
            || Arc::new(Turn { queue: hands.queue(worker), permit: Mutex::default(), resumed: AtomicU64::new(0) });
        let turn = self.turn.get_or_insert_with(new).clone();
        async move {
            turn.release();
            // It is closed by nobody; if it were, the call would only not wait for others.
            let permit = turn.queue.clone().acquire_owned().await.ok();
            // Behind everything that is due now, and behind a look at what has arrived.
            tokio::task::yield_now().await;
            *turn.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
            turn.resumed.store(thread_cpu_time(), Relaxed);
        }
    }
}

impl Turn {
    fn release(&self) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A stretch that met no tick computed for at most the time between two, however long the worker was off its core.
#[inline]
pub(crate) fn unseen(elapsed: u64, hands: &Hands) -> u64 {
    if elapsed < SHORT { elapsed } else { elapsed.min(nanos(hands.tick())) }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this thread in nanoseconds.
fn thread_cpu_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const MS: u64 = 1_000_000;

    fn began(limit: u64) -> (Deadline, Clock) {
        let mut deadline = Deadline::new();
        deadline.begin_call(Stamp::now(), (limit, None), MS, None);
        (deadline, Clock::start(|| {}, 1).unwrap())
    }

    #[test]
    fn a_call_ends_when_it_has_computed_for_its_time() {
        let (mut deadline, clock) = began(10 * MS);
        assert!(deadline.at_tick(100 * MS, clock.hands()) <= 4 * MS);
        assert!((4 * MS..=8 * MS).contains(&deadline.at_tick(104 * MS, clock.hands())));
        assert!(deadline.at_tick(110 * MS, clock.hands()) >= 10 * MS);
    }

    #[test]
    fn a_worker_without_a_core_is_not_punished() {
        let (mut deadline, clock) = began(10 * MS);
        // Between the start and the first tick the worker had no core for long: at most one tick of that counts.
        std::thread::sleep(Duration::from_millis(30));
        assert!(deadline.at_tick(100 * MS, clock.hands()) <= 4 * MS);
        for _ in 0..50 {
            assert!(deadline.at_tick(104 * MS, clock.hands()) <= 8 * MS);
        }
        // And nothing of that makes it a call that ran long.
        assert_eq!(104 * MS - deadline.read, 4 * MS);
    }

    #[test]
    fn waiting_neither_counts_nor_gives_new_time() {
        let (mut deadline, clock) = began(10 * MS);
        deadline.spent = 9 * MS;
        deadline.pause(clock.hands());
        std::thread::sleep(Duration::from_millis(5));
        deadline.resume();
        assert!((9 * MS..10 * MS).contains(&deadline.spent), "{}", deadline.spent);
        deadline.at_tick(100 * MS, clock.hands());
        assert!(deadline.spent + deadline.at_tick(102 * MS, clock.hands()) >= 11 * MS);
    }

    #[test]
    fn thread_time_advances_with_work() {
        let before = thread_cpu_time();
        let mut sum = 0u64;
        while thread_cpu_time() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
