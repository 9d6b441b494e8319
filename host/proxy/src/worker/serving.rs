//! A worker: one thread, one event loop, its own sockets, pools, plugin instances and counters.
//!
//! Workers are told what to do by commands and share nothing that a request would have to wait for.

use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use odin_runtime::OutboundSender;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::downstream::handle::{Door, Handle};
use crate::downstream::listener::{self, Stop};
use crate::downstream::local::Local;
use crate::downstream::orders::{Applied, Closing, Command, Draining, Opened, SocketId};
use crate::downstream::worker::Worker;
use crate::observe::access_log::LogHandle;
use crate::snapshot::Snapshot;
use crate::transport::clock;
use crate::transport::drain::{LAST_WORDS, Phase, Schedule};
use crate::worker::outbound;

/// How often idle connections and old generations are looked at.
const TICK: Duration = Duration::from_secs(1);

/// The body of a worker's thread.
pub(crate) fn run(
    id: usize,
    commands: UnboundedReceiver<Command>,
    log: LogHandle,
    beat: Arc<AtomicU64>,
    trim: fn(),
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let worker = Worker::new(id, log, trim);
    runtime.block_on(obey(&worker, commands, &beat));
    // Tasks that are still there are dropped with the runtime, and leave their lines behind.
    drop(runtime);
    worker.tell_of_last_ends();
    worker.log.flush();
    Ok(())
}

async fn obey(worker: &Rc<Worker>, mut commands: UnboundedReceiver<Command>, beat: &AtomicU64) {
    tokio::task::spawn_local(worker.clone().tell_of_ends());
    let (outbound, calls) = unbounded_channel();
    tokio::task::spawn_local(outbound::serve(worker.clone(), calls));
    let mut serving =
        Serving { local: None, doors: HashMap::new(), sockets: HashMap::new(), closing: Vec::new(), outbound };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Apply { snapshot, opened, closing, applied }) => {
                    serving.apply(snapshot, opened, worker);
                    serving.close(closing, &applied);
                }
                // The loop beats no more, and nobody asks: the process is about to end.
                Some(Command::Drain(draining)) => return serving.drain(draining, worker, &mut commands).await,
                None => return,
            },
            _ = tick.tick() => {
                beat.store(clock::millis(), Relaxed);
                serving.tick();
                worker.tick();
            }
        }
    }
}

/// What the worker serves now.
struct Serving {
    local: Option<Local>,
    outbound: OutboundSender,
    /// By the names of the listeners.
    doors: HashMap<String, Rc<Door>>,
    sockets: HashMap<SocketId, Accepting>,
    /// Of sockets that are being closed.
    closing: Vec<Accepting>,
}

/// An accept loop, and how it is told to end.
type Accepting = (Rc<Stop>, JoinHandle<()>);

impl Serving {
    fn apply(&mut self, snapshot: Arc<Snapshot>, opened: Vec<Opened>, worker: &Rc<Worker>) {
        let local = Local::new(snapshot, self.local.as_ref(), worker.id, &self.outbound);
        worker.goes_by(&local.snapshot, &local.clusters);
        let deadline = local.snapshot.timeouts.drain;
        self.doors.retain(|name, door| {
            let stays = local.listeners.contains_key(name);
            if !stays {
                worker.retire(door.handle().drain.clone(), deadline);
            }
            stays
        });
        for (name, listener) in &local.listeners {
            match self.doors.get(name) {
                None => {
                    self.doors.insert(name.clone(), Door::new(Handle::new(listener.clone())));
                }
                Some(door) if door.handle().current().goes_on_as(listener) => {
                    door.handle().replace(listener.clone());
                }
                // A connection of the one would not be let in by the other.
                Some(door) => worker.retire(door.replace(Handle::new(listener.clone())).drain.clone(), deadline),
            }
        }
        for Opened { id, listener, socket, .. } in opened {
            if let Some(door) = self.doors.get(&listener) {
                let stop = Rc::new(Stop::default());
                let accepting = listener::accept(socket, door.clone(), worker.clone(), stop.clone());
                self.sockets.insert(id, (stop, tokio::task::spawn_local(accepting)));
            }
        }
        self.local = Some(local);
    }

    fn close(&mut self, closing: Vec<Closing>, applied: &UnboundedSender<Applied>) {
        self.closing.retain(|(_, task)| !task.is_finished());
        for one in closing {
            if let Some(accepting) = self.sockets.remove(&one.id) {
                accepting.0.close(one, applied);
                self.closing.push(accepting);
            }
        }
    }

    /// Accepts no more, and waits for the end of all connections. A later order may leave them less time, never more.
    async fn drain(mut self, draining: Draining, worker: &Worker, commands: &mut UnboundedReceiver<Command>) {
        let Draining { grace, mut leaving } = draining;
        let mut over = Instant::now() + grace;
        let mut schedule = Schedule::new(over, leaving);
        let closing = std::mem::take(&mut self.closing).into_iter();
        let (stops, accepting): (Vec<_>, Vec<_>) = closing.chain(self.sockets.drain().map(|(_, one)| one)).unzip();
        stops.iter().for_each(|stop| stop.leave(leaving));
        let mut ended = pin!(worker.ended(accepting));
        let mut tick = tokio::time::interval(TICK);
        let mut told = Phase::Serving;
        loop {
            let phase = schedule.phase();
            if told < phase {
                told = phase;
                self.advance(phase, &schedule, worker);
            }
            let Some(next) = schedule.after(told) else {
                // What was cut is gone at its next turn. What is still there then is dropped with the runtime.
                let _ = tokio::time::timeout(LAST_WORDS, ended).await;
                return;
            };
            tokio::select! {
                () = &mut ended => return,
                () = tokio::time::sleep_until(next.into()) => {}
                _ = tick.tick() => {
                    self.tick();
                    worker.tick();
                }
                Some(command) = commands.recv() => {
                    let Command::Drain(Draining { grace, leaving: still }) = command else { continue };
                    (over, leaving) = (over.min(Instant::now() + grace), leaving && still);
                    schedule = Schedule::new(over, leaving);
                    stops.iter().for_each(|stop| stop.leave(leaving));
                }
            }
        }
    }

    /// Lets all connections go on to this phase, and those that are still to come.
    fn advance(&self, phase: Phase, schedule: &Schedule, worker: &Worker) {
        let connections = worker.connections();
        if phase == Phase::Over && connections > 0 {
            tracing::warn!(worker = worker.id, connections, "closing what did not end in time");
        }
        self.doors.values().for_each(|door| door.handle().drain.advance(phase, schedule));
        worker.advance_all(phase, schedule);
    }

    fn tick(&self) {
        if let Some(local) = &self.local {
            local.tick();
        }
    }
}
