//! What one hook call costs: nothing done, a field read and one set, an endpoint picked, ten plugins one after the
//! other, pieces of a body, a new instance, and a call on the side that may wait.
//! Must measure what a worker does, through the public API, and nothing else.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark; criterion's macros write undocumented functions")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "cpu_time/mod.rs"]
mod cpu_time;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::*;
use cpu_time::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use odin_chain::{CpuBudget, Hook, HookState};
use odin_runtime::{Isolation, Plugin, Runtime, RuntimeOptions, WorkerPlugin};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    // One exchange stands for millions.
    state.cpu = CpuBudget::new(Duration::from_secs(1 << 30), Instant::now());
    state
}

fn hook_call(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("hook_call");
    for (name, code) in [("noop", noop()), ("get_set", get_set()), ("has_set", has_set())] {
        let pin = worker_of("request-headers", &code).pin();
        let mut state = ten_fields();
        group.bench_function(name, |b| b.iter(|| black_box(now(pin.decide(Hook::RequestHeaders, &mut state)).is_ok())));
    }
    let pin = worker_of("balancer", &round_robin()).pin();
    let (mut state, cluster) = (ten_fields(), Cluster::of(4));
    group.bench_function("pick", |b| b.iter(|| black_box(now(pin.pick(&mut state, cluster.clone())).is_ok())));
    group.finish();
}

/// What the plugin `headers` does to a request: looks for a field and sets one.
fn has_set() -> String {
    on_request(
        "(call $reset) (drop (call $has (i32.const 1024) (i32.const 10)))
         (call $set (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))",
    )
}

/// Ten plugins like `headers`, each with its request hook and its response hook: one exchange.
fn chain(c: &mut Criterion<CpuTime>) {
    let set_response =
        "(call $set-response (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))";
    let wasm = guest(&["request-headers", "response-headers"], &(has_set() + &on_response(set_response)));
    let runtime = Runtime::new(RuntimeOptions { max_plugins: 10, ..RuntimeOptions::default() }).unwrap();
    let pins: Vec<_> = (0..10)
        .map(|n| WorkerPlugin::new(Plugin::load(&runtime, spec(&n.to_string()), &wasm).unwrap(), 0, None).pin())
        .collect();
    let mut state = ten_fields();
    state.response = answered().response;
    state.response_open = true;
    c.bench_function("chain/ten", |b| {
        b.iter(|| {
            for pin in &pins {
                black_box(now(pin.decide(Hook::RequestHeaders, &mut state)).is_ok());
            }
            for pin in pins.iter().rev() {
                black_box(now(pin.decide(Hook::ResponseHeaders, &mut state)).is_ok());
            }
        });
    });
}

/// A body hook that passes pieces of 64 KiB, without a look and with one.
fn body(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("body");
    let read = "(call $reset) (call $read (i32.const 0) (local.get $length) (i32.const 64))";
    for (name, code) in [("unread", ""), ("read", read)] {
        let pin = worker_of("request-body", &on_body(code)).pin();
        let mut state = ten_fields();
        state.piece = vec![7; 64 << 10].into();
        group.bench_function(name, |b| {
            b.iter(|| black_box(now(pin.piece(Hook::RequestBody, &mut state, false)).is_ok()))
        });
    }
    group.finish();
}

fn instance(c: &mut Criterion<CpuTime>) {
    let mut spec = spec("bench");
    spec.isolation = Isolation::Fresh;
    let pin = worker(spec, &guest(&["request-headers"], &get_set())).pin();
    let mut state = ten_fields();
    c.bench_function("instance/fresh", |b| {
        b.iter(|| black_box(now(pin.decide(Hook::RequestHeaders, &mut state)).is_ok()))
    });
}

/// A plugin that imports `outbound` and does not call: what the other side costs.
fn waiting(c: &mut Criterion<CpuTime>) {
    let mut spec = spec("bench");
    spec.grants.outbound.push("auth".to_owned());
    let send = format!(
        "(if (i32.eqz (call $has (i32.const 1024) (i32.const 10))) (then (call $send {})))",
        "(i32.const 0)".repeat(16)
    );
    let pin = worker(spec, &guest(&["request-headers"], &on_request(&send))).pin();
    let mut state = ten_fields();
    c.bench_function("waiting/has", |b| {
        b.iter(|| black_box(now(pin.decide(Hook::RequestHeaders, &mut state)).is_ok()))
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = hook_call, chain, body, instance, waiting
}
criterion_main!(benches);
