//! The new process's side: takes what the old one gives, and says when it serves.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use anyhow::{Context as _, bail};
use rustix::net::{SocketType, sockopt};

use super::channel::Channel;
use super::{Manifest, PATIENCE, PREDECESSOR, READY, REPLACED, STOP, Tag, VERSION};
use crate::admin::AdminSockets;

const STOPPED: &str = "the process before was stopped, so this one does not take over";

/// The old process waits for a word.
pub(crate) struct Takeover {
    channel: Channel,
    /// The process that serves until then.
    pub(crate) predecessor: u32,
}

/// What the old process gave.
pub(crate) struct Handed {
    /// The state of the steering and its descriptors; none when sockets are bound.
    pub(crate) steering: Option<(String, Vec<OwnedFd>)>,
    pub(crate) sockets: Vec<(Tag, TcpListener)>,
    pub(crate) admin: AdminSockets,
    /// Where systemd listens.
    pub(crate) activated: BTreeSet<SocketAddr>,
}

impl Takeover {
    /// Whether this process was started to take over from another, which made the channel that is its standard input. It
    /// need not be the parent: it may be gone, or have started a script.
    pub(crate) fn begun() -> anyhow::Result<Option<Self>> {
        let predecessor = std::env::var(PREDECESSOR).ok().and_then(|pid| pid.parse::<u32>().ok());
        let Some(predecessor) = predecessor.filter(|pid| Some(*pid) == maker_of_stdin()) else { return Ok(None) };
        let channel = Channel::of(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
        // Nothing of this process reads there, and the channel must close when it ends.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        channel.set_patience(Some(PATIENCE))?;
        Ok(Some(Takeover { channel, predecessor }))
    }

    /// Takes everything that is given.
    pub(crate) fn take(&self) -> anyhow::Result<Handed> {
        let mut descriptors = self.next()?;
        let manifest = descriptors.pop().context("the process before sent no manifest")?;
        let manifest = read(manifest)?;
        if !manifest.tickets.is_empty() {
            crate::tls::take_over(&manifest.tickets);
        }
        let wanted = manifest.steering_descriptors + manifest.sockets.len() + usize::from(manifest.admin_socket);
        let mut descriptors = Vec::with_capacity(wanted);
        while descriptors.len() < wanted {
            descriptors.extend(self.next()?);
        }
        let unix = if manifest.admin_socket { descriptors.pop().map(UnixListener::from) } else { None };
        let sockets = descriptors.split_off(manifest.steering_descriptors);
        let mut handed = Handed {
            steering: manifest.steering.map(|state| (state, descriptors)),
            sockets: Vec::new(),
            admin: AdminSockets { tcp: None, unix },
            activated: manifest.activated,
        };
        for (tag, socket) in manifest.sockets.into_iter().zip(sockets) {
            match tag {
                Tag::Admin => handed.admin.tcp = Some(TcpListener::from(socket)),
                tag => handed.sockets.push((tag, TcpListener::from(socket))),
            }
        }
        Ok(handed)
    }

    fn next(&self) -> anyhow::Result<Vec<OwnedFd>> {
        let message = self.channel.receive().context("cannot hear from the process before")?;
        let message = message.context("the process before ended while it handed over")?;
        if message.text == STOP {
            bail!(STOPPED);
        }
        if message.descriptors.is_empty() {
            bail!("the limit of open files is too low to take what the process before hands over (LimitNOFILE)");
        }
        Ok(message.descriptors)
    }

    /// This process serves now. An error when the one before was stopped meanwhile, and with it this one.
    pub(crate) fn ready(&self) -> anyhow::Result<()> {
        if self.channel.waiting()?.is_some_and(|message| message.text == STOP) {
            bail!(STOPPED);
        }
        if let Err(error) = self.channel.send(READY, &[]) {
            // Killed. What it had is here.
            tracing::warn!(%error, "the process before is gone; this one serves");
        }
        Ok(())
    }

    /// Another process has taken over from this one: what becomes of this one matters to nobody who waits for its end.
    pub(crate) fn replaced(&self) {
        // The process before has gone long ago, as a rule.
        let _ = self.channel.send_now(REPLACED);
    }

    /// This process cannot take over.
    pub(crate) fn failed(&self, error: &anyhow::Error) {
        // If nobody listens, nobody has to know.
        let _ = self.channel.send(format!("{error:#}").as_bytes(), &[]);
    }
}

/// The process that made the channel which is this one's standard input, if it is one.
fn maker_of_stdin() -> Option<u32> {
    let stdin = rustix::stdio::stdin();
    let is_channel = sockopt::socket_type(stdin).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    let maker = sockopt::socket_peercred(stdin).ok().filter(|_| is_channel)?;
    Some(maker.pid.as_raw_nonzero().get().unsigned_abs())
}

fn read(manifest: OwnedFd) -> anyhow::Result<Manifest> {
    let mut file = File::from(manifest);
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    let manifest: serde_json::Value = serde_json::from_str(&text).context("the manifest of the process before")?;
    let version = manifest["version"].as_u64();
    if version != Some(u64::from(VERSION)) {
        bail!(
            "the process before hands over in version {version:?} of the protocol, this one takes {VERSION}; restart Odin"
        );
    }
    Ok(serde_json::from_value(manifest)?)
}
