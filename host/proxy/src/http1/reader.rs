//! The read side of a connection: a buffer that grows with the traffic and shrinks again. A connection that waits has
//! none: most connections wait, most of the time.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

/// The smallest room for a read: a head with ten fields fits several times.
const SMALL: usize = 8 * 1024;
/// The largest: enough that a bulk body costs few system calls.
const LARGE: usize = 64 * 1024;

/// Bytes that were read and not yet used.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) buffer: BytesMut,
    pub(crate) ended: bool,
    /// The most that one read takes.
    pub(crate) limit: usize,
    room: usize,
}

/// What can be asked whether there may be something to read.
pub(crate) trait Source: AsyncRead + Unpin {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Source for TcpStream {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl Source for OwnedReadHalf {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_ref().poll_read_ready(cx)
    }
}

impl Reader {
    pub(crate) fn new() -> Self {
        Reader { buffer: BytesMut::new(), ended: false, limit: usize::MAX, room: SMALL }
    }

    /// Reads once; zero means that the peer has closed its side, now or before.
    pub(crate) fn poll_fill(&mut self, io: &mut impl Source, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if io.poll_ready(cx).is_pending() {
            return self.wait();
        }
        self.room = self.room.min(self.limit);
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < self.room / 2 {
            self.buffer.reserve(self.room);
        }
        let spare = (self.buffer.capacity() - self.buffer.len()).min(self.limit);
        // A fresh future for each poll: `read_buf` keeps no state of its own.
        let read = match pin!(io.read_buf(&mut (&mut self.buffer).limit(spare))).poll(cx) {
            Poll::Ready(result) => result?,
            Poll::Pending => return self.wait(),
        };
        self.ended = read == 0;
        if read == spare {
            self.room = LARGE.min(self.room * 2);
        } else if read < self.room / 4 {
            self.room = SMALL.max(self.room / 2);
        }
        Poll::Ready(Ok(read))
    }

    fn wait(&mut self) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Poll::Pending
    }
}
