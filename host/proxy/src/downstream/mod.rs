//! What clients reach: listeners, connections, and the exchange.

pub(crate) mod accept;
pub(crate) mod detect;
pub(crate) mod entrance;
pub(crate) mod exchange;
pub(crate) mod handle;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod listener;
pub(crate) mod local;
pub(crate) mod orders;
pub(crate) mod record;
pub(crate) mod sources;
pub(crate) mod tcp;
pub(crate) mod trim;
pub(crate) mod worker;

use std::rc::Rc;
use std::sync::Arc;

use odin_chain::ConnectionInfo;

use crate::http::fields::Client;
use crate::transport::drain::Drain;

/// Values that are the same for every request of a connection.
pub(crate) struct Downstream {
    pub(crate) info: Arc<ConnectionInfo>,
    /// Of the listener that accepted it.
    pub(crate) drain: Rc<Drain>,
    pub(crate) client: Client,
}

impl Downstream {
    pub(crate) fn new(info: Arc<ConnectionInfo>, drain: Rc<Drain>) -> Rc<Self> {
        Rc::new(Downstream { client: Client::new(info.peer), info, drain })
    }
}
