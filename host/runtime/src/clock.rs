//! The clock of the engines: a thread that moves their epochs on while guests run, and sleeps while none does. A call that
//! ends between two ticks pays for it with two stores to a line of its own worker.
//!
//! A tick wakes a thread, which costs all requests (docs/decisions/0003-tick.md). So it ticks every 4 ms, and every
//! millisecond once a call has run for so long that it matters.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use tokio::sync::Semaphore;

/// Between two ticks while long calls run: an overrun ends so much later than its limit at most, and a little.
const FAST: Duration = Duration::from_millis(1);
/// Between two ticks otherwise.
const CALM: Duration = Duration::from_millis(4);
/// After a call that may be long it is fast for so many ticks.
const GLANCE: u32 = 8;
/// After a long call it is fast for so many ticks: where one is, there are more.
const HURRY: u32 = 1_000;
/// A call is looked for at the calm tick only if its limit leaves time to become fast.
const EAGER: Duration = Duration::from_millis(2);
/// It sleeps after so many ticks in which no guest ran.
const IDLE: u32 = 3;

/// See the module. Its thread ends with it.
pub(crate) struct Clock {
    hands: Arc<Hands>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the callers share.
pub(crate) struct Hands {
    /// The thread sleeps: whoever runs a guest wakes it.
    asleep: AtomicBool,
    /// For so many ticks it is to be fast.
    hurry: AtomicU32,
    /// Always fast, because a plugin has so little time that the calm tick would be too late.
    eager: AtomicBool,
    is_fast: AtomicBool,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
    workers: Box<[Worker]>,
    /// Guests that run on other threads than the workers'.
    others: AtomicUsize,
}

/// One worker's side of it.
#[repr(align(128))]
struct Worker {
    /// Grows when a guest begins to run, and when it ends: odd while one runs. Written by this worker alone.
    turns: AtomicU64,
    /// Long calls go on one at a time.
    queue: Arc<Semaphore>,
}

/// A guest runs for as long as this lives.
pub(crate) struct Running<'a>(&'a Hands, usize);

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        match self.0.workers.get(self.1) {
            Some(worker) => worker.step(),
            None => drop(self.0.others.fetch_sub(1, Relaxed)),
        }
    }
}

