//! The body of a request or a response, wherever it comes from. Streams: nothing here gathers a body in memory.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::error::{Error, Kind};
use crate::http1::client::ResponseBody;
use crate::http1::halves::RequestBody;

/// A body by its source.
pub(crate) enum Body {
    Empty,
    /// One piece that is already here.
    Full(Bytes),
    /// From an HTTP/1 client.
    Http1Request(RequestBody),
    /// From an HTTP/1 upstream; it owns the connection.
    Http1Response(Box<ResponseBody>),
    /// From an HTTP/2 client.
    Http2Request(hyper::body::Incoming),
    /// From an HTTP/2 upstream.
    Http2Response(hyper::body::Incoming),
    /// A request's, with the bytes that went through it so far.
    Counted(Box<Body>, Rc<Cell<u64>>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Full(data) => {
                let data = std::mem::take(data);
                *self = Body::Empty;
                Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
            }
            Body::Http1Request(body) => body.poll_frame(cx),
            Body::Http1Response(body) => body.poll_frame(cx),
            Body::Http2Request(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(Kind::DownstreamClosed, &error))))
            }
            Body::Http2Response(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(Kind::UpstreamClosed, &error))))
            }
            Body::Counted(body, bytes) => {
                let frame = ready!(Pin::new(&mut **body).poll_frame(cx));
                if let Some(Ok(frame)) = &frame {
                    bytes.set(bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64));
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(data) => data.is_empty(),
            Body::Http1Request(body) => body.is_end_stream(),
            Body::Http1Response(body) => body.is_end_stream(),
            Body::Http2Request(body) | Body::Http2Response(body) => body.is_end_stream(),
            Body::Counted(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match self {
            Body::Empty => Some(0),
            Body::Full(data) => Some(data.len() as u64),
            Body::Http1Request(body) => body.remaining(),
            Body::Http1Response(body) => body.remaining(),
            Body::Http2Request(body) | Body::Http2Response(body) => return body.size_hint(),
            Body::Counted(body, _) => return body.size_hint(),
        };
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// An HTTP/2 stream or its connection failed.
fn broken(kind: Kind, error: &hyper::Error) -> Error {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    Error::new(kind, detail)
}
