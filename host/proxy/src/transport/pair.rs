//! Two connected ends inside this process, for tests: no socket, no port, and a peer can tell a reset from an end.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, DuplexStream, ReadBuf};

use crate::transport::conn::{ByteStream, Conn};

/// Each end takes `room` bytes that the other has not read.
pub(crate) fn pair(room: usize) -> (Conn, Conn) {
    let (a, b) = tokio::io::duplex(room);
    let broken = Rc::new(Cell::new(false));
    (Conn::over(End { stream: a, broken: broken.clone() }), Conn::over(End { stream: b, broken }))
}

struct End {
    stream: DuplexStream,
    /// One of the two was reset.
    broken: Rc<Cell<bool>>,
}

impl ByteStream for End {
    fn reset_on_drop(&mut self) {
        self.broken.set(true);
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, to))?;
        let reset = self.broken.get() && to.filled().len() == before;
        Poll::Ready(if reset { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) })
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection that keeps what it takes until it is flushed, as one that encrypts may.
pub(crate) fn keeping(conn: Conn) -> Conn {
    Conn::over(Keeping(BufWriter::new(conn)))
}

struct Keeping(BufWriter<Conn>);

impl ByteStream for Keeping {
    fn reset_on_drop(&mut self) {
        self.0.get_mut().reset_on_drop();
    }
}

impl AsyncRead for Keeping {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl AsyncWrite for Keeping {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
