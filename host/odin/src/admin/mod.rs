//! The admin pages: health, metrics, what Odin knows about itself, and orders. Not for clients.
//!
//! There are two ways in. The unix socket is open to the user of this process and to root, and takes every order. The
//! TCP listener, on loopback by default, only shows pages, with hashes in place of secrets; a client that sends the token
//! of `admin-token-file` may do there what the socket lets it do.
//!
//! ```text
//! connections (accept, limit, cut) ─→ rights (which way in, token, browser) ─→ answer (page or order) ─→ pages
//! ```

mod answer;
mod connections;
mod host;
mod pages;
mod rights;
mod secrets;
mod socket;
mod token;
mod upload;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::life::{Odin, Order};
use crate::privileges::Account;
use crate::sockets;
use connections::Door;
use upload::Uploads;

pub(crate) use socket::Unix;
pub(crate) use token::Token;
pub(crate) use upload::MAX_PLUGIN;

/// How long answers that are due when the pages end may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the pages are about, and whom to tell of orders.
struct Desk {
    odin: Rc<Odin>,
    orders: UnboundedSender<Order>,
    uploads: Uploads,
    /// Only this host can reach the TCP pages.
    loopback: bool,
    /// What `/process` tells of where the pages are.
    places: AdminPlaces,
}

/// Where the pages are.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminPlaces {
    pub(crate) tcp: Option<SocketAddr>,
    pub(crate) socket: Option<std::path::PathBuf>,
}

/// The sockets of the pages of a process before this one.
#[derive(Default)]
pub(crate) struct AdminSockets {
    pub(crate) tcp: Option<StdListener>,
    pub(crate) unix: Option<StdUnixListener>,
}

/// The same sockets once more, for a process that takes over.
pub(crate) struct Shared {
    pub(crate) tcp: Option<OwnedFd>,
    pub(crate) unix: Option<OwnedFd>,
}

/// The admin pages, bound and not yet serving.
pub(crate) struct Admin {
    tcp: Option<StdListener>,
    unix: Unix,
}

impl Admin {
    /// Opens both ways in; `user` is who this process is to become.
    pub(crate) fn open(config: &Config, user: Option<&Account>, inherited: AdminSockets) -> anyhow::Result<Self> {
        let unix = Unix::open(&config.admin_socket, user, inherited.unix)?;
        let tcp = config
            .admin
            .map(|address| bind(address, inherited.tcp).with_context(|| format!("admin: cannot listen on {address}")));
        Ok(Admin { tcp: tcp.transpose()?, unix })
    }

    /// Where they are; with port zero, what the system chose.
    pub(crate) fn places(&self) -> AdminPlaces {
        let tcp = self.tcp.as_ref().and_then(|socket| socket.local_addr().ok());
        AdminPlaces { tcp, socket: self.unix.path().map(ToOwned::to_owned) }
    }

    /// The same sockets, for whoever takes over.
    pub(crate) fn share(&self) -> io::Result<Shared> {
        let tcp = self.tcp.as_ref().map(StdListener::try_clone).transpose()?;
        let unix = self.unix.listener.as_ref().map(StdUnixListener::try_clone).transpose()?;
        Ok(Shared { tcp: tcp.map(OwnedFd::from), unix: unix.map(OwnedFd::from) })
    }

    /// Serves until it is stopped.
    pub(crate) fn serve(mut self, odin: Rc<Odin>, orders: UnboundedSender<Order>) -> io::Result<Serving> {
        let places = self.places();
        let loopback = places.tcp.is_none_or(|address| address.ip().to_canonical().is_loopback());
        let desk = Rc::new(Desk { odin, orders, uploads: Uploads::new(), loopback, places: places.clone() });
        let (stop, stopped) = watch::channel(());
        let mut doors = Vec::new();
        if let Some(socket) = self.tcp {
            socket.set_nonblocking(true)?;
            doors.push(Door::Tcp(TcpListener::from_std(socket)?));
        }
        if let Some(socket) = self.unix.listener.take() {
            socket.set_nonblocking(true)?;
            doors.push(Door::Unix(UnixListener::from_std(socket)?));
        }
        let serve = |door| tokio::task::spawn_local(connections::serve(door, desk.clone(), stopped.clone()));
        Ok(Serving { stop, tasks: doors.into_iter().map(serve).collect(), unix: self.unix, places })
    }
}

/// Listens; goes on with the socket of a process before this one if it is for the same address.
fn bind(address: SocketAddr, inherited: Option<StdListener>) -> io::Result<StdListener> {
    let before = inherited.as_ref().and_then(|socket| socket.local_addr().ok());
    let same = |before: SocketAddr| before.ip() == address.ip() && [0, before.port()].contains(&address.port());
    if let Some(socket) = inherited.filter(|_| before.is_some_and(same)) {
        return Ok(socket);
    }
    let _turn = odin_steer::turn();
    // Of a process before this one the socket may have the port at another address, and shares it.
    if address.port() != 0 && before.is_none_or(|before| before.port() != address.port()) {
        sockets::is_free(address)?;
    }
    let socket = odin_proxy::bind(address)?;
    odin_proxy::listen(&socket)?;
    Ok(socket)
}

/// The admin pages, being served.
pub(crate) struct Serving {
    stop: watch::Sender<()>,
    tasks: Vec<JoinHandle<()>>,
    unix: Unix,
    places: AdminPlaces,
}

impl Serving {
    /// Where they are.
    pub(crate) fn places(&self) -> &AdminPlaces {
        &self.places
    }

    /// Why there is no unix socket, if that was not asked for.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.unix.fault()
    }

    /// This process serves now, whoever did before: the file of the socket is its own.
    pub(crate) fn taken_over(&mut self) {
        self.unix.taken_over();
    }

    /// Accepts no more at once; what it answers ends when the answers that are due have been given.
    pub(crate) fn stop(self) -> impl Future<Output = ()> {
        let Serving { stop, tasks, unix, .. } = self;
        drop(stop);
        async move {
            let ended = async {
                for task in tasks {
                    // How it ended does not matter.
                    let _ = task.await;
                }
            };
            let _ = tokio::time::timeout(LAST_ANSWERS, ended).await;
            drop(unix);
        }
    }

    /// As [`Serving::stop`], when another process has taken over, with the socket and its file.
    pub(crate) fn leave(self) -> impl Future<Output = ()> {
        self.unix.leave();
        self.stop()
    }
}
