//! The relay's system calls: the only file of the data path with `unsafe` in it.
//!
//! Every call takes borrowed descriptors and slices, retries `EINTR`, never blocks and never raises `SIGPIPE` on its
//! own account (`splice` has no such flag: Rust programs ignore the signal, and Odin must never restore it).
//! Nothing here may keep a descriptor, know about readiness, or decide anything.

#![allow(unsafe_code)] // std and tokio offer neither splice(2) nor pipe sizes, nor a recv that can share one try_io

use std::{
    io,
    net::TcpStream,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use tokio::io::{
    Interest,
    unix::{AsyncFd, AsyncFdRegisterError},
};

/// Reads into `buffer`; 0 is the end of the stream.
pub(super) fn recv(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and the pointer and length are those of one exclusive slice.
    retry(|| unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) })
}

/// Writes a prefix of `bytes` and says how long it was.
pub(super) fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is borrowed for the call, and the pointer and length are those of one shared slice.
    retry(|| unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Moves up to `most` bytes between a socket and a pipe without copying them to user space.
pub(super) fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: both descriptors are borrowed for the call; null offsets are what sockets and pipes require.
    retry(|| unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), most, flags) })
}

/// Reads what a pipe holds.
pub(super) fn read(pipe: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = pipe.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and the pointer and length are those of one exclusive slice.
    retry(|| unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// A non-blocking pipe: its read end and its write end.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the kernel writes two descriptors into an array of two.
    retry(|| unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) as isize })?;
    // SAFETY: both descriptors were just created and belong to nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Asks for a pipe of at least `bytes`; answers what the kernel granted.
pub(super) fn set_pipe_size(pipe: impl AsFd, bytes: usize) -> io::Result<usize> {
    let fd = pipe.as_fd().as_raw_fd();
    let bytes = libc::c_int::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: F_SETPIPE_SZ takes an int and no pointer; the descriptor is borrowed for the call.
    retry(|| unsafe { libc::fcntl(fd, libc::F_SETPIPE_SZ, bytes) as isize })
}

/// The capacity of a pipe in bytes.
pub(super) fn pipe_size(pipe: impl AsFd) -> io::Result<usize> {
    let fd = pipe.as_fd().as_raw_fd();
    // SAFETY: F_GETPIPE_SZ takes no argument; the descriptor is borrowed for the call.
    retry(|| unsafe { libc::fcntl(fd, libc::F_GETPIPE_SZ) as isize })
}

/// Sends FIN after what is queued: `SHUT_WR`.
pub(super) fn shutdown_write(socket: impl AsFd) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: no pointer is involved; the descriptor is borrowed for the call.
    retry(|| unsafe { libc::shutdown(fd, libc::SHUT_WR) as isize }).map(drop)
}

/// From now on closing the socket sends RST instead of FIN, and discards what is queued.
pub(super) fn set_zero_linger(socket: impl AsFd) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = size_of::<libc::linger>() as libc::socklen_t;
    let value = ptr::from_ref(&linger).cast();
    // SAFETY: the kernel reads `length` bytes of a `linger` that lives until the call is over.
    retry(|| unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, length) as isize }).map(drop)
}

/// Registers a socket with the worker's driver, for some kinds of events only. A failure hands the socket back.
pub(super) fn register(
    socket: TcpStream,
    interest: Interest,
) -> Result<AsyncFd<TcpStream>, AsyncFdRegisterError<TcpStream>> {
    // SAFETY: a TcpStream owns its descriptor, always answers the same one, and keeps it open until it is dropped.
    unsafe { AsyncFd::register_with_interest(socket, interest) }
}

/// Turns a system call's answer into a `Result`, calling again while a signal interrupts it.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(answer) => return Ok(answer),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}
