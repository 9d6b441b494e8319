//! The start of the process: what needs privileges, then everything that can fail, then the sockets serve.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use odin_proxy::Proxy;
use odin_runtime::{Granting, Runtime, RuntimeOptions};
use tokio::sync::mpsc::unbounded_channel;

use super::reload::{Reloads, assemble};
use super::signals::Signals;
use super::state::State;
use super::{Life, Odin, Running};
use crate::admin::{self, Admin};
use crate::background::Background;
use crate::cli::{Run, Start};
use crate::demo::Demo;
use crate::sockets::Sockets;
use crate::upgrade::{self, Handed, Takeover};
use crate::watch::{self, Watch};
use crate::{banner, compile_cache, logging, memory, privileges};

/// What was got ready while there were the privileges to.
struct Ready {
    sockets: Sockets,
    admin: admin::Shared,
    binary: io::Result<PathBuf>,
    workers: usize,
}

pub(super) async fn start(run: Run, takeover: Option<&Takeover>) -> anyhow::Result<Life> {
    let since = SystemTime::now();
    let read = run.file.as_deref().and_then(watch::content);
    let start = run.start()?;
    logging::start(start.config.access_log.format);
    // Before anything is told to the user: a signal that comes early must not kill what has begun.
    let signals = Signals::catch()?;
    let handed = takeover.map(Takeover::take).transpose()?;
    let (ready, admin) = prepare(&start, handed)?;
    logging::detach()?;
    let demo = !start.demo_clusters.is_empty();
    let odin = Rc::new(load(run, start, ready).await?);
    let watch = Watch::new(&odin.assembly(), odin.file().map(|file| (file.as_path(), read)), since);
    let (sender, orders) = unbounded_channel();
    let mut admin = admin.serve(odin.clone(), sender)?;
    // The process before is told in between: until then it has lost nothing if this one fails. There is nothing to wait
    // for, since nothing was served before.
    let _ = odin.apply(&odin.assembly(), None, || takeover.map_or(Ok(()), Takeover::ready))?;
    odin.acme.borrow_mut().follow(&odin.assembly().config);
    admin.taken_over();
    banner::print(&odin, &admin, demo);
    if let Some(takeover) = takeover {
        banner::say!("took over from process {}", takeover.predecessor);
    }
    Ok(Life { odin, watch, signals, orders, reloads: Reloads::default(), admin })
}

/// Does what needs privileges, and gives them up. No thread may run before that.
fn prepare(start: &Start, mut handed: Option<Handed>) -> anyhow::Result<(Ready, Admin)> {
    privileges::raise_open_files();
    let config = &start.config;
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

/// Loads everything; nothing is served before [`Odin::apply`].
async fn load(run: Run, mut start: Start, ready: Ready) -> anyhow::Result<Odin> {
    let Ready { sockets, admin, binary, workers } = ready;
    let demo = Demo::start(&start.demo_clusters).await.context("cannot start the demo backends")?;
    let compile = compile_cache::compile(&start.config);
    let granting = if start.file.is_some() { Granting::File } else { Granting::Flag };
    let runtime = Runtime::new(RuntimeOptions { workers, compile, granting, ..RuntimeOptions::default() })?;
    let background = Background::start().context("cannot start a thread")?;
    demo.complete(&mut start);
    let assembly = assemble(start, None, &runtime, workers, &background).await?;
    let proxy = Proxy::start(workers, memory::give_back).context("cannot start the workers")?;
    Ok(Odin {
        run: Arc::new(run),
        background,
        runtime,
        binary,
        demo,
        started: Instant::now(),
        reloads: Cell::new(0),
        failed_reloads: Cell::new(0),
        acme: RefCell::default(),
        refused_files: RefCell::default(),
        sockets: RefCell::new(sockets),
        assembly: RefCell::new(Arc::new(assembly)),
        state: RefCell::new(State::Serving(Running { proxy, admin: Arc::new(admin) })),
    })
}
