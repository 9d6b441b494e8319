//! The unix socket between the old process and the new one: messages with descriptors. Each end blocks for a while
//! and no longer, so it is for a thread that may wait.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Descriptors of one message; the kernel takes 253.
pub(super) const MAX_DESCRIPTORS: usize = 200;
/// Bytes of one message.
const MAX_TEXT: usize = 16 * 1024;

/// One end.
pub(super) struct Channel(OwnedFd);

/// What arrived.
pub(super) struct Message {
    pub(super) text: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Both ends; they keep the bounds of messages.
    pub(super) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Channel(ours), theirs))
    }

    pub(super) fn of(socket: OwnedFd) -> Self {
        Channel(socket)
    }

    /// How long the other end may take for one step; as long as it likes without one.
    pub(super) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Recv, patience)?;
        set_socket_timeout(&self.0, Timeout::Send, patience)?;
        Ok(())
    }

    pub(super) fn send(&self, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.put(text, descriptors, SendFlags::empty())
    }

    /// Sends if there is room.
    pub(super) fn send_now(&self, text: &[u8]) -> io::Result<()> {
        self.put(text, &[], SendFlags::DONTWAIT)
    }

    fn put(&self, text: &[u8], descriptors: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
        // The bounds of a message are the protocol; a longer one would be cut on the way in.
        let text = text.get(..MAX_TEXT).unwrap_or(text);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
        }
        loop {
            match rustix::net::sendmsg(&self.0, &[IoSlice::new(text)], &mut control, flags | SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                sent => return sent.map(|_| ()).map_err(io::Error::from),
            }
        }
    }

    /// None when the other end is closed.
    pub(super) fn receive(&self) -> io::Result<Option<Message>> {
        self.take(RecvFlags::empty())
    }

    /// What has arrived already.
    pub(super) fn waiting(&self) -> io::Result<Option<Message>> {
        match self.take(RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            taken => taken,
        }
    }

    fn take(&self, flags: RecvFlags) -> io::Result<Option<Message>> {
        let mut text = vec![0; MAX_TEXT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut reset = false;
        let received = loop {
            let iov = &mut [IoSliceMut::new(&mut text)];
            match rustix::net::recvmsg(&self.0, iov, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                // Told once when the other end died with messages unread; what it said before is behind that.
                Err(rustix::io::Errno::CONNRESET) if !std::mem::replace(&mut reset, true) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                received => break received?,
            }
        };
        text.truncate(received.bytes);
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("the limit of open files is too low for what is handed over (LimitNOFILE)"));
        }
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        Ok((!text.is_empty()).then_some(Message { text, descriptors }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
