//! What a reload costs a worker: counted in what it makes, looks at and frees, not in time.

use std::collections::BTreeMap;

use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::counters::ListenerCounters;
use crate::settings::{Limits, Timeouts};
use crate::snapshot::{AccessLog, Route, RouteTable};
use crate::transport::connector::Protocol;

const MANY: usize = 10_000;

pub(crate) type Shared = BTreeMap<String, Arc<Cluster>>;

fn cluster(name: &str) -> Arc<Cluster> {
    Arc::new(Cluster::new(name, [(([127, 0, 0, 1], 1).into(), 1)], None, Protocol::Http1, 1))
}

pub(crate) fn clusters(count: usize) -> Shared {
    (0..count).map(|n| format!("c{n}")).map(|name| (name.clone(), cluster(&name))).collect()
}

fn limits(upstream_connections: usize) -> Limits {
    Limits { upstream_connections, ..Limits::default() }
}

/// Each cluster has a route of its own, by its name.
fn snapshot(clusters: &Shared, limits: Limits) -> Arc<Snapshot> {
    let route = |(name, cluster): (&String, &Arc<Cluster>)| Route {
        host: Some(name.clone()),
        path: None,
        cluster: cluster.clone(),
        plugins: Vec::new(),
    };
    let kind = ListenerKind::Http {
        routes: RouteTable::new(clusters.iter().map(route).collect()),
        rules: HttpRules::default(),
    };
    let listener = Arc::new(Listener {
        name: "web".to_owned(),
        kind,
        proxy_header: None,
        tls: None,
        sources: None,
        counters: ListenerCounters::new(1),
    });
    Arc::new(Snapshot {
        listeners: BTreeMap::from([("web".to_owned(), listener)]),
        clusters: clusters.clone(),
        plugins: Vec::new(),
        timeouts: Timeouts::default(),
        limits,
        access_log: AccessLog::Off,
        access_log_context: Vec::new(),
        access_log_fields: Vec::new(),
        http_challenges: None,
        give_back: || {},
    })
}

pub(crate) fn local(clusters: &Shared, limits: Limits, before: Option<&Local>) -> Local {
    let (outbound, _) = unbounded_channel();
    Local::new(snapshot(clusters, limits), before, 0, &outbound)
}

/// What a request for this cluster would use.
pub(crate) fn used(local: &Local, name: &str) -> Rc<LocalCluster> {
    let listener = &local.listeners["web"];
    let at = listener.router.find(name, "/").unwrap();
    listener.target(at).unwrap().cluster.clone()
}

fn use_all(local: &Local) {
    for name in local.snapshot.clusters.keys() {
        used(local, name);
    }
}

/// Lets other tasks of this thread come to their end.
async fn others() {
    for _ in 0..2 * MANY {
        tokio::task::yield_now().await;
    }
}

async fn on_a_worker(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[test]
fn a_reload_makes_nothing_for_clusters_and_routes_that_nobody_asks_for() {
    let mut shared = clusters(MANY);
    let before = local(&shared, limits(1), None);
    assert_eq!((before.clusters.made.len(), before.listeners["web"].targets.made()), (0, 0));
    let (kept, old) = (used(&before, "c1"), used(&before, "c2"));
    assert_eq!(before.clusters.made.len(), 2);

    shared.insert("c2".to_owned(), cluster("c2"));
    let after = local(&shared, limits(1), Some(&before));
    assert_eq!((after.clusters.made.len(), after.listeners["web"].targets.made()), (2, 0));
    assert!(Rc::ptr_eq(&kept, &used(&after, "c1")));
    assert!(!Rc::ptr_eq(&old, &used(&after, "c2")));
    assert_eq!(after.clusters.made.len(), 2);
}

#[test]
fn what_is_kept_open_to_one_peer_is_not_used_for_another() {
    let shared = clusters(1);
    let before = local(&shared, limits(1), None);
    let pool = used(&before, "c0").pools[0].clone();
    for (protocol, same) in [(Protocol::Http1, true), (Protocol::Http2, false)] {
        let again = Cluster::new("c0", [(pool.peer.address, 1)], None, protocol, 1).after(&shared["c0"]);
        let after = local(&Shared::from([("c0".to_owned(), Arc::new(again))]), limits(1), Some(&before));
        let kept = used(&after, "c0").pools[0].clone();
        assert_eq!((Rc::ptr_eq(&kept, &pool), kept.peer.protocol), (same, protocol));
    }
}

#[tokio::test]
async fn what_a_reload_leaves_behind_goes_in_steps() {
    on_a_worker(async {
        let shared = clusters(MANY);
        let before = local(&shared, limits(1), None);
        use_all(&before);
        let watched = Rc::downgrade(&used(&before, "c5"));
        let after = local(&clusters(1), limits(1), Some(&before));
        drop(before);
        let made = after.clusters.made.clone();
        assert_eq!(made.len(), MANY);
        after.tick();
        // The next tick may come before the end of this one.
        after.tick();
        assert!(made.len() > MANY - 100, "{} are left after the first step", made.len());
        others().await;
        assert_eq!(made.len(), 1);
        assert!(watched.upgrade().is_none());
    })
    .await;
}

#[tokio::test]
async fn new_limits_reach_every_pool_in_steps() {
    on_a_worker(async {
        let shared = clusters(MANY);
        let mut now = local(&shared, limits(1), None);
        use_all(&now);
        let configured = |local: &Local| {
            // A pool with room for one gives one lease, one with room for none gives none.
            let free = |name: &String| used(local, name).pools[0].gate.try_lease().is_none();
            local.snapshot.clusters.keys().filter(|name| free(name)).count()
        };
        assert_eq!(configured(&now), 0);
        now = local(&shared, limits(0), Some(&now));
        let first = configured(&now);
        assert!(first > 0 && first < MANY / 2, "{first} in the first step");
        others().await;
        assert_eq!(configured(&now), MANY);

        // Of two reloads at once the last one counts.
        now = local(&shared, limits(2), Some(&now));
        now = local(&shared, limits(0), Some(&now));
        others().await;
        assert_eq!(configured(&now), MANY);
    })
    .await;
}
