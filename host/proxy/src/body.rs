//! The body of a request or a response, wherever it comes from. Streams: nothing here gathers a body in memory.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::error::{Error, Kind};
use crate::hooks::HookedBody;
use crate::http1::client::ResponseBody;
use crate::http1::halves::RequestBody;
use crate::http2::activity::Activity;
use crate::http2::shared::Stream;
use crate::upload::Upload;

/// A body by its source.
pub(crate) enum Body {
    Empty,
    /// One piece that is already here, and what follows it.
    Full(Bytes, Option<Box<HeaderMap>>),
    /// From an HTTP/1 client.
    Http1Request(RequestBody),
    /// From an HTTP/1 upstream; it owns the connection.
    Http1Response(Box<ResponseBody>),
    /// From an HTTP/2 client.
    Http2Request(hyper::body::Incoming, Rc<Activity>),
    /// From an HTTP/2 upstream. The stream counts as open as long as the body is here.
    #[expect(dead_code, reason = "dropped with the body")]
    Http2Response(hyper::body::Incoming, Stream),
    /// A request's, with what its exchange wants to know about it.
    Watched(Box<Body>, Rc<Upload>),
    /// Some of it was read before it was asked for.
    Begun(Box<Begun>),
    /// On its way through plugins.
    Hooked(Box<HookedBody>),
}

/// A body whose beginning was looked at.
pub(crate) struct Begun {
    frames: VecDeque<Frame<Bytes>>,
    rest: Body,
    /// Bytes of the whole, if that was known.
    length: SizeHint,
}

impl Body {
    /// Bytes that came in and may not have gone out: a plugin that gathers them is no stall.
    pub(crate) fn gathered(&self) -> u64 {
        match self {
            Body::Hooked(body) => body.came(),
            _ => 0,
        }
    }

    /// Reads no more than so many bytes at a time from here on, where that can be chosen; none for as many as come.
    pub(crate) fn limit_pieces(&mut self, bytes: Option<usize>) {
        if let Body::Http1Response(body) = self {
            body.limit_pieces(bytes);
        }
    }

    /// An HTTP/1 client holds it back until it is told to go on (`100-continue`).
    pub(crate) fn awaits_continue(&self) -> bool {
        match self {
            Body::Http1Request(body) => body.awaits_continue(),
            Body::Watched(body, _) => body.awaits_continue(),
            _ => false,
        }
    }

    /// Nothing of it is still to come, so nothing can go wrong with it.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Body::Empty | Body::Full(..) => true,
            Body::Begun(begun) => begun.rest.is_here(),
            Body::Watched(body, _) => body.is_here(),
            _ => false,
        }
    }
}

/// As much as is looked at.
const GLANCE: usize = 16 * 1024;

impl Body {
    /// Takes what an HTTP/1 client has sent of a body by now, and answers what is wrong with it.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let from_http1 = |body: &Body| match body {
            Body::Http1Request(body) => body.has_come(),
            _ => false,
        };
        match &*self {
            Body::Watched(body, _) if from_http1(body) => {}
            body if from_http1(body) => {}
            _ => return Ok(()),
        }
        let length = self.size_hint();
        let mut begun = Begun { frames: VecDeque::new(), rest: std::mem::replace(self, Body::Empty), length };
        let mut bytes = 0;
        while bytes < GLANCE {
            match Pin::new(&mut begun.rest).poll_frame(cx) {
                Poll::Ready(Some(frame)) => {
                    let frame = frame?;
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    begun.frames.push_back(frame);
                }
                Poll::Ready(None) => {
                    begun.rest = Body::Empty;
                    break;
                }
                Poll::Pending => break,
            }
        }
        *self = Body::Begun(Box::new(begun));
        Ok(())
    }
}

impl Body {
    /// Makes one piece of a body of which everything is here, so that it can be sent twice.
    pub(crate) fn gather(&mut self) {
        let Body::Begun(begun) = self else { return };
        if !begun.rest.is_here() || !matches!(begun.rest, Body::Empty) {
            return;
        }
        let (mut whole, mut trailers) = (BytesMut::new(), None);
        for frame in begun.frames.drain(..) {
            match frame.into_data() {
                Ok(data) => whole.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok().map(Box::new),
            }
        }
        *self = Body::Full(whole.freeze(), trailers);
    }

    /// The same once more, if that can be had.
    pub(crate) fn copy(&self) -> Option<Body> {
        match self {
            Body::Empty => Some(Body::Empty),
            Body::Full(data, trailers) => Some(Body::Full(data.clone(), trailers.clone())),
            _ => None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Full(data, trailers) => {
                let frame = match std::mem::take(data) {
                    data if !data.is_empty() => Some(Frame::data(data)),
                    _ => trailers.take().map(|trailers| Frame::trailers(*trailers)),
                };
                if trailers.is_none() {
                    *self = Body::Empty;
                }
                Poll::Ready(frame.map(Ok))
            }
            Body::Http1Request(body) => body.poll_frame(cx),
            Body::Http1Response(body) => body.poll_frame(cx),
            Body::Http2Request(body, activity) => {
                let polled = poll_http2(body, Kind::DownstreamClosed, cx);
                if polled.is_ready() {
                    activity.step();
                }
                polled
            }
            Body::Http2Response(body, _) => poll_http2(body, Kind::UpstreamClosed, cx),
            Body::Watched(body, upload) => {
                let Poll::Ready(mut frame) = Pin::new(&mut **body).poll_frame(cx) else {
                    upload.waits();
                    return Poll::Pending;
                };
                if let Some(Ok(piece)) = &frame {
                    upload.count(piece.data_ref().map_or(0, |data| data.len() as u64));
                    frame = upload.came().map_or_else(|slow| Some(Err(slow)), |()| frame);
                }
                if let Some(Err(error)) = &frame {
                    *upload.failure.borrow_mut() = Some(error.clone());
                }
                upload.ended.set(frame.is_none() || body.is_end_stream());
                Poll::Ready(frame)
            }
            Body::Begun(begun) => match begun.frames.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => Pin::new(&mut begun.rest).poll_frame(cx),
            },
            Body::Hooked(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(data, trailers) => data.is_empty() && trailers.is_none(),
            Body::Http1Request(body) => body.is_end_stream(),
            Body::Http1Response(body) => body.is_end_stream(),
            Body::Http2Request(body, _) | Body::Http2Response(body, _) => body.is_end_stream(),
            Body::Watched(body, _) => body.is_end_stream(),
            Body::Begun(begun) => begun.frames.is_empty() && begun.rest.is_end_stream(),
            Body::Hooked(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match self {
            Body::Empty => Some(0),
            // Trailers need chunks.
            Body::Full(data, trailers) => trailers.is_none().then_some(data.len() as u64),
            Body::Http1Request(body) => body.remaining(),
            Body::Http1Response(body) => body.remaining(),
            Body::Http2Request(body, _) | Body::Http2Response(body, _) => return body.size_hint(),
            Body::Watched(body, _) => return body.size_hint(),
            Body::Begun(begun) => return begun.length,
            Body::Hooked(_) => None,
        };
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn poll_http2(
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
