//! What hooks that never return cost the others on their worker. Everything runs on one thread, as on a worker, and is
//! measured in that thread's CPU time: what other programs do meanwhile does not count.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::*;
use odin_chain::{CpuBudget, Hook};
use odin_runtime::{BreakerPolicy, PluginSpec, WorkerPlugin};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, LocalOptions};

/// Connections that send one request after another.
const CLIENTS: usize = 64;
/// What any other request costs the worker.
const WORK: Duration = Duration::from_micros(60);
const REQUESTS: usize = 8_000;

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

/// Times of the requests that meet no loop, sorted, of which one in `bad` does (0: none).
fn served(worker: &Rc<WorkerPlugin>, bad: usize) -> Vec<Duration> {
    let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
    let (times, asked) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(0)));
    let client = || {
        let (worker, times, asked) = (worker.clone(), times.clone(), asked.clone());
        async move {
            while times.borrow().len() < REQUESTS {
                let number = asked.replace_with(|asked| *asked + 1);
                let arrived = cpu();
                // It arrives behind what is there already.
                tokio::task::yield_now().await;
                let mut state = exchange();
                if bad > 0 && number % bad == 0 {
                    state.request.as_mut().unwrap().headers.clear();
                    state.cpu = CpuBudget::new(Duration::from_millis(50), Instant::now());
                    // Ended at its time, or before, when too many loop already.
                    worker.pin().decide(Hook::RequestHeaders, &mut state).await.unwrap_err();
                    continue;
                }
                worker.pin().decide(Hook::RequestHeaders, &mut state).await.unwrap();
                let start = cpu();
                while cpu() - start < WORK {}
                times.borrow_mut().push(cpu() - arrived);
            }
        }
    };
    runtime.block_on(async {
        let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::task::spawn_local(client())).collect();
        for client in clients {
            client.await.unwrap();
        }
    });
    let mut times = times.take();
    times.sort();
    times
}

/// The breaker would end the attack.
fn never_paused() -> PluginSpec {
    let breaker = BreakerPolicy { percent: 0, ..BreakerPolicy::default() };
    PluginSpec { breaker, ..spec("test") }
}

#[test]
fn one_request_in_a_hundred_that_never_returns_costs_the_others_less_than_three_times_their_time() {
    let loops = on_request("(if (i32.eqz (call $has (i32.const 1024) (i32.const 10))) (then (loop $l (br $l))))");
    let worker = Rc::new(common::worker(never_paused(), &guest(&["request-headers"], &loops)));
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    // The machine may keep the clock's thread from its ticks: then slices are longer than they should be.
    let mut seen = Vec::new();
    let fair = (0..5).any(|_| {
        let calm = p99(&served(&worker, 0));
        let with = p99(&served(&worker, 100));
        seen.push((calm, with));
        with <= 3 * calm
    });
    println!("p99 without and with: {seen:?}");
    assert!(fair, "p99 without and with: {seen:?}");
}
