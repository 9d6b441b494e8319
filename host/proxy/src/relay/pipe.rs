//! Pipes for `splice(2)`, pooled per worker.
//!
//! A pipe is out of the pool only while bytes are in it, so one worker with busy receivers needs a single pipe and an
//! idle connection holds none. A pipe that still has bytes in it must never return to the pool: they would surface
//! in somebody else's connection.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
};

use bytes::Bytes;

use super::sys;

/// What a worker's first pipes are asked to hold, in bytes, and how many these are: a tenth less time for a byte than with 256
/// KiB. They are the ones in use while receivers keep up.
const LARGE_BYTES: usize = 1024 * 1024;
const LARGE_PIPES: usize = 8;
/// What the others are asked to hold: they wait for slow receivers.
const PIPE_BYTES: usize = 256 * 1024;
/// Below this a pipe moves so little per call that copying is cheaper.
const USEFUL_BYTES: usize = 64 * 1024;
/// Pipes per worker, full or empty. Two descriptors each; 256 of 64 pages are also all that the kernel
/// grants an unprivileged user at full size (`fs.pipe-user-pages-soft`).
const MOST_LIVE: usize = 256;
/// Empty pipes kept for the next bulk transfer, per worker.
const MOST_IDLE: usize = 16;

thread_local! {
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

/// A non-blocking pipe and the number of bytes in it.
pub(super) struct Pipe {
    pub(super) read_end: OwnedFd,
    pub(super) write_end: OwnedFd,
    pub(super) filled: usize,
}

impl Pipe {
    /// An empty pipe, or `None` when the worker has enough of them or the system grants none of a useful size.
    pub(super) fn take() -> Option<Pipe> {
        if let Some(pipe) = IDLE.with_borrow_mut(Vec::pop) {
            return Some(pipe);
        }
        if LIVE.get() >= MOST_LIVE {
            return None;
        }
        Pipe::create().ok()
    }

    /// Returns an empty pipe to the pool; closes one that is not empty.
    pub(super) fn give_back(self) {
        if self.filled > 0 {
            return;
        }
        IDLE.with_borrow_mut(|idle| {
            if idle.len() < MOST_IDLE {
                idle.push(self);
            }
        });
    }

    /// Takes out what is in the pipe, for a sink that cannot be spliced into.
    pub(super) fn drain(mut self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.filled];
        while self.filled > 0 {
            let start = bytes.len() - self.filled;
            match sys::read(&self.read_end, &mut bytes[start..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.filled -= count,
            }
        }
        self.give_back();
        Ok(bytes.into())
    }

    fn create() -> io::Result<Pipe> {
        #[cfg(test)]
        super::tests::faults::pipe()?;
        let (read_end, write_end) = sys::pipe()?;
        let wish = if LIVE.get() < LARGE_PIPES { LARGE_BYTES } else { PIPE_BYTES };
        // A refusal (the user's page quota is used up) leaves the default size, which is looked at instead of guessed.
        let size = sys::set_pipe_size(&write_end, wish)
            .or_else(|_| sys::set_pipe_size(&write_end, PIPE_BYTES))
            .or_else(|_| sys::pipe_size(&write_end))?;
        if size < USEFUL_BYTES {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        LIVE.set(LIVE.get() + 1);
        Ok(Pipe { read_end, write_end, filled: 0 })
    }
}

/// Pipes of this worker, full or empty.
#[cfg(test)]
pub(super) fn live() -> usize {
    LIVE.get()
}

impl Drop for Pipe {
    fn drop(&mut self) {
        LIVE.set(LIVE.get().saturating_sub(1));
    }
}
