//! What a pick costs, in CPU time: by the built-in turn, by lb_rr and by lb_random, of 10, 500 and 5,000 endpoints, of which
//! all are fine, one is dead or half are dead, of one weight or of many. docs/benchmarks.md has the table.
//! Must go through the public API, and through the plugins as they are shipped: `make plugins` builds them.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark; criterion's macros write undocumented functions")]

#[path = "../../runtime/benches/cpu_time/mod.rs"]
mod cpu_time;

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cpu_time::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Request};
use odin_chain::{ConnectionInfo, HookState};
use odin_proxy::{Cluster, Protocol};
use odin_runtime::{Capability, PinnedPlugin, Plugin, PluginSpec, Runtime, RuntimeOptions, WorkerPlugin};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A cluster; an endpoint of which is dead when `dead` says so.
fn cluster(len: usize, weighted: bool, dead: impl Fn(usize) -> bool) -> Arc<Cluster> {
    let endpoint = |index: usize| {
        let address = SocketAddr::from(([10, 0, (index / 250) as u8, (index % 250) as u8], 80));
        (address, if weighted { 1 + (index % 7) as u32 } else { 1 })
    };
    let cluster = Arc::new(Cluster::new("bench", (0..len).map(endpoint), None, Protocol::Http1, 1));
    for index in (0..len).filter(|index| dead(*index)) {
        // Six failures in a row, each of which began after the one before: out for longer than this takes.
        (0..6).for_each(|_| cluster.connect_failed(index, cluster.begin(index, 0)));
    }
    cluster
}

fn plugin(name: &str) -> Option<std::rc::Rc<PinnedPlugin>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/target/wasm32-unknown-unknown/release");
    let wasm = std::fs::read(folder.join(format!("{name}.wasm"))).ok()?;
    let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
    let mut spec = PluginSpec::new(name);
    spec.grants.capabilities.insert(Capability::Random);
    Some(WorkerPlugin::new(Plugin::load(&runtime, spec, &wasm).unwrap(), 0, None).pin())
}

fn state() -> Box<HookState> {
    let address: SocketAddr = "192.0.2.1:50000".parse().unwrap();
    let mut state = HookState::new(Arc::new(ConnectionInfo::new(address, address, "web".into())), 64 << 10);
    state.authority = HeaderValue::from_static("example.com");
    state.request = Some(Box::new(Request::get("/path").body(()).unwrap().into_parts().0));
    state
}

/// The pick of a plugin that does not wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a pick waits for nothing"),
    }
}

fn pick(c: &mut Criterion<CpuTime>) {
    let balancers = ["lb_rr", "lb_random"].map(|name| (name, plugin(name)));
    if balancers.iter().any(|(_, plugin)| plugin.is_none()) {
        eprintln!("plugins are not built, so only the built-in turn is measured: make plugins");
    }
    let mut group = c.benchmark_group("pick");
    group.sample_size(10).warm_up_time(std::time::Duration::from_millis(100));
    group.measurement_time(std::time::Duration::from_millis(300));
    for len in [10, 500, 5_000] {
        for (health, every) in [("healthy", usize::MAX), ("one dead", len), ("half dead", 2)] {
            for (weights, weighted) in [("uniform", false), ("weighted", true)] {
                let name = |balancer: &str| format!("{balancer}/{len}/{health}/{weights}");
                let cluster = cluster(len, weighted, |index| every <= len && index % every == 1);
                group.bench_function(name("built-in"), |b| {
                    b.iter(|| {
                        cluster.refresh();
                        black_box(odin_proxy::take_turn(&cluster)).unwrap()
                    })
                });
                let (candidates, mut state) = (odin_proxy::candidates(&cluster), state());
                for (balancer, plugin) in &balancers {
                    let Some(plugin) = plugin else { continue };
                    group.bench_function(name(balancer), |b| {
                        b.iter(|| {
                            cluster.refresh();
                            black_box(now(plugin.pick(&mut state, candidates.clone()))).unwrap().unwrap()
                        });
                    });
                }
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = pick
}
criterion_main!(benches);
