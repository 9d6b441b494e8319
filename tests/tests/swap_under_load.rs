//! One thousand swaps while sixty clients send requests: none fails, and memory does not grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use odin_tests::{HttpBackend, Odin, PluginEntry, Protocol, body, paths, until};
use tokio::task::JoinSet;

const CLIENTS: usize = 60;
const SWAPS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_thousand_swaps_under_load_fail_no_request_and_leak_no_memory() {
    let answering = |name: &'static str| {
        HttpBackend::start(Protocol::Http1, move |_| async move { http::Response::new(body::full(name)) })
    };
    let (first, last) = (answering("first").await, answering("last").await);
    let balancer = PluginEntry::new("lb_first").called("chooser");
    let odin = Odin::builder().workers(2).top("access-log.enabled = false").balancer(balancer);
    let odin = odin.target(&first).target(&last).start().await;

    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = odin.connect().await;
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let response = client.get("/").await.has_status(200);
                assert!(response.text() == "first" || response.text() == "last", "{response:?}");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    let guests = [("last", paths::plugin_bytes("lb_last")), ("first", paths::plugin_bytes("lb_first"))];
    let mut admin = odin.connect_admin().await;
    let mut control = odin.connect().await;
    let mut first = u64::MAX;
    for swap in 1..=SWAPS {
        let (chosen, wasm) = &guests[(swap - 1) % 2];
        let request = http::Request::post("/plugins/chooser").body(body::full(wasm.clone())).unwrap();
        let reply = admin.send(request).await.has_status(200).json();
        assert_eq!((&reply["generation"], &reply["swapped"]), (&(swap + 1).into(), &true.into()));
        if swap % 50 == 0 {
            control.get("/").await.has_status(200).has_body(chosen);
        }
        if (51..=100).contains(&swap) {
            first = first.min(odin.resident_bytes());
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > SWAPS, "the clients were to be busy: {served:?}");
    // What is kept for the next request is given back at rest; what leaks is not.
    let last = until("memory as after the first swaps", || async {
        Some(odin.resident_bytes()).filter(|&resident| resident as f64 <= first as f64 * 1.10)
    });
    let last = last.await;
    println!("{served:?} requests; resident {first} bytes after 51 to 100 swaps, {last} after {SWAPS}");
    odin.stop().await;
}
