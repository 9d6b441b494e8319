//! One direction of a relay: source → sink.
//!
//! Small messages go through a buffer that all relays of the worker share; a bulk transfer goes through a pipe with
//! `splice(2)` and never enters user space, if both ends are sockets. What the sink would not take is held (one left-over
//! of the buffer or one pipe, never more) and the source is left alone until it is delivered: that is the backpressure.
//! Must never read while it holds something, and never hold a pipe while it waits for the source.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};

use super::{pipe::Pipe, socket::Socket, sys};

/// The shared buffer: the most that one read of the copying mode takes.
const SCRATCH_BYTES: usize = 64 * 1024;
/// A direction is bulk after `BULK_READS` reads in a row of at least `BULK_BYTES` …
const BULK_BYTES: usize = 32 * 1024;
const BULK_READS: i32 = 3;
/// … and is not any more after `SMALL_ROUNDS` splices in a row of less than `SMALL_BYTES`.
const SMALL_BYTES: usize = 16 * 1024;
const SMALL_ROUNDS: i32 = 4;
/// The most that one splice takes, and so the most that a stalled direction holds.
const SPLICE_BYTES: usize = 512 * 1024;
/// Large reads to pass before a direction asks again for a pipe that it did not get.
const RETRY_READS: i32 = 256;
/// After this much in one poll the other tasks of the worker and its I/O driver have their turn.
const TURN_BYTES: usize = 512 * 1024;
const TURN_ROUNDS: usize = 32;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Why a poll stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing is held; the task wakes when the source has more.
    SourceEmpty,
    /// Something is held; the task wakes when the sink takes more.
    SinkFull,
    /// There may be more to do at once, but others are to run first. Nobody wakes the task.
    Spent,
    /// The source ended and everything was delivered.
    Closed,
}

/// Which socket of the flow failed, and how.
#[derive(Debug)]
pub(super) enum Fault {
    Source(io::Error),
    Sink(io::Error),
}

/// Bytes that left the source and have not reached the sink.
enum Held {
    Nothing,
    Bytes(Bytes),
    Pipe(Pipe),
}

/// How the next read is done.
#[derive(Clone, Copy)]
enum Mode {
    /// Through the shared buffer; counts large reads in a row (below zero: a pipe was refused).
    Copy { large: i32 },
    /// Through a pipe; counts small rounds in a row.
    Splice { small: i32 },
    /// Through the shared buffer for good: an end is a stream, or these sockets or this kernel cannot splice.
    CopyOnly,
}

pub(super) struct Flow<'s> {
    source: &'s Socket,
    sink: &'s Socket,
    held: Held,
    mode: Mode,
    /// The sink may still keep some of what it took, if it is a stream.
    unflushed: bool,
    /// The source said that it ended.
    ended: bool,
    closed: bool,
    /// The source failed: its remaining bytes are delivered, but their end must not look like a clean one.
    pub(super) truncated: bool,
    /// Bytes read from the source plus bytes delivered: changes whenever something moves.
    pub(super) moved: u64,
    pub(super) delivered: u64,
}

