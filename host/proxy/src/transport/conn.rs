//! A connection, whatever carries it: a socket, or a stream inside something else (a TLS session, another connection, this
//! process).
//!
//! A socket is the fast path: no box, no dynamic call, and no system call that it would not make by itself.
//! tests/tests/rooms.rs checks that only `transport` and `relay` name a socket. What only a socket can do is asked for
//! here, and answered by none where there is no socket.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, SocketFlags, acceptfrom_with, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection.
pub(crate) type Conn = Carried<TcpStream, Box<dyn ByteStream>>;
/// The half of a connection that reads.
pub(crate) type ReadHalf = Carried<OwnedReadHalf, SharedHalf>;
/// The half of a connection that writes. That of a socket ends what was written when it is dropped: join it to reset.
pub(crate) type WriteHalf = Carried<OwnedWriteHalf, SharedHalf>;

/// A connection or a half of one, by what carries it.
pub(crate) struct Carried<S, T>(Carrier<S, T>);

enum Carrier<S, T> {
    Socket(S),
    Stream(T),
}

/// What carries a connection that is no socket. Dropping it is a regular end, as it is of a socket.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin {
    /// From here on dropping it shows the peer that it broke off.
    fn reset_on_drop(&mut self);

    /// See [`Readable::has_more`].
    fn has_more(&self) -> bool {
        false
    }
}

/// A stream that has ended: see [`WriteHalf::shut`].
impl ByteStream for tokio::io::Empty {
    fn reset_on_drop(&mut self) {}
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// What can be asked whether there may be something to read.
pub(crate) trait Readable: AsyncRead + Unpin {
    /// Pending when there is nothing to read, and then the task is woken when there is. Of a stream only a read can tell.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Something is there to be read, of which the driver may not have told yet: closing now would reset the connection.
    /// False for a stream that has no driver: a read has told.
    fn has_more(&self) -> bool;
}

impl Conn {
    /// Takes a connection from the queue of a listening socket, and says who has opened it. In one system call, for which
    /// the standard library would need two.
    pub(crate) fn accept(listener: &TcpListener) -> io::Result<(Conn, SocketAddr)> {
        let (socket, peer) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        let peer = peer.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
        Ok((TcpStream::from_std(socket.into())?.into(), peer))
    }

    /// A connection that is carried by a stream.
    pub(crate) fn over(stream: impl ByteStream + 'static) -> Conn {
        Carried(Carrier::Stream(Box::new(stream)))
    }

    /// Makes the socket send each piece at once; answers the ends of the connection. `peer` is known from the accept.
    pub(crate) fn begin(&self, peer: SocketAddr) -> Facts {
        let socket = self.as_socket();
        if let Some(socket) = socket {
            let _ = socket.set_nodelay(true);
        }
        let local = socket.and_then(|socket| socket.local_addr().ok()).unwrap_or(peer);
        // A socket of both families names an IPv4 address as IPv6 would.
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Facts { peer: plain(peer), local: plain(local) }
    }

    /// Makes dropping it a reset, so that the peer does not take what it got for all there was.
    pub(crate) fn reset_on_drop(&mut self) {
        match &mut self.0 {
            // Fails only on a connection that is gone.
            Carrier::Socket(socket) => drop(socket.set_zero_linger()),
            Carrier::Stream(stream) => stream.reset_on_drop(),
        }
    }

    /// The socket, for what only a socket can do.
    pub(crate) fn into_socket(self) -> Result<TcpStream, Conn> {
        match self.0 {
            Carrier::Socket(socket) => Ok(socket),
            stream @ Carrier::Stream(_) => Err(Carried(stream)),
        }
    }

    /// The two halves, each with an owner of its own.
    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self.0 {
            Carrier::Socket(socket) => {
                let (read, write) = socket.into_split();
                (Carried(Carrier::Socket(read)), Carried(Carrier::Socket(write)))
            }
            Carrier::Stream(stream) => {
                let stream = Rc::new(RefCell::new(stream));
                (Carried(Carrier::Stream(Half(stream.clone()))), Carried(Carrier::Stream(Half(stream))))
            }
        }
    }

