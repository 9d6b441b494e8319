//! An HTTP/1.1 connection to an upstream, between exchanges and in one.

use std::task::Context;

use crate::http::http1::reader::Reader;
use crate::http::http1::writer::Writer;
use crate::transport::conn::Conn;

/// An open connection between exchanges, or in one.
pub(crate) struct Connection {
    pub(crate) io: Conn,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// It has served an exchange before; the upstream may close it at any moment.
    pub(crate) reused: bool,
}

impl Connection {
    pub(crate) fn new(io: Conn) -> Box<Self> {
        Box::new(Connection { io, reader: Reader::new(), writer: Writer::default(), reused: false })
    }

    /// Marks a connection that comes from the pool. False if the peer closed it, or sent bytes without
    /// a request.
    pub(crate) fn wake(&mut self) -> bool {
        self.reused = true;
        self.reader.limit = usize::MAX;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.reader.poll_fill(&mut self.io, &mut cx).is_pending()
    }
}
