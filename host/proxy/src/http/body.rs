//! The body of a request or a response, wherever it comes from. Streams: nothing here gathers a body in memory.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::error::Error;
use crate::http::upload::Upload;

/// The body of a message.
pub(crate) enum Body {
    Empty,
    /// One piece that is already here, and what follows it.
    Full(Bytes, Option<Box<HeaderMap>>),
    /// From a peer, or on its way through plugins.
    Stream(Box<dyn Source>),
    /// A request's, with what its exchange wants to know about it.
    Watched(Box<Body>, Rc<Upload>),
    /// Some of it was read before it was asked for.
    Begun(Box<Begun>),
}

/// Where the pieces of a body come from. Each codec has its own, and so has the chain of plugins.
pub(crate) trait Source {
    /// The next piece, or the trailers; none at the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>>;
    /// Nothing more will come.
    fn is_end_stream(&self) -> bool;
    /// Bytes that are still to come, if that is known.
    fn remaining(&self) -> Option<u64>;
    /// The sender holds it back until it is told to go on (`100-continue`).
    fn awaits_continue(&self) -> bool {
        false
    }
    /// The beginning of it is here and can be looked at before anything is done with the message.
    fn has_come(&self) -> bool {
        false
    }
    /// See [`Body::shares_window`].
    fn shares_window(&self) -> bool {
        false
    }
    /// See [`Body::limit_pieces`].
    fn limit_pieces(&mut self, _bytes: Option<usize>) {}
    /// Bytes that came in and that plugins may still hold; none if no plugin looks at it.
    fn seen_by_plugins(&self) -> Option<u64> {
        None
    }
}

/// A body whose beginning was looked at.
pub(crate) struct Begun {
    frames: VecDeque<Frame<Bytes>>,
    rest: Body,
    /// Bytes of the whole, if that was known.
    length: SizeHint,
}

impl Body {
    /// A body whose pieces come from a source.
    pub(crate) fn from(source: impl Source + 'static) -> Self {
        Body::Stream(Box::new(source))
    }

    /// It goes through plugins, which may change its length and still need the exchange.
    pub(crate) fn is_hooked(&self) -> bool {
        matches!(self, Body::Stream(source) if source.seen_by_plugins().is_some())
    }

    /// Bytes that came in and may not have gone out: a plugin that gathers them is no stall.
    pub(crate) fn gathered(&self) -> u64 {
        match self {
            Body::Stream(source) => source.seen_by_plugins().unwrap_or(0),
            _ => 0,
        }
    }

    /// Reads no more than so many bytes at a time from here on, where that can be chosen; none for as many as come.
    pub(crate) fn limit_pieces(&mut self, bytes: Option<usize>) {
        if let Body::Stream(source) = self {
            source.limit_pieces(bytes);
        }
    }

    /// Other bodies come over the same connection, whose window they may have filled: if this one is late, its sender may
    /// be able to do nothing about it until they have been read, or reset because their readers stalled.
    pub(crate) fn shares_window(&self) -> bool {
        matches!(self, Body::Stream(source) if source.shares_window())
    }

    /// The client holds it back until it is told to go on (`100-continue`).
    pub(crate) fn awaits_continue(&self) -> bool {
        match self {
            Body::Stream(source) => source.awaits_continue(),
            Body::Watched(body, _) => body.awaits_continue(),
            _ => false,
        }
    }

    fn has_come(&self) -> bool {
        match self {
            Body::Stream(source) => source.has_come(),
            Body::Watched(body, _) => body.has_come(),
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
        if !self.has_come() {
            return Ok(());
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
            Body::Stream(source) => source.poll_frame(cx),
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(data, trailers) => data.is_empty() && trailers.is_none(),
            Body::Stream(source) => source.is_end_stream(),
            Body::Watched(body, _) => body.is_end_stream(),
            Body::Begun(begun) => begun.frames.is_empty() && begun.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match self {
            Body::Empty => Some(0),
            // Trailers need chunks.
            Body::Full(data, trailers) => trailers.is_none().then_some(data.len() as u64),
            Body::Stream(source) => source.remaining(),
            Body::Watched(body, _) => return body.size_hint(),
            Body::Begun(begun) => return begun.length,
        };
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
