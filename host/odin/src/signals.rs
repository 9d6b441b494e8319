//! The life of the process: start, say what listens where, obey signals, orders and changed files, drain.

use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use odin_proxy::Draining;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::admin::{Admin, Order, Reply, Serving};
use crate::cli::{Run, Start};
use crate::config::Config;
use crate::odin::{Odin, Ready};
use crate::sockets::Sockets;
use crate::upgrade::{Handed, Takeover};
use crate::watch::{Changed, Watch};
use crate::{banner, logging, privileges, systemd, upgrade, watch};

/// How often a worker that lives comes round is looked at when nobody else asks for it.
const ALIVE: Duration = Duration::from_secs(10);

/// Whoever asks for more signs of life than that gets these.
const SHORTEST: Duration = Duration::from_millis(1);

/// Runs Odin until a signal ends it or a new binary has taken over.
pub(crate) async fn run(run: Run) -> anyhow::Result<()> {
    let takeover = Takeover::begun()?;
    match start(run, takeover.as_ref()).await {
        Ok(life) => {
            systemd::ready();
            life.live(takeover).await
        }
        Err(error) => {
            if let Some(takeover) = takeover {
                takeover.failed(&error);
            }
            Err(error)
        }
    }
}

/// A started Odin and what may happen to it.
struct Life {
    odin: Rc<Odin>,
    watch: Watch,
    signals: Signals,
    orders: UnboundedReceiver<Order>,
    admin: Option<Serving>,
    /// Who has ordered the upgrade that ends this process, and is to be told of the new one.
    upgraded: Option<(Reply<u32>, u32)>,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

/// Why it ends.
#[derive(Clone, Copy)]
enum End {
    Stopped,
    Replaced,
}

async fn start(run: Run, takeover: Option<&Takeover>) -> anyhow::Result<Life> {
    let since = SystemTime::now();
    let read = run.file.as_deref().and_then(watch::content);
    let start = run.start()?;
    logging::start(start.config.access_log.format);
    // Before anything is told to the user: a signal that comes early must not kill what has begun.
    let signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
        user2: signal(SignalKind::user_defined2())?,
    };
    let handed = takeover.map(Takeover::take).transpose()?;
    let (ready, admin) = prepare(&start, handed)?;
    logging::detach()?;
    let demo = !start.demo_clusters.is_empty();
    let odin = Rc::new(Odin::start(run, start, ready).await?);
    let watch = Watch::new(&odin.assembly(), odin.file().map(|file| (file.as_path(), read)), since);
    let (sender, orders) = unbounded_channel();
    let mut admin = admin.serve(odin.clone(), sender)?;
    odin.serve(|| takeover.map_or(Ok(()), Takeover::ready))?;
    admin.taken_over();
    banner::print(&odin, &admin, demo);
    if let Some(takeover) = takeover {
        banner::say!("took over from process {}", takeover.predecessor);
    }
    Ok(Life { odin, watch, signals, orders, admin: Some(admin), upgraded: None })
}

