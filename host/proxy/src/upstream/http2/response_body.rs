//! The body of a response from an HTTP/2 upstream.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use crate::error::{Error, Kind};
use crate::http::body::Source;
use crate::http::http2::poll_frame;
use crate::upstream::http2::sender::Stream;

/// From an upstream. The stream counts as open for as long as the body is here.
pub(crate) struct ResponseBody {
    pub(crate) incoming: Incoming,
    pub(crate) stream: Stream,
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

    fn shares_window(&self) -> bool {
        self.stream.connection().streams() > 1
    }
}
