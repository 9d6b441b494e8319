//! A connection as hyper wants it, with the bytes that were read before anyone knew that it was HTTP/2.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::transport::conn::Conn;

/// Spawns hyper's tasks on the worker's own thread.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Is told whether the socket takes what is written.
pub(crate) trait Observer {
    /// It takes no more for now.
    fn blocked(&self);
    /// It took all that there was.
    fn flushed(&self);
}

/// A stream with a beginning that was read before.
pub(crate) struct Io {
    early: Bytes,
    /// There until the end.
    stream: Option<Conn>,
    back: Option<Back>,
    /// Told of the first read.
    heard: Option<Rc<Notify>>,
    observer: Option<Rc<dyn Observer>>,
}

/// Where a stream is when hyper has done with it.
type Back = Rc<Cell<Option<Conn>>>;

impl Io {
    /// One that tells when the peer has said something.
    pub(crate) fn telling(stream: Conn) -> (Self, Rc<Notify>) {
        let heard = Rc::new(Notify::new());
        (
            Io { early: Bytes::new(), stream: Some(stream), back: None, heard: Some(heard.clone()), observer: None },
            heard,
        )
    }

    /// One whose stream comes back when this is dropped, and which tells whether its client takes what is written.
    pub(crate) fn returning(early: Bytes, stream: Conn, observer: Rc<dyn Observer>) -> (Self, Back) {
        let back = Back::default();
        (Io { early, stream: Some(stream), back: Some(back.clone()), heard: None, observer: Some(observer) }, back)
    }

    fn told(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Some(observer) = self.observer.as_ref().filter(|_| written.is_pending()) {
            observer.blocked();
        }
        written
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Conn>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if let Some(back) = &self.back {
            back.set(self.stream.take());
        }
    }
}

/// What hyper's buffer takes in one copy: the frames of a connection's window are read in few steps.
const SCRATCH: usize = 16 * 1024;

impl Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let take = self.early.len().min(to.remaining());
            to.put_slice(&self.early[..take]);
            self.early.advance(take);
            return Poll::Ready(Ok(()));
        }
        // hyper's cursor can be filled without a copy only by unsafe code; a copy of what was read costs far less than the read.
        let mut scratch = [std::mem::MaybeUninit::uninit(); SCRATCH];
        let room = to.remaining().min(SCRATCH);
        let mut buffer = ReadBuf::uninit(&mut scratch[..room]);
        ready!(self.stream()?.poll_read(cx, &mut buffer))?;
        to.put_slice(buffer.filled());
        if let Some(heard) = self.heard.take() {
            // hyper reads what came before it gives way, so whoever is told finds the settings in force.
            heard.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(cx, bytes);
        self.told(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(observer) = &self.observer {
            observer.flushed();
        }
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(cx, slices);
        self.told(written)
    }
}