/// Does what needs privileges, and gives them up. No thread may run before that.
fn prepare(start: &Start, mut handed: Option<Handed>) -> anyhow::Result<(Ready, Admin)> {
    privileges::raise_open_files();
    let config: &Config = &start.config;
    let workers = config.workers.unwrap_or_else(cores);
    let binary = upgrade::binary();
    let user = match &config.user {
        Some(name) => privileges::Account::find(name).with_context(|| format!("user = {name:?}"))?,
        None => None,
    };
    let inherited = handed.as_mut().map(|handed| std::mem::take(&mut handed.admin)).unwrap_or_default();
    let mut sockets = Sockets::new(config, workers, handed)?;
    sockets.prepare(&config.listeners).map_err(|error| start.places.locate(error))?;
    let admin = Admin::open(config, user.as_ref(), inherited)?;
    if let Some(address) = admin.places().tcp {
        sockets.pass(address);
    }
    let dropped = privileges::drop_all_but(sockets.needed_capabilities(), user.as_ref())?;
    banner::privileges(&dropped);
    sockets.announce();
    let shared = admin.share()?;
    Ok((Ready { sockets, admin: shared, binary, workers }, admin))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a reload ends with.
type Reloaded = anyhow::Result<Vec<crate::diff::Change>>;

/// Reloads, one after the other. While one waits for a resolver or a compiler, signals, orders and swaps go on; those that
/// are asked for meanwhile become one more, which begins when it is over.
#[derive(Default)]
struct Reloads {
    running: Option<Pin<Box<dyn Future<Output = Reloaded>>>>,
    /// Who has asked for the one that runs.
    asked: Vec<Reply<Vec<crate::diff::Change>>>,
    /// Who has asked for the next one, if anybody has.
    next: Option<Vec<Reply<Vec<crate::diff::Change>>>>,
}

impl Reloads {
    fn ask(&mut self, odin: &Rc<Odin>, watch: &mut Watch, reply: Option<Reply<Vec<crate::diff::Change>>>) {
        if self.running.is_some() {
            self.next.get_or_insert_default().extend(reply);
            return;
        }
        // It would tell of the very change that is read now.
        watch.config_is_read();
        let odin = odin.clone();
        self.running = Some(Box::pin(async move { odin.reload().await }));
        self.asked.extend(reply);
    }

    /// Waits for the end of the one that runs; for ever if none does.
    async fn done(&mut self) -> Reloaded {
        match &mut self.running {
            Some(running) => running.await,
            None => std::future::pending().await,
        }
    }

    /// Tells whoever has asked, and begins the next one.
    fn tell(&mut self, odin: &Rc<Odin>, watch: &mut Watch, result: Reloaded) {
        self.running = None;
        if result.is_ok() {
            watch.follow(&odin.assembly());
        }
        for reply in self.asked.drain(..) {
            let result = result.as_ref().map(Vec::clone).map_err(|error| anyhow!("{error:#}"));
            // Whoever asked may have gone.
            let _ = reply.send(result);
        }
        if let Some(next) = self.next.take() {
            self.ask(odin, watch, None);
            self.asked.extend(next);
        }
    }
}

impl Life {
    async fn live(mut self, takeover: Option<Takeover>) -> anyhow::Result<()> {
        let end = self.obey().await;
        if let (End::Replaced, Some(takeover)) = (end, takeover) {
            takeover.replaced();
        }
        let assembly = self.odin.assembly();
        let config = &assembly.config;
        let draining = match end {
            End::Stopped => {
                systemd::stopping();
                self.odin.cancel_upgrade();
                Draining { grace: config.shutdown_grace, leaving: false }
            }
            End::Replaced => Draining { grace: config.drain_timeout, leaving: true },
        };
        tracing::info!("draining");
        let Life { odin, mut signals, mut admin, orders, upgraded, .. } = self;
        // Nobody obeys them any more, and who has sent one is told so.
        drop(orders);
        // The pages belong to the new process; without one they tell of the drain until it is over.
        let mut stopped = admin.take_if(|_| matches!(end, End::Replaced)).map(Serving::leave);
        // Not before: whoever is told may have something to ask, and must reach the new one.
        if let Some((reply, pid)) = upgraded {
            let _ = reply.send(Ok(pid));
        }
        let (mut hurried, mut deserted) = (false, false);
        {
            let over = async {
                odin.drain(draining).await;
                if matches!(end, End::Stopped) {
                    odin.upgrade_over().await;
                }
            };
            let impatient = signals.hurry(&odin, end, config.shutdown_grace);
            let (mut over, mut impatient) = (std::pin::pin!(over), std::pin::pin!(impatient));
            let mut alone = std::pin::pin!(odin.successor_failed());
            loop {
                tokio::select! {
                    // The drain must have begun before it can be hurried.
                    biased;
                    () = over.as_mut() => break,
                    () = impatient.as_mut(), if !hurried => hurried = true,
                    () = alone.as_mut(), if !deserted => {
                        deserted = true;
                        // Whoever started Odin is to start it again, which happens when this process ends.
                        systemd::replaced_by(std::process::id());
                        odin.hurry(config.shutdown_grace);
                    }
                }
            }
        }
        // An answer that is due may be about this very end.
        match (stopped.take(), admin) {
            (Some(stopped), _) => stopped.await,
            (None, Some(admin)) => admin.stop().await,
            (None, None) => {}
        }
        match (hurried, end) {
            _ if deserted => anyhow::bail!("the process that took over has failed"),
            (true, End::Stopped) => anyhow::bail!("stopped before the drain was over"),
            _ => Ok(()),
        }
    }

    async fn obey(&mut self) -> End {
        let mut reloads = Reloads::default();
        let mut alive = tokio::time::interval(systemd::watchdog().map_or(ALIVE, |within| within / 2).max(SHORTEST));
        let (upgraded, mut upgrades) = unbounded_channel();
        let upgrade = |odin: &Rc<Odin>, reply: Option<Reply<u32>>| {
            let (odin, upgraded) = (odin.clone(), upgraded.clone());
            tokio::task::spawn_local(async move {
                // After this loop the process is stopped, which is what the result tells then.
                if let Err(SendError((result, Some(reply)))) = upgraded.send((odin.upgrade().await, reply)) {
                    let _ = reply.send(result);
                }
            });
        };
        loop {
            let Life { odin, watch, signals, orders, .. } = self;
            let end = tokio::select! {
                // Who is stopped at the moment at which another serves has been replaced, and that one is known.
                biased;
                Some((result, reply)) = upgrades.recv() => match result {
                    Ok(pid) => {
                        self.upgraded = reply.map(|reply| (reply, pid));
                        Some(End::Replaced)
                    }
                    Err(error) => {
                        // Whoever asked may have gone.
                        reply.map(|reply| reply.send(Err(error)));
                        if odin.missed_reload() {
                            reloads.ask(odin, watch, None);
                        }
                        None
                    }
                },
                _ = signals.terminate.recv() => Some(End::Stopped),
                _ = signals.interrupt.recv() => Some(End::Stopped),
                _ = alive.tick() => {
                    let responsive = odin.with_proxy(|proxy| proxy.alive() && proxy.responsive(ALIVE));
                    match responsive {
                        Some(false) => tracing::error!("a worker does not come round its loop any more"),
                        _ => systemd::alive(),
                    }
                    None
                }
                _ = signals.user2.recv() => { upgrade(odin, None); None }
                Some(order) = orders.recv() => match order {
                    Order::Reload(reply) => { reloads.ask(odin, watch, Some(reply)); None }
                    Order::Upgrade(reply) => { upgrade(odin, Some(reply)); None }
                },
                result = reloads.done() => { reloads.tell(odin, watch, result); None }
                _ = signals.hangup.recv() => { reloads.ask(odin, watch, None); None }
                changed = watch.changed() => {
                    match changed {
                        Changed::Config => reloads.ask(odin, watch, None),
                        Changed::Plugin(name) => {
                            let odin = odin.clone();
                            tokio::task::spawn_local(async move { odin.swap_from_file(&name).await });
                        }
                    }
                    None
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }
}

impl Signals {
    /// Whoever sends a second signal does not want to wait. After an upgrade nobody has sent a first one: that leaves as
    /// long as any stop does. Answers when the drain is to end at once.
    async fn hurry(&mut self, odin: &Odin, end: End, grace: Duration) {
        self.stop().await;
        if matches!(end, End::Replaced) {
            odin.hurry(grace);
            self.stop().await;
        }
        odin.hurry(Duration::ZERO);
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