    /// The connection that these are the halves of.
    pub(crate) fn join(read: ReadHalf, write: WriteHalf) -> Option<Conn> {
        match (read.0, write.0) {
            (Carrier::Socket(read), Carrier::Socket(write)) => Some(read.reunite(write).ok()?.into()),
            (Carrier::Stream(read), Carrier::Stream(write)) if Rc::ptr_eq(&read.0, &write.0) => {
                drop(write);
                Some(Carried(Carrier::Stream(Rc::into_inner(read.0)?.into_inner())))
            }
            _ => None,
        }
    }
}

impl WriteHalf {
    /// Ends both directions, under whoever still has the half that reads.
    pub(crate) fn shut(&self) {
        match &self.0 {
            // It may have ended by itself.
            Carrier::Socket(half) => drop(socket2::SockRef::from(half.as_ref()).shutdown(Shutdown::Both)),
            Carrier::Stream(Half(stream)) => *stream.borrow_mut() = Box::new(tokio::io::empty()),
        }
    }
}

impl From<TcpStream> for Conn {
    fn from(socket: TcpStream) -> Self {
        Carried(Carrier::Socket(socket))
    }
}

/// What belongs to one socket.
pub(crate) trait OfSocket {
    fn socket(&self) -> &TcpStream;
}

impl OfSocket for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl OfSocket for OwnedReadHalf {
    fn socket(&self) -> &TcpStream {
        self.as_ref()
    }
}

impl<S: OfSocket, T> Carried<S, T> {
    /// None when no socket carries it alone.
    pub(crate) fn as_socket(&self) -> Option<&TcpStream> {
        match &self.0 {
            Carrier::Socket(socket) => Some(socket.socket()),
            Carrier::Stream(_) => None,
        }
    }
}

/// What carries a connection, or a half of one, that is no socket.
pub(crate) trait OfStream {
    /// See [`Readable::has_more`].
    fn has_more(&self) -> bool;
}

impl OfStream for Box<dyn ByteStream> {
    fn has_more(&self) -> bool {
        (**self).has_more()
    }
}

impl OfStream for SharedHalf {
    fn has_more(&self) -> bool {
        self.0.borrow().has_more()
    }
}

impl<S: OfSocket + AsyncRead + Unpin, T: OfStream + AsyncRead + Unpin> Readable for Carried<S, T> {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_socket().map_or(Poll::Ready(Ok(())), |socket| socket.poll_read_ready(cx))
    }

    fn has_more(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match &self.0 {
            Carrier::Socket(io) => recv(io.socket(), &mut [0; 1], flags).is_ok_and(|(read, _)| read > 0),
            Carrier::Stream(io) => io.has_more(),
        }
    }
}

/// The same call to whichever of the two carries it.
macro_rules! to_carrier {
    ($carried:ident, $io:ident => $call:expr) => {
        match &mut $carried.get_mut().0 {
            Carrier::Socket($io) => $call,
            Carrier::Stream($io) => $call,
        }
    };
}

impl<S: AsyncRead + Unpin, T: AsyncRead + Unpin> AsyncRead for Carried<S, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        to_carrier!(self, io => Pin::new(io).poll_read(cx, to))
    }
}

impl<S: AsyncWrite + Unpin, T: AsyncWrite + Unpin> AsyncWrite for Carried<S, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        to_carrier!(self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        to_carrier!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        to_carrier!(self, io => Pin::new(io).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Carrier::Socket(io) => io.is_write_vectored(),
            Carrier::Stream(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        to_carrier!(self, io => Pin::new(io).poll_write_vectored(cx, slices))
    }
}

impl<S, T> fmt::Debug for Carried<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self.0, Carrier::Socket(_)) { "Socket" } else { "Stream" })
    }
}

/// One of two users of a stream, in one task or in tasks of one thread. It is borrowed for one poll at a time.
pub(crate) struct Half<R>(pub(crate) R);

/// A half of a connection that is no socket.
pub(crate) type SharedHalf = Half<Rc<RefCell<Box<dyn ByteStream>>>>;

impl<R: Deref<Target = RefCell<T>> + Unpin, T: AsyncRead + Unpin> AsyncRead for Half<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, to)
    }
}

impl<R: Deref<Target = RefCell<T>> + Unpin, T: AsyncWrite + Unpin> AsyncWrite for Half<R> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }
}
