//! The workers as a whole: started once, given snapshots, drained at the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::downstream::orders::{Applied, Closing, Command, Draining, Opened};
use crate::observe::access_log::LogWriter;
use crate::snapshot::Snapshot;
use crate::transport::clock;
use crate::worker::serving;

/// Room for the frames of the event loop and, on top, for what plugins may use of the stack.
const WORKER_STACK: usize = 4 * 1024 * 1024;

/// A worker that has not come round its loop by then is busy.
const BUSY: Duration = Duration::from_secs(1);

/// Changes how a drain that has begun goes on.
pub struct Hurry(Vec<UnboundedSender<Command>>);

impl Hurry {
    /// From now on it is like this.
    pub fn drain(&self, draining: Draining) {
        for sender in &self.0 {
            // A worker that is done has nothing left to hurry.
            let _ = sender.send(Command::Drain(draining));
        }
    }
}

/// A change that the workers have been told of.
#[must_use]
pub struct Applying(UnboundedReceiver<Applied>);

impl Applying {
    /// Waits until every worker has made it, and accepts nowhere any more where it was to stop at once. A worker that is
    /// busy is not waited for.
    pub async fn done(mut self) {
        // Nothing is ever sent: each one lets go of its end.
        let _ = tokio::time::timeout(BUSY, self.0.recv()).await;
    }
}

/// The running data path.
pub struct Proxy {
    workers: Vec<Thread>,
    log: LogWriter,
    log_dropped: Arc<AtomicU64>,
}

struct Thread {
    sender: UnboundedSender<Command>,
    handle: JoinHandle<()>,
    /// When its event loop last came round.
    beat: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts the threads; they serve nothing yet. A worker calls `trim` after many of its clients have left: it gives the
    /// memory that they used back to the system.
    pub fn start(workers: usize, trim: fn()) -> io::Result<Self> {
        let log = LogWriter::start()?;
        let start = |id| {
            let (sender, commands) = unbounded_channel();
            let (handle, beat) = (log.handle(), Arc::new(AtomicU64::new(clock::millis())));
            let beats = beat.clone();
            let body = move || {
                if let Err(error) = serving::run(id, commands, handle, beats, trim) {
                    tracing::error!(worker = id, %error, "worker ended");
                }
            };
            let handle =
                std::thread::Builder::new().name(format!("worker-{id}")).stack_size(WORKER_STACK).spawn(body)?;
            Ok(Thread { sender, handle, beat })
        };
        let workers = (0..workers.max(1)).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Proxy { workers, log_dropped: log.dropped(), log })
    }

    /// Serves this snapshot from now on, accepts from more sockets, and closes others. All the rest is not touched.
    pub fn apply(&self, snapshot: &Arc<Snapshot>, opened: Vec<Opened>, closing: &[Closing]) -> Applying {
        let (applied, applying) = unbounded_channel();
        let mut shares: Vec<Vec<Opened>> = self.workers.iter().map(|_| Vec::new()).collect();
        let count = shares.len();
        for socket in opened {
            shares[socket.worker % count].push(socket);
        }
        for (worker, opened) in self.workers.iter().zip(shares) {
            let (snapshot, applied) = (snapshot.clone(), applied.clone());
            // A worker that is gone has said so in the log.
            let _ = worker.sender.send(Command::Apply { snapshot, opened, closing: closing.to_vec(), applied });
        }
        Applying(applying)
    }

    /// Threads.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// False when a worker's thread has ended before its time.
    pub fn alive(&self) -> bool {
        self.workers.iter().all(|worker| !worker.handle.is_finished())
    }

    /// True when every worker has come round its event loop within this time.
    pub fn responsive(&self, within: Duration) -> bool {
        let since = clock::millis().saturating_sub(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        self.workers.iter().all(|worker| worker.beat.load(Relaxed) >= since)
    }

    /// Batches of access log lines that were dropped because nobody read them in time.
    pub fn access_log_dropped(&self) -> u64 {
        self.log_dropped.load(Relaxed)
    }

    /// For a drain that shall not take as long as it was told it might.
    pub fn hurry(&self) -> Hurry {
        Hurry(self.workers.iter().map(|worker| worker.sender.clone()).collect())
    }

    /// Accepts no more, waits for what runs, and ends the threads.
    pub fn drain(self, draining: Draining) {
        for worker in &self.workers {
            let _ = worker.sender.send(Command::Drain(draining));
        }
        for worker in self.workers {
            let _ = worker.handle.join();
        }
        self.log.finish();
    }
}
