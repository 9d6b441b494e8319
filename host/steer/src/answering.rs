//! Answers those who ask what is steered here. Anyone can ask, and not listen to the answer: nobody waits for that.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::announce::{Told, lock};

/// Who has not read the answer by then goes without the rest.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many are answered at a time; one more takes the place of the first, who has had the longest time to read.
const MOST: usize = 64;

/// Someone who has not read everything.
struct Asker {
    stream: UnixStream,
    text: Arc<[u8]>,
    written: usize,
    until: Instant,
}

/// Answers until it is told to stop.
pub(crate) fn serve(listener: &UnixListener, told: &Mutex<Told>, stop: &OwnedFd) -> io::Result<()> {
    let mut askers = VecDeque::new();
    while !wait(listener, &askers, stop)? {
        match listener.accept() {
            Ok((stream, _)) => askers.extend(Asker::new(stream, told).ok()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Out of descriptors, most likely: not a reason to stop, nor to spin.
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
        let now = Instant::now();
        askers.retain_mut(|asker: &mut Asker| now < asker.until && asker.wants_more());
        if askers.len() > MOST {
            askers.pop_front();
        }
    }
    // Whoever has heard one half shall hear the other.
    askers.into_iter().for_each(Asker::finish);
    Ok(())
}

/// Waits until there is something to do, and says whether that is to stop.
fn wait(listener: &UnixListener, askers: &VecDeque<Asker>, stop: &OwnedFd) -> io::Result<bool> {
    let mut fds = vec![PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
    fds.extend(askers.iter().map(|asker| PollFd::new(&asker.stream, PollFlags::OUT)));
    // All have the same time, so the first is the first to go.
    let left = askers.front().map(|asker| asker.until.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() });
    match rustix::event::poll(&mut fds, left.as_ref()) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        polled => polled.map(|_| !fds[0].revents().is_empty()).map_err(io::Error::from),
    }
}

impl Asker {
    fn new(stream: UnixStream, told: &Mutex<Told>) -> io::Result<Asker> {
        stream.set_nonblocking(true)?;
        Ok(Asker { stream, text: lock(told).text()?, written: 0, until: Instant::now() + PATIENCE })
    }

    /// Writes what the asker takes, and tells whether something is left. Whoever hangs up has lost interest.
    fn wants_more(&mut self) -> bool {
        while self.written < self.text.len() {
            match self.stream.write(&self.text[self.written..]) {
                Ok(0) => return false,
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        false
    }

    /// Waits until the rest is written, for as long as the asker has.
    fn finish(mut self) {
        let left = self.until.saturating_duration_since(Instant::now());
        if self.stream.set_nonblocking(false).and_then(|()| self.stream.set_write_timeout(Some(left))).is_ok() {
            let _ = self.stream.write_all(&self.text[self.written..]);
        }
    }
}
