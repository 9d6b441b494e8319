//! The two sides of a client's connection, shared by the loop that serves it and by the body of the request that is
//! being served. The body reads from the connection when the upstream wants more of it: backpressure is nothing but
//! not being polled.
//!
//! A borrow must never live across an `await`: loop and body are polled by the same task, one inside the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::response;
use http_body::Frame;

use crate::error::{Error, Kind};
use crate::http::body::Source;
use crate::http::head::Interim;
use crate::http::http1::encode;
use crate::http::http1::framing::{BodyError, Decoder, Piece};
use crate::http::http1::reader::Reader;
use crate::http::http1::writer::Writer;
use crate::transport::conn::{Conn, ReadHalf, WriteHalf};

/// A rest of a request's body up to this size is read and dropped, so that the connection can be kept.
pub(crate) const MAX_DRAIN: u64 = 256 * 1024;

/// The side that reads: shared by the loop and the body of the request.
#[derive(Debug)]
pub(crate) struct Inlet {
    pub(crate) io: ReadHalf,
    pub(crate) reader: Reader,
    pub(crate) decoder: Decoder,
    /// The body of a request made no sense: nothing that follows can be trusted.
    pub(crate) broken: bool,
}

/// The side that writes: shared by the loop and, for `100 Continue`, the body of the request.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) io: WriteHalf,
    pub(crate) writer: Writer,
    /// The client waits to be told that its body is wanted.
    pub(crate) continue_due: bool,
}

#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) inlet: RefCell<Inlet>,
    pub(crate) outlet: RefCell<Outlet>,
    /// The task that last waited for the body; an HTTP/2 upstream reads it in a task of its own.
    reader: RefCell<Option<Waker>>,
    /// Bodies read no more.
    revoked: Cell<bool>,
}

impl Interim for Halves {
    fn tell(&self, head: &response::Parts) {
        let Ok(mut outlet) = self.outlet.try_borrow_mut() else { return };
        let Outlet { io, writer, .. } = &mut *outlet;
        if writer.is_empty() {
            encode::interim_head(writer.buffer(), head.status, &head.headers);
            // What does not go out now goes out with the response; a failed write shows there too.
            let _ = writer.poll_flush(io, &mut Context::from_waker(Waker::noop()));
        }
    }
}

impl Halves {
    /// Of a connection of which the reader has read some bytes.
    pub(crate) fn new(conn: Conn, reader: Reader) -> Rc<Self> {
        let (read, write) = conn.into_split();
        Rc::new(Halves {
            inlet: RefCell::new(Inlet { io: read, reader, decoder: Decoder::End, broken: false }),
            outlet: RefCell::new(Outlet { io: write, writer: Writer::default(), continue_due: false }),
            reader: RefCell::default(),
            revoked: Cell::new(false),
        })
    }

    /// The connection, and what was read from it and not yet used; none while a body still holds it.
    pub(crate) fn into_conn(self: Rc<Self>) -> Option<(Conn, Bytes)> {
        let Halves { inlet, outlet, .. } = Rc::into_inner(self)?;
        let (inlet, outlet) = (inlet.into_inner(), outlet.into_inner());
        Some((Conn::join(inlet.io, outlet.io)?, inlet.reader.buffer.freeze()))
    }

    /// A body is still out there that reads from the connection.
    pub(crate) fn lent(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1
    }

    /// Takes the connection back from a body that is still out there: whoever reads it gets an error, and lets go.
    pub(crate) fn revoke(&self) {
        self.revoked.set(true);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Ends the connection under a body that does not let go: its owner may not look at it for a long time.
    pub(crate) fn shut(&self) {
        if let Ok(outlet) = self.outlet.try_borrow() {
            outlet.io.shut();
        }
    }

    /// The body of the request that comes next.
    pub(crate) fn body(self: &Rc<Self>) -> RequestBody {
        RequestBody { halves: self.clone() }
    }

    /// The next piece of the request's body.
    pub(crate) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Inlet { io, reader, decoder, broken } = &mut *self.inlet.borrow_mut();
        loop {
            let piece = decoder.decode(&mut reader.buffer, reader.ended).map_err(|error| match error {
                BodyError::Truncated => Error::new(Kind::DownstreamClosed, error.to_string()),
                BodyError::Malformed(_) => Error::new(Kind::MalformedRequest, error.to_string()),
            });
            return Poll::Ready(match piece {
                Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
                Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Ok(Piece::End) => None,
                Ok(Piece::Incomplete) => match ready!(reader.poll_fill(io, cx)) {
                    Ok(_) => continue,
                    Err(error) => Some(Err(Error::new(Kind::DownstreamClosed, error.to_string()))),
                },
                Err(error) => {
                    *broken = true;
                    Some(Err(error))
                }
            });
        }
    }

    /// The rest of the request's body may never come, is not worth reading, makes no sense or is being read by another.
    pub(crate) fn too_much_unread(self: &Rc<Self>) -> bool {
        let inlet = self.inlet.borrow();
        inlet.broken
            || self.lent()
            || self.outlet.borrow().continue_due
            || inlet.decoder.remaining().is_some_and(|rest| rest > MAX_DRAIN)
    }

    /// The request was taken whole, and nothing has come behind it.
    pub(crate) fn all_is_read(&self) -> bool {
        let inlet = self.inlet.borrow();
        inlet.decoder.is_end() && !inlet.broken && inlet.reader.buffer.is_empty()
    }

    /// Tells the client that its body is wanted; not once a response has begun.
    fn send_continue(&self, cx: &mut Context<'_>) {
        if let Ok(mut outlet) = self.outlet.try_borrow_mut()
            && std::mem::take(&mut outlet.continue_due)
        {
            let Outlet { io, writer, .. } = &mut *outlet;
            writer.buffer().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            // What does not go out now goes out with the response; a failed write shows there too.
            let _ = writer.poll_flush(io, cx);
        }
    }
}

/// The body of the request that is being served.
pub(crate) struct RequestBody {
    halves: Rc<Halves>,
}

impl Source for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.halves.revoked.get() {
            let error = Error::new(Kind::DownstreamClosed, "the response was complete before the request");
            return Poll::Ready(Some(Err(error)));
        }
        self.halves.send_continue(cx);
        let polled = self.halves.poll_body(cx);
        if polled.is_pending() {
            let mut reader = self.halves.reader.borrow_mut();
            match &mut *reader {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *reader = Some(cx.waker().clone()),
            }
        }
        polled
    }

    fn awaits_continue(&self) -> bool {
        self.halves.outlet.borrow().continue_due
    }

    /// Some of it is here. One that the client holds back until it is told to go on (`100-continue`) is not asked for.
    fn has_come(&self) -> bool {
        !self.halves.inlet.borrow().reader.buffer.is_empty()
    }

    fn is_end_stream(&self) -> bool {
        self.halves.inlet.borrow().decoder.is_end()
    }

    fn remaining(&self) -> Option<u64> {
        self.halves.inlet.borrow().decoder.remaining()
    }
}
