//! A connection as the relay sees it: a socket that can be *muted* while nobody reads from it, or a stream, of which only a
//! read or a write can tell whether it is ready.
//!
//! Tokio registers a socket once, for reading and writing, edge-triggered: every segment that arrives wakes the worker, also
//! while the sink is full and nothing will be read. A fast sender before a slow receiver costs dozens of such wakes for each
//! time that the sink fills up, more than moving the bytes does. A muted socket is registered for writing only: it
//! wakes the worker when it takes more or was reset, and for nothing else.
//! Must never drop a socket that could not be registered again: its peer would see a regular end.

use std::{
    cell::{Cell, RefCell},
    io, mem,
    net::TcpStream as StdStream,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncWrite as _, Interest, unix::AsyncFd},
    net::TcpStream,
};

use super::sys;
use crate::transport::conn::Conn;

/// Shared by the two directions of one relay, which is one task.
pub(super) struct Socket {
    state: RefCell<State>,
    /// Registered anew, and the driver has not told yet whether it takes bytes: worth a try.
    fresh: Cell<bool>,
    registrations: Cell<u32>,
}

enum State {
    Stream(Conn),
    /// A socket as it was handed over.
    Whole(TcpStream),
    Registered {
        socket: AsyncFd<StdStream>,
        muted: bool,
    },
    /// The registration failed. `None`: even the socket is gone.
    Failed(Option<StdStream>),
}

impl Socket {
    pub(super) fn new(conn: Conn) -> Socket {
        let state = conn.into_socket().map_or_else(State::Stream, State::Whole);
        Socket { state: RefCell::new(state), fresh: Cell::new(false), registrations: Cell::new(0) }
    }

    /// How often the registration changed. A change forgets who waited before it.
    pub(super) fn registrations(&self) -> u32 {
        self.registrations.get()
    }

    /// Ready when the socket may have bytes, or its end. Unmutes it.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(&*self.state.borrow(), State::Registered { muted: true, .. }) {
            self.register(false)?;
        }
        match &*self.state.borrow() {
            State::Stream(_) => Poll::Ready(Ok(())),
            State::Whole(stream) => stream.poll_read_ready(cx),
            State::Registered { socket, .. } => socket.poll_read_ready(cx).map_ok(drop),
            State::Failed(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Ready when the socket may take bytes.
    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &*self.state.borrow() {
            State::Stream(_) => Poll::Ready(Ok(())),
            State::Whole(stream) => stream.poll_write_ready(cx),
            State::Registered { socket, .. } => socket.poll_write_ready(cx).map_ok(drop),
            State::Failed(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Stops wakes for bytes that arrive, until somebody asks for them again.
    pub(super) fn mute(&self) -> io::Result<()> {
        match &*self.state.borrow() {
            State::Registered { muted: true, .. } | State::Failed(_) | State::Stream(_) => return Ok(()),
            State::Registered { .. } | State::Whole(_) => {}
        }
        self.register(true)
    }

    /// Ready with the error once a muted socket was reset. A stream tells only who reads it, or writes to it.
    pub(super) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let State::Registered { socket, muted: true } = &*self.state.borrow() else { return Poll::Pending };
        // Not readable, but hung up: reset, or ended in both directions, and then nothing can fail any more.
        match socket.poll_read_ready(cx).map_ok(drop) {
            Poll::Ready(Ok(())) => match socket.get_ref().take_error() {
                Ok(Some(error)) | Err(error) => Poll::Ready(error),
                Ok(None) => Poll::Pending,
            },
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Pending => Poll::Pending,
        }
    }

    /// One system call, if the driver says that it can succeed. A call that answers `WouldBlock` waits for the driver next.
    pub(super) fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        match &*self.state.borrow() {
            State::Whole(stream) => stream.try_io(interest, || call(stream.as_fd())),
            State::Registered { socket, .. } if interest.is_writable() && self.fresh.take() => call(socket.as_fd()),
            State::Registered { socket, .. } => socket.try_io(interest, |socket| call(socket.as_fd())),
            State::Stream(_) | State::Failed(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// What it does if it is a stream, and none otherwise.
    pub(super) fn stream<R>(&self, what: impl FnOnce(Pin<&mut Conn>) -> R) -> Option<R> {
        match &mut *self.state.borrow_mut() {
            State::Stream(conn) => Some(what(Pin::new(conn))),
            _ => None,
        }
    }

    pub(super) fn is_socket(&self) -> bool {
        !matches!(&*self.state.borrow(), State::Stream(_))
    }

    /// Sends on what a stream has taken. A socket keeps nothing.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(|stream| stream.poll_flush(cx)).unwrap_or(Poll::Ready(Ok(())))
    }

    /// Sends FIN after what was written.
    pub(super) fn poll_shutdown_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.state.borrow_mut() {
            State::Stream(conn) => Pin::new(conn).poll_shutdown(cx),
            State::Whole(stream) => Poll::Ready(sys::shutdown_write(stream)),
            State::Registered { socket, .. } => Poll::Ready(sys::shutdown_write(socket)),
            State::Failed(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Makes dropping it send RST instead of FIN.
    pub(super) fn reset_on_drop(&self) {
        // Fails only on a connection that is gone.
        let _ = match &mut *self.state.borrow_mut() {
            State::Stream(conn) => {
                conn.reset_on_drop();
                Ok(())
            }
            State::Whole(stream) => sys::set_zero_linger(stream),
            State::Registered { socket, .. } => sys::set_zero_linger(socket),
            State::Failed(Some(socket)) => sys::set_zero_linger(socket),
            State::Failed(None) => Ok(()),
        };
    }

    fn register(&self, muted: bool) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let socket = match mem::replace(&mut *state, State::Failed(None)) {
            State::Whole(stream) => stream.into_std()?,
            State::Registered { socket, .. } => socket.into_inner(),
            other @ (State::Stream(_) | State::Failed(_)) => {
                *state = other;
                return Err(io::ErrorKind::NotConnected.into());
            }
        };
        self.fresh.set(true);
        self.registrations.set(self.registrations.get().wrapping_add(1));
        let interest = if muted { Interest::WRITABLE } else { Interest::READABLE | Interest::WRITABLE };
        match sys::register(socket, interest) {
            Ok(socket) => *state = State::Registered { socket, muted },
            Err(failed) => {
                let (socket, error) = failed.into_parts();
                *state = State::Failed(Some(socket));
                return Err(error);
            }
        }
        Ok(())
    }
}
