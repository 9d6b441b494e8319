//! What hyper gives of an HTTP/2 stream, on either side.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use crate::error::{Error, Kind};
use crate::http::body::Source;

/// Bytes that a peer may send on one stream before they are read: as many as keep a fast network busy.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;

/// A body that comes over a stream.
pub(crate) struct StreamSource<S> {
    pub(crate) incoming: Incoming,
    pub(crate) side: S,
}

/// What belongs to a stream on the side that it comes from; kept for as long as the body.
pub(crate) trait StreamSide {
    /// The error of a peer that ends the body early.
    const BROKEN: Kind;
    /// A piece was read.
    fn came(&self) {}
    /// See [`Body::shares_window`](crate::http::body::Body::shares_window).
    fn shares_window(&self) -> bool {
        false
    }
}

impl<S: StreamSide> Source for StreamSource<S> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = poll_frame(&mut self.incoming, S::BROKEN, cx);
        if polled.is_ready() {
            self.side.came();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn remaining(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    fn shares_window(&self) -> bool {
        self.side.shares_window()
    }
}

/// The next piece of a body, or its trailers. `kind` is the error of a peer that ends it early.
fn poll_frame(body: &mut Incoming, kind: Kind, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
    match ready!(Pin::new(&mut *body).poll_frame(cx)) {
        Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
        Some(Err(error)) => Poll::Ready(Some(Err(broken(kind, &error)))),
        // hyper ends a body quietly when the peer resets the stream with NO_ERROR or CANCEL. It is not whole for that.
        None if !body.is_end_stream() => Poll::Ready(Some(Err(Error::new(kind, "stream reset inside the body")))),
        None => Poll::Ready(None),
    }
}

/// An HTTP/2 stream or its connection failed.
pub(crate) fn broken(kind: Kind, error: &hyper::Error) -> Error {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    Error::new(kind, detail)
}
