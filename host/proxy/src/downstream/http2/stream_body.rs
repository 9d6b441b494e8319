//! The body of a response on its way to an HTTP/2 client: it waits while the client has enough, and counts what leaves.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use crate::downstream::http2::activity::StreamWatch;
use crate::downstream::record::RecordedBody;
use crate::error::{Error, Kind};

/// What a stream gets at a time of a connection that has enough to send.
const SMALL_PIECE: usize = 4 * 1024;

/// The body of a response on a stream that is watched.
pub(crate) struct StreamBody {
    body: RecordedBody,
    watch: Rc<StreamWatch>,
}

impl StreamBody {
    pub(crate) fn new(body: RecordedBody, watch: Rc<StreamWatch>) -> Self {
        watch.set_awaits_upstream(false);
        StreamBody { body, watch }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if self.watch.has_stalled() {
            self.body.record.fail(&Error::new(Kind::DownstreamClosed, "the client takes no more of the response"));
        }
    }
}

impl Body for StreamBody {
    type Data = Piece;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Error>>> {
        if self.watch.waits(cx) {
            return Poll::Pending;
        }
        let crowded = self.watch.is_crowded();
        self.body.limit_pieces(crowded.then_some(SMALL_PIECE));
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let watch = &self.watch;
        watch.set_awaits_upstream(polled.is_pending());
        let frame = ready!(polled);
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| Piece::new(bytes, watch)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes that are counted when they leave.
pub(crate) struct Piece {
    bytes: Bytes,
    watch: Rc<StreamWatch>,
}

impl Piece {
    fn new(bytes: Bytes, watch: &Rc<StreamWatch>) -> Self {
        watch.hand(bytes.len() as u64);
        Piece { bytes, watch: watch.clone() }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.watch.forget(self.bytes.len() as u64);
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.watch.take(count as u64);
    }

    // As it is, without a copy: small frames are put together by it.
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.watch.take(count as u64);
        self.bytes.split_to(count)
    }
}
