//! What one hook call costs: nothing done, a field read and one set, an endpoint picked, and all that in a new instance.
//! Must measure what a worker does, through the public API, and nothing else.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark; criterion's macros write undocumented functions")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Duration;

use common::*;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use odin_runtime::{HookState, Isolation, PluginSpec};
use rustix::time::{ClockId, clock_gettime};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time of this thread: the same on a busy machine as on an idle one, or nearly so.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
    }
    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// An exchange with ten request fields.
fn ten_fields() -> Box<HookState> {
    let mut state = exchange();
    let headers = &mut state.request.as_mut().unwrap().headers;
    for name in
        ["accept", "accept-encoding", "accept-language", "cookie", "referer", "cache-control", "x-a", "x-b", "x-c"]
    {
        headers.insert(name, "some value of a usual length".parse().unwrap());
    }
    state.max_head_bytes = 64 << 10;
    state
}

fn hook_call(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("hook_call");
    for (name, code) in [("noop", noop()), ("get_set", get_set())] {
        let pin = worker(PluginSpec::new("bench"), &guest(&["request-headers"], &code)).pin();
        let mut state = ten_fields();
        group.bench_function(name, |b| b.iter(|| black_box(pin.request_headers(&mut state).is_ok())));
    }
    let pin = worker(PluginSpec::new("bench"), &guest(&["balancer"], &round_robin())).pin();
    let (mut state, cluster) = (ten_fields(), Cluster::of(4));
    group.bench_function("pick", |b| b.iter(|| black_box(pin.pick(&mut state, cluster.clone()).is_ok())));
    group.finish();
}

fn instance(c: &mut Criterion<CpuTime>) {
    let mut spec = PluginSpec::new("bench");
    spec.isolation = Isolation::Fresh;
    let pin = worker(spec, &guest(&["request-headers"], &get_set())).pin();
    let mut state = ten_fields();
    c.bench_function("instance/fresh", |b| b.iter(|| black_box(pin.request_headers(&mut state).is_ok())));
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = hook_call, instance
}
criterion_main!(benches);
