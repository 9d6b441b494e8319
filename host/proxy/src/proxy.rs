//! The workers as a whole: started once, given snapshots, drained at the end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::access_log::LogWriter;
use crate::listener;
use crate::snapshot::Snapshot;
use crate::worker::{self, Command};

/// Room for the frames of the event loop and, on top, for what plugins may use of the stack.
const WORKER_STACK: usize = 4 * 1024 * 1024;

/// A listener could not be opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener:?}: cannot listen on {address}: {error}")]
pub struct BindError {
    /// The name in the config.
    pub listener: String,
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

/// The running data path.
pub struct Proxy {
    workers: Vec<(UnboundedSender<Command>, JoinHandle<()>)>,
    log: LogWriter,
    log_dropped: Arc<AtomicU64>,
    /// By listener: what was asked for, and what it became.
    bound: BTreeMap<String, (SocketAddr, SocketAddr)>,
}

impl Proxy {
    /// Starts the threads; they serve nothing yet.
    pub fn start(workers: usize) -> io::Result<Self> {
        let log = LogWriter::start()?;
        let start = |id| {
            let (sender, commands) = unbounded_channel();
            let handle = log.handle();
            let body = move || {
                if let Err(error) = worker::run(id, commands, handle) {
                    tracing::error!(worker = id, %error, "worker ended");
                }
            };
            let thread =
                std::thread::Builder::new().name(format!("worker-{id}")).stack_size(WORKER_STACK).spawn(body)?;
            Ok((sender, thread))
        };
        let workers = (0..workers.max(1)).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Proxy { workers, log_dropped: log.dropped(), log, bound: BTreeMap::new() })
    }

    /// Serves this snapshot from now on. `addresses` says where each of its listeners listens. Sockets that stay are
    /// not touched; when one cannot be opened everything stays as it was.
    pub fn apply(
        &mut self,
        snapshot: &Arc<Snapshot>,
        addresses: &BTreeMap<String, SocketAddr>,
    ) -> Result<(), BindError> {
        let mut opened = Vec::new();
        for (name, address) in addresses {
            if self.bound.get(name).is_some_and(|(asked, _)| asked == address) {
                continue;
            }
            let failed = |error| BindError { listener: name.clone(), address: *address, error };
            let sockets = listener::bind(*address, self.workers.len()).map_err(failed)?;
            let local = sockets.first().map_or(Ok(*address), |socket| socket.local_addr()).map_err(failed)?;
            opened.push((name, *address, local, sockets));
        }
        self.bound.retain(|name, _| addresses.contains_key(name));
        let mut shares: Vec<Vec<_>> = self.workers.iter().map(|_| Vec::new()).collect();
        for (name, asked, local, sockets) in opened {
            self.bound.insert(name.clone(), (asked, local));
            for (share, socket) in shares.iter_mut().zip(sockets) {
                share.push((name.clone(), socket));
            }
        }
        for ((sender, _), sockets) in self.workers.iter().zip(shares) {
            // A worker that is gone has said so in the log.
            let _ = sender.send(Command::Apply { snapshot: snapshot.clone(), sockets });
        }
        Ok(())
    }

    /// Where each listener listens; with port zero, what the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.bound.iter().map(|(name, (_, local))| (name.as_str(), *local))
    }

    /// Threads.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// False when a worker's thread has ended before its time.
    pub fn alive(&self) -> bool {
        self.workers.iter().all(|(_, thread)| !thread.is_finished())
    }

    /// Batches of access log lines that were dropped because nobody read them in time.
    pub fn access_log_dropped(&self) -> u64 {
        self.log_dropped.load(Relaxed)
    }

    /// Accepts no more, waits for what runs, at most so long, and ends the threads.
    pub fn drain(self, grace: Duration) {
        for (sender, _) in &self.workers {
            let _ = sender.send(Command::Drain(grace));
        }
        for (sender, thread) in self.workers {
            drop(sender);
            let _ = thread.join();
        }
        self.log.finish();
    }
}