impl<'s> Flow<'s> {
    /// `early` is written to `sink` before anything that `source` sends.
    pub(super) fn new(source: &'s Socket, sink: &'s Socket, early: Bytes) -> Flow<'s> {
        let held = if early.is_empty() { Held::Nothing } else { Held::Bytes(early) };
        let sockets = source.is_socket() && sink.is_socket();
        Flow {
            source,
            sink,
            held,
            mode: if sockets { Mode::Copy { large: 0 } } else { Mode::CopyOnly },
            unflushed: false,
            ended: false,
            closed: false,
            truncated: false,
            moved: 0,
            delivered: 0,
        }
    }

    /// True while bytes are underway that an early end would lose.
    pub(super) fn is_cut(&self) -> bool {
        self.holds_bytes() || self.unflushed
    }

    fn holds_bytes(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// Moves bytes until it must wait or its turn is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Result<Turn, Fault> {
        if self.closed {
            return Ok(Turn::Closed);
        }
        let turn_ends_at = self.moved + 2 * TURN_BYTES as u64;
        for _ in 0..TURN_ROUNDS {
            while self.holds_bytes() {
                let delivered = ready(self.deliver(cx)).map_err(Fault::Sink)?;
                if delivered.is_none()
                    || self.holds_bytes() && ready(self.sink.poll_write_ready(cx)).map_err(Fault::Sink)?.is_none()
                {
                    return Ok(Turn::SinkFull);
                }
            }
            if self.ended {
                return Ok(self.close(cx));
            }
            if self.moved >= turn_ends_at {
                break;
            }
            if ready(self.source.poll_read_ready(cx)).map_err(Fault::Source)?.is_none() {
                return self.wait(cx);
            }
            match self.mode {
                Mode::Splice { small } => self.splice(small)?,
                Mode::Copy { .. } | Mode::CopyOnly => {
                    if self.copy(cx)?.is_pending() {
                        return self.wait(cx);
                    }
                }
            }
        }
        Ok(Turn::Spent)
    }

    /// The source has nothing for now: what the sink has taken goes out.
    fn wait(&mut self, cx: &mut Context<'_>) -> Result<Turn, Fault> {
        if self.unflushed {
            self.unflushed = ready(self.sink.poll_flush(cx)).map_err(Fault::Sink)?.is_none();
        }
        Ok(Turn::SourceEmpty)
    }

    /// Passes the end of the source on. That the sink has ended already shows when it is read.
    fn close(&mut self, cx: &mut Context<'_>) -> Turn {
        let last = if self.truncated { self.sink.poll_flush(cx) } else { self.sink.poll_shutdown_write(cx) };
        (self.closed, self.unflushed) = (last.is_ready(), last.is_pending());
        if self.closed { Turn::Closed } else { Turn::SinkFull }
    }

    /// One read into the shared buffer and one write out of it; only what the sink refuses is copied. Pending when the
    /// source is a stream that has nothing.
    fn copy(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Fault> {
        SCRATCH.with_borrow_mut(|scratch| {
            let count = match receive(self.source, scratch, cx) {
                Poll::Ready(Ok(Some(count))) => count,
                Poll::Ready(Ok(None)) => return Ok(Poll::Ready(())),
                // It is known that it failed: its last bytes were read.
                Poll::Ready(Err(_)) if self.truncated => 0,
                Poll::Ready(Err(error)) => return Err(Fault::Source(error)),
                Poll::Pending => return Ok(Poll::Pending),
            };
            let received = &scratch[..count];
            if received.is_empty() {
                self.ended = true;
                return Ok(Poll::Ready(()));
            }
            self.moved += count as u64;
            self.count_large(count);
            let sent = ready(transmit(self.sink, received, cx)).map_err(Fault::Sink)?.unwrap_or(0);
            self.count_delivered(sent);
            if sent < count {
                self.held = Held::Bytes(Bytes::copy_from_slice(&received[sent..]));
            }
            Ok(Poll::Ready(()))
        })
    }

    /// One splice into an empty pipe; the caller delivers it.
    fn splice(&mut self, small: i32) -> Result<(), Fault> {
        let Some(mut pipe) = Pipe::take() else {
            self.mode = Mode::Copy { large: -RETRY_READS };
            return Ok(());
        };
        match self.source.try_io(Interest::READABLE, |source| sys::splice(source, &pipe.write_end, SPLICE_BYTES)) {
            // The end of the stream, or urgent data ahead, at which splice gives up: a copying read knows which.
            Ok(0) => self.mode = Mode::Copy { large: 0 },
            Ok(count) => {
                self.moved += count as u64;
                self.mode = match small + 1 {
                    _ if count >= SMALL_BYTES => Mode::Splice { small: 0 },
                    SMALL_ROUNDS.. => Mode::Copy { large: 0 },
                    small => Mode::Splice { small },
                };
                pipe.filled = count;
                self.held = Held::Pipe(pipe);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if cannot_splice(&error) => self.mode = Mode::CopyOnly,
            Err(error) => return Err(Fault::Source(error)),
        }
        pipe.give_back();
        Ok(())
    }

    /// Writes as much of what is held as the sink takes now. Pending when it is a stream that takes nothing.
    fn deliver(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Bytes(mut bytes) => {
                let polled = transmit(self.sink, &bytes, cx)?;
                if let Poll::Ready(sent) = polled {
                    self.count_delivered(sent);
                    bytes.advance(sent);
                }
                if bytes.has_remaining() {
                    self.held = Held::Bytes(bytes);
                }
                return polled.map(|_| Ok(()));
            }
            Held::Pipe(pipe) => self.deliver_pipe(pipe)?,
        }
        Poll::Ready(Ok(()))
    }

    fn deliver_pipe(&mut self, mut pipe: Pipe) -> io::Result<()> {
        let mut sent = 0;
        let outcome = self.sink.try_io(Interest::WRITABLE, |sink| {
            #[cfg(test)]
            super::tests::faults::splice_out()?;
            sent = sys::splice(&pipe.read_end, sink, pipe.filled)?;
            // As with a short send: the sink is full, so the next write must wait for the driver.
            if sent < pipe.filled { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        self.count_delivered(sent);
        pipe.filled -= sent;
        match outcome {
            Ok(()) => pipe.give_back(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.held = Held::Pipe(pipe),
            Err(error) if cannot_splice(&error) => {
                self.mode = Mode::CopyOnly;
                self.held = Held::Bytes(pipe.drain()?);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn count_delivered(&mut self, count: usize) {
        self.moved += count as u64;
        self.delivered += count as u64;
        self.unflushed = true;
    }

    fn count_large(&mut self, count: usize) {
        if let Mode::Copy { large } = self.mode {
            self.mode = match large + 1 {
                _ if count < BULK_BYTES => Mode::Copy { large: large.min(0) },
                BULK_READS.. => Mode::Splice { small: 0 },
                large => Mode::Copy { large },
            };
        }
    }
}

/// A read that also tells tokio when it emptied the socket, so that the next one waits for the driver and does not
/// spend a system call on `EAGAIN`. Sound with edge-triggered epoll: whatever arrives later raises a new event, and a
/// FIN that came along keeps the socket readable. `None`: nothing there after all; pending only for a stream.
fn receive(source: &Socket, buffer: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
    let mut read = ReadBuf::new(buffer);
    if let Some(polled) = source.stream(|stream| stream.poll_read(cx, &mut read)) {
        return polled.map_ok(|()| Some(read.filled().len()));
    }
    let mut count = None;
    let outcome = source.try_io(Interest::READABLE, |source| {
        let read = sys::recv(source, buffer)?;
        count = Some(read);
        if (1..buffer.len()).contains(&read) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Poll::Ready(Err(error)),
        _ => Poll::Ready(Ok(count)),
    }
}

/// A write that also tells tokio when it filled the socket. Answers how much was taken, 0 when the sink is full; pending
/// only for a stream.
fn transmit(sink: &Socket, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    if let Some(polled) = sink.stream(|stream| stream.poll_write(cx, bytes)) {
        return match polled {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            polled => polled,
        };
    }
    let mut sent = 0;
    let outcome = sink.try_io(Interest::WRITABLE, |sink| {
        sent = sys::send(sink, bytes)?;
        if sent < bytes.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Poll::Ready(Err(error)),
        _ => Poll::Ready(Ok(sent)),
    }
}

/// Errors that speak of the call and not of the socket. Any other one is the socket's, and splice has consumed it: a
/// later read would see a clean end.
fn cannot_splice(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP))
}

/// `None` while pending.
fn ready<T>(poll: Poll<io::Result<T>>) -> io::Result<Option<T>> {
    match poll {
        Poll::Ready(outcome) => outcome.map(Some),
        Poll::Pending => Ok(None),
    }
}
