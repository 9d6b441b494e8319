//! The read side of a connection: a buffer that grows with the traffic and shrinks again. A connection that waits has
//! none: most connections wait, most of the time.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, ReadBuf};

use crate::transport::conn::Readable;

/// The smallest room for a read: a head with ten fields fits several times.
const SMALL: usize = 8 * 1024;
/// The largest: enough that a bulk body costs few system calls.
const LARGE: usize = 64 * 1024;

thread_local! {
    /// What [`Reader::read_small`] reads into.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SMALL].into());
}

/// Bytes that were read and not yet used.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) buffer: BytesMut,
    pub(crate) ended: bool,
    /// The most that one read takes.
    pub(crate) limit: usize,
    room: usize,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Reader { buffer: BytesMut::new(), ended: false, limit: usize::MAX, room: SMALL }
    }

    /// A body of so many bytes begins, if that is known: the next read takes as much of it as one may.
    pub(crate) fn expect(&mut self, body: Option<u64>) {
        if let Some(bytes) = body {
            let rest = bytes.saturating_sub(self.buffer.len() as u64);
            self.room = usize::try_from(rest).unwrap_or(LARGE).clamp(SMALL, LARGE);
        }
    }

    /// Reads once; zero means that the peer has closed its side, now or before.
    pub(crate) fn poll_fill(&mut self, io: &mut impl Readable, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if io.poll_ready(cx).is_pending() {
            return self.wait();
        }
        self.room = self.room.min(self.limit);
        let (room, polled) = if self.room <= SMALL { self.read_small(io, cx) } else { self.read_large(io, cx) };
        let read = match polled {
            Poll::Ready(result) => result?,
            Poll::Pending => return self.wait(),
        };
        self.ended = read == 0;
        if read == room {
            self.room = LARGE.min(self.room * 2);
        } else if read < self.room / 4 {
            self.room = SMALL.max(self.room / 2);
        }
        Poll::Ready(Ok(read))
    }

    /// Reads into the thread's own memory first, and keeps no more than what came. A head is a few hundred bytes: with
    /// thousands of exchanges that wait, room for more in each would be megabytes that no cache holds.
    fn read_small(&mut self, io: &mut impl Readable, cx: &mut Context<'_>) -> (usize, Poll<io::Result<usize>>) {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(&mut scratch[..self.room]);
            let polled = Pin::new(io).poll_read(cx, &mut read);
            self.buffer.extend_from_slice(read.filled());
            (self.room, polled.map_ok(|()| read.filled().len()))
        })
    }

    /// Reads where the bytes stay: for bodies a copy would be too much.
    fn read_large(&mut self, io: &mut impl Readable, cx: &mut Context<'_>) -> (usize, Poll<io::Result<usize>>) {
        if self.buffer.capacity() - self.buffer.len() < self.room / 2 {
            self.buffer.reserve(self.room);
        }
        let spare = (self.buffer.capacity() - self.buffer.len()).min(self.limit);
        // A fresh future for each poll: `read_buf` keeps no state of its own.
        (spare, pin!(io.read_buf(&mut (&mut self.buffer).limit(spare))).poll(cx))
    }

    fn wait(&mut self) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Poll::Pending
    }
}
