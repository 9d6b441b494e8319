//! The old process's side: starts the new binary, gives it everything, and waits until it is ready or has failed.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};
use tokio::sync::oneshot;

use super::channel::{Channel, MAX_DESCRIPTORS};
use super::{Manifest, PATIENCE, PREDECESSOR, READY, REPLACED, STOP, Tag, VERSION};
use crate::admin::Shared;
use crate::sockets::Given;

/// A new process that is to take over. As a future, how that ends: after an error the process is gone.
pub(crate) struct Attempt {
    channel: Arc<Channel>,
    ended: oneshot::Receiver<anyhow::Result<Replacement>>,
}

/// A new process that has taken over.
pub(crate) struct Replacement {
    child: Child,
    channel: Arc<Channel>,
}

/// The same while this process drains.
pub(crate) struct Successor {
    pid: u32,
    /// How it ended, and whether it still was the process that serves.
    ended: oneshot::Receiver<io::Result<(ExitStatus, bool)>>,
}

impl Attempt {
    /// Starts `binary` with the arguments of this process, and hands everything over to it.
    pub(crate) fn start(binary: &Path, admin: Arc<Shared>, given: Given) -> anyhow::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        channel.set_patience(Some(PATIENCE))?;
        let mut command = Command::new(binary);
        command.args(std::env::args_os().skip(1)).stdin(Stdio::from(theirs));
        command.env(PREDECESSOR, std::process::id().to_string());
        // It would keep the new process from telling systemd that it is alive.
        command.env_remove("WATCHDOG_PID");
        let child = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        // This process's share of the other end goes now: a new process that dies must be seen.
        drop(command);
        let channel = Arc::new(channel);
        let (tell, ended) = oneshot::channel();
        let mut new = Replacement { child, channel: channel.clone() };
        // Not one of the runtime's threads: a process that is stopped does not wait for a new one that hangs.
        thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            let result = hand_over(&new.channel, &admin, given).and_then(|()| ready(&new.channel));
            // Nobody is there to be told when this process has ended meanwhile.
            let _ = tell.send(match result {
                Ok(()) => Ok(new),
                Err(error) => Err(error.context(end(&mut new.child))),
            });
        })?;
        Ok(Attempt { channel, ended })
    }

    /// This process is stopped, so the new one shall not take over.
    pub(crate) fn cancel(&self) {
        // If it is gone, nobody has to be told; if it does not read, the end of the channel tells it. Whoever waits for its
        // word waits no more.
        let _ = self.channel.send_now(STOP);
        let _ = rustix::net::shutdown(&*self.channel, rustix::net::Shutdown::Read);
    }
}

impl Future for Attempt {
    type Output = anyhow::Result<Replacement>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.ended).poll(context).map(|ended| ended?)
    }
}

impl Replacement {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it. It has a drain of its own; this process does not wait for it.
    pub(crate) fn stop(mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        pid.map(|pid| rustix::process::kill_process(pid, Signal::TERM));
        thread::spawn(move || self.child.wait());
    }

    /// Lets a thread wait for its end, which this process has to know of. So it leaves no zombie either.
    pub(crate) fn watch(self) -> io::Result<Successor> {
        let (tell, ended) = oneshot::channel();
        let pid = self.pid();
        // When this process ends first there is nothing to tell.
        thread::Builder::new().name("successor".to_owned()).spawn(move || tell.send(self.wait()))?;
        Ok(Successor { pid, ended })
    }

    /// Waits for its end, and answers whether it was still this one that served then. Blocks.
    fn wait(mut self) -> io::Result<(ExitStatus, bool)> {
        self.channel.set_patience(None)?;
        let replaced = matches!(self.channel.receive(), Ok(Some(message)) if message.text == REPLACED);
        Ok((self.child.wait()?, !replaced))
    }
}

impl Successor {
    /// Ready when it has failed; never if it ends well, or after a further process has taken over from it.
    pub(crate) async fn failed(self) {
        match self.ended.await {
            Ok(Ok((status, true))) if !status.success() => {
                tracing::error!("the process {} that took over has ended ({status}): nobody serves", self.pid);
            }
            _ => std::future::pending().await,
        }
    }
}

fn hand_over(channel: &Channel, admin: &Shared, given: Given) -> anyhow::Result<()> {
    let (state, steering) = given.steering.unzip();
    let steering = steering.unwrap_or_default();
    let (mut tags, sockets): (Vec<Tag>, Vec<Arc<TcpListener>>) = given.sockets.into_iter().unzip();
    tags.extend(admin.tcp.as_ref().map(|_| Tag::Admin));
    let manifest = Manifest {
        version: VERSION,
        steering: state,
        steering_descriptors: steering.len(),
        sockets: tags,
        activated: given.activated,
        admin_socket: admin.unix.is_some(),
        tickets: crate::tls::hand_over(),
    };
    let mut file = File::from(rustix::fs::memfd_create("odin-manifest", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(&manifest)?)?;
    send(channel, b"manifest", &[file.as_fd()])?;
    let descriptors = steering.iter().map(|fd| fd.as_fd()).chain(sockets.iter().map(|socket| socket.as_fd()));
    let descriptors = descriptors.chain(admin.tcp.iter().chain(&admin.unix).map(|socket| socket.as_fd()));
    for some in descriptors.collect::<Vec<_>>().chunks(MAX_DESCRIPTORS) {
        send(channel, b"descriptors", some)?;
    }
    Ok(())
}

fn send(channel: &Channel, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
    match channel.send(text, descriptors) {
        // It has ended, and may have said why.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            ready(channel)
        }
        sent => sent.context("cannot hand over to the new process"),
    }
}

/// Waits for the new process's word.
fn ready(channel: &Channel) -> anyhow::Result<()> {
    match channel.receive() {
        Ok(Some(message)) if message.text == READY => Ok(()),
        Ok(Some(message)) => bail!("{}", String::from_utf8_lossy(&message.text)),
        Ok(None) => bail!("it ended before it was ready"),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            bail!("it was not ready after {} s", PATIENCE.as_secs())
        }
        Err(error) => Err(error).context("cannot hear from the new process"),
    }
}

/// Makes sure that a process which failed is gone, and says how.
fn end(child: &mut Child) -> String {
    let pid = child.id();
    // One that has said why is about to end, and how it does is part of the story. What it changed is put right only
    // after that.
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    // One that ended has nothing left to be killed.
    let _ = child.kill();
    match child.wait() {
        Ok(status) => format!("the new process {pid} did not take over ({status}); this one serves on"),
        Err(_) => format!("the new process {pid} did not take over; this one serves on"),
    }
}
