//! One TCP connection: plugins, pick, connect (and again with the failed endpoint excluded), relay.

mod hooked;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use odin_chain::{ConnectionInfo, CpuBudget, HookState, Routed};

use crate::downstream::local::{LocalListener, Target};
use crate::downstream::worker::Worker;
use crate::error::{Error, Kind};
use crate::filter::{Run, stream};
use crate::observe::access_log::TcpReport;
use crate::relay::{self, RelayOptions};
use crate::transport::conn::Conn;
use crate::transport::drain::{DRAINED, Drain};
use crate::transport::timer::Deadline;
use crate::upstream::attempt::{self, Place};
use crate::upstream::balance::Tries;
use crate::upstream::call::Assigned;
use crate::upstream::local::LocalCluster;

/// A connection whose bytes are relayed.
pub(crate) struct Arrived {
    pub(crate) conn: Conn,
    /// What was read of it.
    pub(crate) early: Bytes,
    pub(crate) info: Arc<ConnectionInfo>,
    /// When it was accepted.
    pub(crate) started: Instant,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    arrived: Arrived,
    target: &Target,
    listener: &LocalListener,
    drain: &Rc<Drain>,
    worker: &Worker,
) {
    let Arrived { conn: mut client, early, info, started } = arrived;
    let snapshot = &listener.snapshot;
    let state = state(&info, listener, target, started);
    let run = Run::new(&target.plugins, state);
    let mut assigned = Assigned::none(worker.id);
    let opened = drain.race(open(&run, &info, target, listener, &mut assigned)).await;
    let opened = opened.map(|opened| opened.map_err(|error| error.to_string()));
    let report = match opened.unwrap_or_else(|| Err(DRAINED.to_owned())) {
        Ok(server) => relay((client, early), server, &run, listener, drain).await,
        Err(error) => {
            // Closing with a reset says that this was no regular end.
            client.reset_on_drop();
            TcpReport { received: 0, sent: 0, error: Some(error) }
        }
    };
    let share = listener.shared.counters.share(worker.id);
    share.received.add(report.received);
    share.sent.add(report.sent);
    if !run.is_empty() {
        let mut state = run.state().await;
        let facts = &mut state.facts;
        (facts.bytes_received, facts.bytes_sent) = (report.received, report.sent);
        facts.error.clone_from(&report.error);
        drop(state);
        stream::close(&run).await;
    }
    let endpoint = assigned.endpoint.as_ref().map(|(cluster, index)| cluster.shared.endpoints[*index].address);
    worker.log.connection(
        snapshot,
        &info,
        endpoint,
        &report,
        started.elapsed(),
        run.try_state().as_deref().map(|s| &**s),
    );
}

/// Ends a connection that is not served: the access log says why.
pub(crate) fn not_served(
    info: &ConnectionInfo,
    started: Instant,
    error: String,
    listener: &LocalListener,
    on: &Worker,
) {
    let report = TcpReport { received: 0, sent: 0, error: Some(error) };
    on.log.connection(&listener.snapshot, info, None, &report, started.elapsed(), None);
}

fn state(info: &Arc<ConnectionInfo>, listener: &LocalListener, target: &Target, started: Instant) -> Box<HookState> {
    let mut state = HookState::new(info.clone(), 0);
    state.facts.route = Some(target.name.clone());
    state.facts.started = started;
    state.cpu = CpuBudget::new(listener.snapshot.limits.cpu_budget, started);
    state.request_open = true;
    if !target.plugins.is_empty() {
        state.routing = Some(listener.router.clone());
    }
    state
}

/// Asks the plugins, then connects to an endpoint.
async fn open(
    run: &Run,
    client: &ConnectionInfo,
    target: &Target,
    listener: &LocalListener,
    assigned: &mut Assigned,
) -> Result<Conn, Error> {
    stream::connect(run).await?;
    let cluster = {
        let mut state = run.state().await;
        state.request_open = false;
        let cluster = chosen(&mut state, target, listener)?;
        state.facts.cluster = Some(cluster.name.clone());
        cluster
    };
    let mut tries = Tries::up_to(usize::MAX);
    let mut deadline = Deadline::default();
    let timeout = listener.snapshot.timeouts.connect;
    loop {
        let index = assigned.next(Some(run), &mut None, &cluster, &mut tries, &mut deadline).await?;
        let place = Place::new(&cluster, index, assigned.worker, Some(client), None);
        match attempt::connect(&place, timeout, &mut deadline).await {
            Ok(conn) => return Ok(conn),
            Err(error) => tries.failed(index, error),
        }
    }
}

/// The cluster that a plugin chose, or the listener's.
fn chosen(state: &mut HookState, target: &Target, listener: &LocalListener) -> Result<Rc<LocalCluster>, Error> {
    match state.routed.take() {
        Some(Routed::Cluster(name)) => {
            let found = listener.clusters.get(&name);
            found.ok_or_else(|| Error::new(Kind::NoRoute, format!("no cluster is named {name:?}")))
        }
        Some(Routed::Rematch) | None => Ok(target.cluster.clone()),
    }
}

/// Without a copy where no plugin looks at the bytes.
async fn relay(
    (client, early): (Conn, Bytes),
    server: Conn,
    run: &Run,
    listener: &LocalListener,
    drain: &Rc<Drain>,
) -> TcpReport {
    let idle = Some(listener.snapshot.timeouts.tcp_idle).filter(|idle| !idle.is_zero());
    let (up, down) = run.through();
    if up.is_empty() && down.is_empty() {
        let options = RelayOptions { idle, drain: Some(drain.clone()) };
        return relay::relay(client, server, early, Bytes::new(), &options).await.into();
    }
    hooked::relay((client, early), server, run, (up, down), idle, drain).await
}
