//! One TCP connection: pick, connect (and again with the failed endpoint excluded), relay.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use odin_runtime::{ConnectionInfo, HookState};
use tokio::net::TcpStream;

use crate::balance::Tries;
use crate::error::Error;
use crate::local::{LocalCluster, LocalListener};
use crate::relay::{self, RelayOptions};
use crate::timer::Deadline;
use crate::upstream;
use crate::worker::Worker;

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    client: TcpStream,
    info: Rc<ConnectionInfo>,
    cluster: &Rc<LocalCluster>,
    listener: &LocalListener,
    worker: &Worker,
) {
    let started = Instant::now();
    let snapshot = &listener.snapshot;
    let mut endpoint = None;
    let outcome = match open(&info, cluster, listener, worker).await {
        Ok((server, index)) => {
            let chosen = &cluster.shared.endpoints[index];
            endpoint = Some(chosen.address);
            let counters = chosen.counters(worker.id);
            counters.started.add(1);
            let options = RelayOptions { idle: Some(snapshot.timeouts.tcp_idle).filter(|idle| !idle.is_zero()) };
            let report = relay::relay(client, server, Bytes::new(), Bytes::new(), &options).await;
            counters.ended.add(1);
            let share = listener.shared.counters.share(worker.id);
            share.received.add(report.a_to_b);
            share.sent.add(report.b_to_a);
            Ok(report)
        }
        Err(error) => {
            // Closing with a reset says that this was no regular end.
            let _ = client.set_zero_linger();
            Err(error.to_string())
        }
    };
    let outcome = outcome.as_ref().map_err(String::as_str);
    worker.log.connection(snapshot.access_log, &info, endpoint, outcome, started.elapsed());
}

async fn open(
    info: &Rc<ConnectionInfo>,
    cluster: &Rc<LocalCluster>,
    listener: &LocalListener,
    worker: &Worker,
) -> Result<(TcpStream, usize), Error> {
    let mut tries = Tries::up_to(usize::MAX);
    let mut deadline = Deadline::default();
    let mut state = HookState::new("tcp", HeaderValue::from_static(""), info.clone(), 0);
    loop {
        let index = tries.next(cluster, &mut state)?;
        match upstream::connect(cluster, index, worker.id, listener.snapshot.timeouts.connect, &mut deadline).await {
            Ok(stream) => return Ok((stream, index)),
            Err(error) => tries.failed(index, error),
        }
    }
}