impl Worker {
    #[inline]
    fn step(&self) {
        self.turns.store(self.turns.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

impl Hands {
    /// A guest begins to run on this worker; any number past the workers' stands for another thread.
    #[inline]
    pub(crate) fn run(&self, worker: usize) -> Running<'_> {
        match self.workers.get(worker) {
            Some(worker) => worker.step(),
            None => drop(self.others.fetch_add(1, Relaxed)),
        }
        if self.asleep.load(Relaxed) {
            self.wake();
        }
        Running(self, worker)
    }

    /// A call may be long: it has met a tick, and the worker had a core or not.
    pub(crate) fn glance(&self) {
        self.be_fast(GLANCE);
    }

    /// A call is long.
    pub(crate) fn hurry(&self) {
        self.be_fast(HURRY);
    }

    fn be_fast(&self, ticks: u32) {
        if self.hurry.load(Relaxed) < ticks {
            self.hurry.store(ticks, Relaxed);
        }
        if !self.is_fast.load(Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// A plugin is loaded whose calls have so much time.
    pub(crate) fn serve(&self, limit: Duration) {
        if limit < EAGER {
            self.eager.store(true, Relaxed);
        }
    }

    /// The time between two ticks, now.
    pub(crate) fn tick(&self) -> Duration {
        if self.is_fast.load(Relaxed) { FAST } else { CALM }
    }

    /// Where long calls of this worker wait for their turn.
    pub(crate) fn queue(&self, worker: usize) -> Arc<Semaphore> {
        self.workers.get(worker).map_or_else(|| Arc::new(Semaphore::new(1)), |worker| worker.queue.clone())
    }

    #[cold]
    fn wake(&self) {
        if self.asleep.swap(false, Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// What tells whether a guest ran since the last look.
    fn turns(&self) -> (u64, bool) {
        let mut sum = 0u64;
        let mut runs = self.others.load(Relaxed) > 0;
        for worker in &self.workers {
            let turns = worker.turns.load(Relaxed);
            sum = sum.wrapping_add(turns);
            runs |= turns % 2 == 1;
        }
        (sum, runs)
    }
}

impl Clock {
    /// `tick` moves the epochs of the engines on.
    pub(crate) fn start(tick: impl Fn() + Send + 'static, workers: usize) -> std::io::Result<Clock> {
        let worker = || Worker { turns: AtomicU64::new(0), queue: Arc::new(Semaphore::new(1)) };
        let hands = Arc::new(Hands {
            asleep: AtomicBool::new(false),
            hurry: AtomicU32::new(0),
            eager: AtomicBool::new(false),
            is_fast: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: OnceLock::new(),
            workers: (0..workers).map(|_| worker()).collect(),
            others: AtomicUsize::new(0),
        });
        let shared = hands.clone();
        let ticking = move || run(&shared, tick);
        let thread = thread::Builder::new().name("odin-epoch".to_owned()).spawn(ticking)?;
        // Nobody else sets it.
        let _ = hands.thread.set(thread.thread().clone());
        Ok(Clock { hands, thread: Some(thread) })
    }

    pub(crate) fn hands(&self) -> &Arc<Hands> {
        &self.hands
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.hands.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread cannot panic, and there is nobody to tell if it did.
            let _ = thread.join();
        }
    }
}

fn run(hands: &Hands, tick: impl Fn()) {
    let (mut before, mut idle, mut fast) = (0, 0, 0u32);
    while !hands.stop.load(Relaxed) {
        // Written only when something changes: every call reads this line.
        let hurry = hands.hurry.load(Relaxed);
        if hurry > 0 {
            hands.hurry.store(0, Relaxed);
            fast = fast.max(hurry);
        }
        let is_fast = fast > 0 || hands.eager.load(Relaxed);
        fast = fast.saturating_sub(1);
        if is_fast != hands.is_fast.load(Relaxed) {
            hands.is_fast.store(is_fast, Relaxed);
        }
        thread::park_timeout(if is_fast { FAST } else { CALM });
        tick();
        let (turns, runs) = hands.turns();
        idle = if runs || turns != before { 0 } else { idle + 1 };
        before = turns;
        if idle >= IDLE {
            sleep(hands, before);
            idle = 0;
        }
    }
}

/// Sleeps until a guest runs. One that began before it could see that the thread sleeps is seen in the look that follows:
/// a store becomes visible to other cores within far less than a tick.
fn sleep(hands: &Hands, before: u64) {
    hands.asleep.store(true, Relaxed);
    thread::park_timeout(FAST);
    if hands.turns() != (before, false) {
        hands.asleep.store(false, Relaxed);
    }
    while hands.asleep.load(Relaxed) && !hands.stop.load(Relaxed) {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::start(|| {}, 2).unwrap()
    }

    fn until(what: &str, is: impl Fn() -> bool) {
        let start = std::time::Instant::now();
        while !is() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn it_sleeps_while_no_guest_runs_and_a_guest_wakes_it() {
        let clock = clock();
        let hands = clock.hands();
        let asleep = || hands.asleep.load(Relaxed);
        for worker in [0, 1, 7] {
            until("it never sleeps", asleep);
            let running = hands.run(worker);
            assert!(!asleep());
            thread::sleep(CALM * (IDLE + 2));
            assert!(!asleep(), "a guest still runs");
            drop(running);
        }
        until("it never sleeps again", asleep);
    }

    #[test]
    fn a_long_call_makes_it_fast_and_so_does_a_plugin_with_little_time() {
        let clock = clock();
        let hands = clock.hands();
        let _running = hands.run(0);
        assert_eq!(hands.tick(), CALM);
        hands.hurry();
        until("it is not fast", || hands.tick() == FAST);
        let other = self::clock();
        other.hands().serve(FAST);
        let _running = other.hands().run(0);
        until("it is not fast", || other.hands().tick() == FAST);
    }
}
