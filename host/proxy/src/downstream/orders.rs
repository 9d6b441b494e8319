//! What workers are told to do.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::snapshot::Snapshot;

/// Nothing is sent: the channel closes when every worker has done what it was told.
pub(crate) enum Applied {}

/// What a worker is told.
pub(crate) enum Command {
    /// A new config, sockets to accept from, and sockets to close.
    Apply { snapshot: Arc<Snapshot>, opened: Vec<Opened>, closing: Vec<Closing>, applied: UnboundedSender<Applied> },
    /// Accept no more; end when what runs has ended.
    Drain(Draining),
}

/// Names a listening socket for as long as the process lives.
pub type SocketId = u64;

/// A listening socket for one worker to accept from.
pub struct Opened {
    /// Given by who opened it; never used twice.
    pub id: SocketId,
    /// The name of the listener that its connections are for.
    pub listener: String,
    /// The worker's number, from zero.
    pub worker: usize,
    /// Non-blocking. Whoever opened it may keep a share, and closes it by giving that up too.
    pub socket: Arc<TcpListener>,
}

/// A listening socket that is to be closed.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// Which.
    pub id: SocketId,
    /// Accept for so long before that: connections may be on their way to it.
    pub linger: Duration,
    /// The socket stays open under another id: the connections in its queue belong to that id's listener.
    pub moved: bool,
}

/// How to end.
#[derive(Clone, Copy, Debug)]
pub struct Draining {
    /// What has not ended after so long is cut.
    pub grace: Duration,
    /// Somebody else serves already: clients are told to go there, and no idle connection is closed under their hands.
    pub leaving: bool,
}
