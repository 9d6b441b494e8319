//! How long a call may run. The engine's clock is wall time, but a worker that the kernel took off its core must not
//! be punished for it: past the first deadline what counts is this thread's own CPU time.
//! Must cost nothing on a call that ends in time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

use crate::runtime::TICK;
use crate::store::Ctx;

/// The time limit of an instance's calls, and how the running one stands to it.
pub(crate) struct Deadline {
    limit: Duration,
    /// The limit in ticks: computed once, for it is asked on every call.
    ticks: u64,
    /// The thread's CPU time when the first deadline passed.
    overdue_since: Option<Duration>,
}

impl Deadline {
    pub(crate) fn new(limit: Duration) -> Self {
        Deadline { limit, ticks: ticks(limit), overdue_since: None }
    }

    /// Begins a call; answers how many ticks to give it at first.
    pub(crate) fn begin_call(&mut self) -> u64 {
        self.overdue_since = None;
        self.ticks
    }

    /// The limit of the call.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    fn passed(&mut self, cpu_now: Duration) -> UpdateDeadline {
        match self.overdue_since {
            Some(since) if cpu_now.saturating_sub(since) * 2 >= self.limit => UpdateDeadline::Interrupt,
            Some(_) => UpdateDeadline::Continue(self.ticks),
            None => {
                self.overdue_since = Some(cpu_now);
                UpdateDeadline::Continue(self.ticks)
            }
        }
    }
}

/// The engine calls this when a store's deadline has passed.
pub(crate) fn on_deadline(mut store: Ctx<'_>) -> wasmtime::Result<UpdateDeadline> {
    Ok(store.data_mut().deadline.passed(thread_cpu_time()))
}

/// One more than the limit: the first tick may come at once.
fn ticks(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX >> 1).min(u64::MAX >> 1) + 1
}

fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_call_that_burns_its_time_is_interrupted() {
        let mut deadline = Deadline::new(10 * TICK);
        assert_eq!(deadline.begin_call(), 11);
        assert!(matches!(deadline.passed(100 * TICK), UpdateDeadline::Continue(11)));
        assert!(matches!(deadline.passed(105 * TICK), UpdateDeadline::Interrupt));
    }

    #[test]
    fn a_worker_without_a_core_is_not_punished() {
        let mut deadline = Deadline::new(10 * MS);
        deadline.begin_call();
        assert!(matches!(deadline.passed(100 * MS), UpdateDeadline::Continue(_)));
        for _ in 0..50 {
            assert!(matches!(deadline.passed(104 * MS), UpdateDeadline::Continue(_)));
        }
        assert!(matches!(deadline.passed(106 * MS), UpdateDeadline::Interrupt));
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
