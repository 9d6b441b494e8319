//! What hyper gives of an HTTP/2 stream, on either side.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};

use crate::error::{Error, Kind};

/// Bytes that a peer may send on one stream before they are read: as many as keep a fast network busy.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
/// The next piece of a body, or its trailers. `kind` is the error of a peer that ends it early.
pub(crate) fn poll_frame(
    body: &mut hyper::body::Incoming,
    kind: Kind,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
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
