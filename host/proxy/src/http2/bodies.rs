//! The bodies of HTTP/2 streams, as hyper gives them.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use super::activity::Activity;
use super::sender::Stream;
use crate::body::Source;
use crate::error::{Error, Kind};

/// From a client; what is read of it counts as progress of the connection.
pub(super) struct RequestBody {
    pub(super) incoming: Incoming,
    pub(super) activity: Rc<Activity>,
}

/// From an upstream. The stream counts as open for as long as the body is here.
pub(super) struct ResponseBody {
    pub(super) incoming: Incoming,
    #[expect(dead_code, reason = "dropped with the body")]
    pub(super) stream: Stream,
}

impl Source for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = poll_frame(&mut self.incoming, Kind::DownstreamClosed, cx);
        if polled.is_ready() {
            self.activity.step();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn remaining(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }
}

impl Source for ResponseBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        poll_frame(&mut self.incoming, Kind::UpstreamClosed, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn remaining(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }
}

fn poll_frame(
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
pub(super) fn broken(kind: Kind, error: &hyper::Error) -> Error {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    Error::new(kind, detail)
}
