//! A connection as the relay sees it: one that can be *muted* while nobody reads from it.
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
    task::{Context, Poll},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
};

use super::sys;

/// Shared by the two directions of one relay, which is one task.
pub(super) struct Socket {
    state: RefCell<State>,
    /// Registered anew, and the driver has not told yet whether it takes bytes: worth a try.
    fresh: Cell<bool>,
    registrations: Cell<u32>,
}

enum State {
    /// As it was handed over.
    Stream(TcpStream),
    Registered {
        socket: AsyncFd<StdStream>,
        muted: bool,
    },
    /// The registration failed. `None`: even the socket is gone.
    Failed(Option<StdStream>),
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket { state: RefCell::new(State::Stream(stream)), fresh: Cell::new(false), registrations: Cell::new(0) }
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
            State::Stream(stream) => stream.poll_read_ready(cx),
            State::Registered { socket, .. } => socket.poll_read_ready(cx).map_ok(drop),
            State::Failed(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Ready when the socket may take bytes.
    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &*self.state.borrow() {
            State::Stream(stream) => stream.poll_write_ready(cx),
            State::Registered { socket, .. } => socket.poll_write_ready(cx).map_ok(drop),
            State::Failed(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Stops wakes for bytes that arrive, until somebody asks for them again.
    pub(super) fn mute(&self) -> io::Result<()> {
        match &*self.state.borrow() {
            State::Registered { muted: true, .. } | State::Failed(_) => return Ok(()),
            State::Registered { .. } | State::Stream(_) => {}
        }
        self.register(true)
    }

    /// Ready with the error once a muted socket was reset.
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
            State::Stream(stream) => stream.try_io(interest, || call(stream.as_fd())),
            State::Registered { socket, .. } if interest.is_writable() && self.fresh.take() => call(socket.as_fd()),
            State::Registered { socket, .. } => socket.try_io(interest, |socket| call(socket.as_fd())),
            State::Failed(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends FIN after what was written.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        match &*self.state.borrow() {
            State::Stream(stream) => sys::shutdown_write(stream),
            State::Registered { socket, .. } => sys::shutdown_write(socket),
            State::Failed(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Makes dropping it send RST instead of FIN.
    pub(super) fn reset_on_drop(&self) {
        // Fails only on a connection that is gone.
        let _ = match &*self.state.borrow() {
            State::Stream(stream) => sys::set_zero_linger(stream),
            State::Registered { socket, .. } => sys::set_zero_linger(socket),
            State::Failed(Some(socket)) => sys::set_zero_linger(socket),
            State::Failed(None) => Ok(()),
        };
    }

    fn register(&self, muted: bool) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let socket = match mem::replace(&mut *state, State::Failed(None)) {
            State::Stream(stream) => stream.into_std()?,
            State::Registered { socket, .. } => socket.into_inner(),
            State::Failed(socket) => {
                *state = State::Failed(socket);
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
