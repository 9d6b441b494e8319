//! The body of a request from an HTTP/2 client.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use crate::downstream::http2::activity::Activity;
use crate::error::{Error, Kind};
use crate::http::body::Source;
use crate::http::http2::poll_frame;

/// From a client; what is read of it counts as progress of the connection.
pub(crate) struct RequestBody {
    pub(crate) incoming: Incoming,
    pub(crate) activity: Rc<Activity>,
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
