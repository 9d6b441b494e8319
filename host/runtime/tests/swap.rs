//! Swaps, generations, and what belongs to the slot rather than to an instance.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use common::*;
use odin_chain::{Hook, Hooks};
use odin_runtime::{CustomMetric, CustomValue, LoadError, Plugin, Swap, WorkerPlugin};

fn balancer(index: u32) -> Vec<u8> {
    guest(&["balancer"], &always(index))
}

fn pick(worker: &WorkerPlugin) -> u32 {
    now(worker.pin().pick(&mut exchange(), Cluster::of(8))).unwrap().unwrap()
}

#[test]
fn a_swap_takes_effect_on_the_next_pin_and_an_exchange_keeps_its_own() {
    let plugin = load(&balancer(1)).unwrap();
    let worker = WorkerPlugin::new(plugin.clone(), 0, None);
    let before = worker.pin();
    assert_eq!(plugin.swap(&balancer(2)).unwrap(), Swap::Swapped { generation: 2 });
    assert_eq!(pick(&worker), 2);
    assert_eq!(now(before.pick(&mut exchange(), Cluster::of(8))).unwrap(), Some(1));
    worker.refresh();
    assert_eq!(now(before.pick(&mut exchange(), Cluster::of(8))).unwrap(), Some(1));
    assert_eq!((before.generation(), worker.pin().generation()), (1, 2));
    let status = plugin.status();
    assert_eq!((status.generation, status.swaps, status.failed_swaps), (2, 1, 0));
}

#[test]
fn the_same_file_is_no_swap() {
    let plugin = load(&balancer(1)).unwrap();
    assert_eq!(plugin.swap(&balancer(1)).unwrap(), Swap::Unchanged { generation: 1 });
    assert_eq!(plugin.status().swaps, 0);
}

#[test]
fn a_failed_swap_keeps_the_old_one_and_the_reason() {
    let plugin = load(&balancer(1)).unwrap();
    let worker = WorkerPlugin::new(plugin.clone(), 0, None);
    assert!(matches!(plugin.swap(b"hello"), Err(LoadError::NotWasm { .. })));
    let status = plugin.status();
    assert_eq!(status.last_error.as_deref(), Some("not a WebAssembly file: it begins with \"hello\""));
    assert_eq!((status.generation, status.failed_swaps), (1, 1));
    assert_eq!(pick(&worker), 1);

    let refuses = configure("unreachable") + &always(2);
    assert!(plugin.swap(&guest(&["lifecycle", "balancer"], &refuses)).is_err());
    assert_eq!(pick(&worker), 1);

    plugin.swap(&balancer(3)).unwrap();
    assert_eq!(plugin.status().last_error, None);
    assert_eq!(pick(&worker), 3);
}

#[test]
fn a_file_is_not_swapped_in_where_its_hooks_do_not_fit() {
    let plugin = load(&balancer(1)).unwrap();
    let picks = |hooks: Hooks| if hooks.has(Hook::Balancer) { Ok(()) } else { Err("it cannot pick".to_owned()) };
    let error =
        plugin.prepare(&guest(&["request-headers"], &noop())).and_then(|new| plugin.publish(new, picks)).unwrap_err();
    assert_eq!(error, LoadError::Unfit("it cannot pick".to_owned()));
    assert_eq!(plugin.status().last_error.as_deref(), Some("it cannot pick"));
    let both = guest(&["balancer", "request-headers"], &(always(2) + &noop()));
    plugin.prepare(&both).and_then(|new| plugin.publish(new, picks)).unwrap();
    assert!(plugin.hooks().has(Hook::RequestHeaders));
}

#[test]
fn old_generations_go_when_nobody_keeps_them() {
    let plugin = load(&balancer(0)).unwrap();
    let worker = WorkerPlugin::new(plugin.clone(), 0, None);
    let kept = worker.pin();
    // The pool could not hold so many, were they not given back.
    let many = POOL + 1;
    for n in 1..=many {
        plugin.swap(&balancer(n)).unwrap();
        assert_eq!(now(worker.pin().pick(&mut exchange(), Cluster::of(many + 1))).unwrap(), Some(n));
        worker.refresh();
    }
    assert_eq!(now(kept.pick(&mut exchange(), Cluster::of(1))).unwrap(), Some(0));
}

#[test]
fn many_exchanges_that_keep_old_generations_do_not_exhaust_the_pool() {
    let plugin = load(&balancer(0)).unwrap();
    let worker = WorkerPlugin::new(plugin.clone(), 0, None);
    let mut kept = Vec::new();
    for n in 1..=POOL + 1 {
        kept.push(worker.pin());
        assert_eq!(now(kept[kept.len() - 1].pick(&mut exchange(), Cluster::of(1000))).unwrap(), Some(n - 1));
        plugin.swap(&balancer(n)).unwrap();
        worker.refresh();
    }
    for (n, pin) in (0..).zip(&kept) {
        assert_eq!(now(pin.pick(&mut exchange(), Cluster::of(1000))).unwrap(), Some(n));
        worker.refresh();
    }
}

#[test]
fn round_robin_is_strict_across_workers_and_swaps() {
    let plugin = load(&guest(&["balancer"], &round_robin())).unwrap();
    // Another file that takes the same turns.
    let other = guest(&["balancer"], &format!("(func) {}", round_robin()));
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let plugin = plugin.clone();
            thread::spawn(move || {
                let worker = WorkerPlugin::new(plugin, number, None);
                let cluster = Cluster::of(20_000);
                let turn = |_| now(worker.pin().pick(&mut exchange(), cluster.clone())).unwrap().unwrap();
                (0..10_000).map(turn).collect::<Vec<u32>>()
            })
        })
        .collect();
    plugin.swap(&other).unwrap();
    let turns: Vec<u32> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let distinct: HashSet<u32> = turns.iter().copied().collect();
    assert_eq!((turns.len(), distinct.len()), (20_000, 20_000));
    assert_eq!(plugin.stats().hook(odin_chain::Hook::Balancer).calls, 20_000);
}

#[test]
fn a_metric_is_summed_over_workers_and_outlives_instances() {
    let hook = on_request(
        "(global.set $m (call $metric (i32.const 2000) (i32.const 10)))
         (call $count (global.get $m) (i64.const 2))
         (call $drop-metric (global.get $m))",
    );
    let code = format!("(data (i32.const 2000) \"hits_total\") (global $m (mut i32) (i32.const 0)) {hook}");
    let plugin = load(&guest(&["request-headers"], &code)).unwrap();
    for number in 0..2 {
        let worker = WorkerPlugin::new(plugin.clone(), number, None);
        for _ in 0..5000 {
            now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
        }
    }
    let expected = CustomMetric { name: "hits_total".to_owned(), value: CustomValue::Counter(20_000) };
    assert_eq!(plugin.stats().custom, [expected]);
}

#[test]
fn plugins_and_runtimes_cross_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<odin_runtime::Runtime>();
    shared::<Plugin>();
    shared::<LoadError>();
    shared::<odin_runtime::CallError>();
}

#[test]
fn a_runtime_ends_with_its_plugins() {
    let runtime = runtime();
    let plugin = Plugin::load(&runtime, spec("test"), &balancer(1)).unwrap();
    let weak = Arc::downgrade(&runtime);
    drop(runtime);
    assert!(weak.upgrade().is_some());
    drop(plugin);
    assert!(weak.upgrade().is_none());
}
