//! The life of the process: it starts, serves, hands over to a new binary if it is asked to, drains and ends.
//!
//! ```text
//! start ─→ Life::serve (orders of signals, admin pages and changed files) ─→ Life::drain
//! ```
//!
//! [`state`] has the states and what leads from one to another.

mod drain;
mod hand_over;
mod odin;
mod reload;
mod signals;
mod start;
mod state;
mod swap;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use odin_proxy::Proxy;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::admin;
use crate::cli::Run;
use crate::diff::Change;
use crate::systemd;
use crate::upgrade::Takeover;
use crate::watch::{Changed, Watch};
use reload::Reloads;
use signals::Signals;
use state::{Act, End, Event};

pub(crate) use odin::Odin;

/// How often it is checked that the loops of the workers turn, when systemd asks for no more than that.
const ALIVE: Duration = Duration::from_secs(10);

/// systemd gets signs of life no more often than that.
const SHORTEST: Duration = Duration::from_millis(1);

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<anyhow::Result<T>>;

/// What is wanted of the process. Signals and files that changed wait for no reply.
pub(crate) enum Order {
    Stop,
    Reload(Option<Reply<Vec<Change>>>),
    /// Answers the process id of the one that has taken over.
    Upgrade(Option<Reply<u32>>),
}

/// What there is until the drain.
struct Running {
    proxy: Proxy,
    /// What a new binary gets to serve the admin pages from.
    admin: Arc<admin::Shared>,
}

/// A started Odin and what may happen to it.
struct Life {
    odin: Rc<Odin>,
    watch: Watch,
    signals: Signals,
    orders: UnboundedReceiver<Order>,
    reloads: Reloads,
    admin: admin::Serving,
}

/// Runs Odin until a signal ends it or a new binary has taken over.
pub(crate) async fn run(run: Run) -> anyhow::Result<()> {
    let takeover = Takeover::begun()?;
    match start::start(run, takeover.as_ref()).await {
        Ok(mut life) => {
            systemd::ready();
            let (running, end) = life.serve().await;
            life.drain(running, end, takeover).await
        }
        Err(error) => {
            if let Some(takeover) = takeover {
                takeover.failed(&error);
            }
            Err(error)
        }
    }
}

impl Life {
    async fn serve(&mut self) -> (Running, End) {
        let mut alive = tokio::time::interval(systemd::watchdog().map_or(ALIVE, |within| within / 2).max(SHORTEST));
        let Life { odin, watch, signals, orders, reloads, .. } = self;
        loop {
            let order = tokio::select! {
                // First: when a stop arrives together with the word of a new process, that one serves already.
                biased;
                result = odin.upgraded() => match result {
                    Ok(by) => match odin.on(Event::TookOver(by)) {
                        Act::Drain(running, end) => return (running, end),
                        _ => continue,
                    }
                    Err(error) => match odin.upgrade_failed(error) {
                        true => Order::Reload(None),
                        false => continue,
                    },
                },
                order = signals.next() => order,
                _ = alive.tick() => {
                    tell_alive(odin);
                    continue;
                }
                Some(order) = orders.recv() => order,
                result = reloads.done() => {
                    reloads.tell(odin, watch, result);
                    continue;
                }
                changed = watch.changed() => match changed {
                    Changed::Config | Changed::File(_) => Order::Reload(None),
                    Changed::Plugin(name) => {
                        let odin = odin.clone();
                        tokio::task::spawn_local(async move { odin.swap_from_file(&name).await });
                        continue;
                    }
                },
            };
            match order {
                Order::Stop => {
                    if let Act::Drain(running, end) = odin.on(Event::Stop) {
                        return (running, end);
                    }
                }
                Order::Reload(reply) => reloads.ask(odin, watch, reply),
                Order::Upgrade(reply) => odin.upgrade(reply),
            }
        }
    }
}

fn tell_alive(odin: &Odin) {
    match odin.with_proxy(|proxy| proxy.alive() && proxy.responsive(ALIVE)) {
        Some(false) => tracing::error!("a worker does not come round its loop any more"),
        _ => systemd::alive(),
    }
}

/// Answers, if somebody waits for it; a client may have gone.
fn answer<T>(reply: Option<Reply<T>>, result: anyhow::Result<T>) {
    let _ = reply.map(|reply| reply.send(result));
}
