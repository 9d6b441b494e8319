//! What is known about one exchange when it is over: counted, and written to the access log, exactly once, by `Drop`,
//! so that no way out of an exchange can forget it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, Upload};
use crate::error::{Blame, Error, Kind};
use crate::fields::Downstream;
use crate::http2::activity::OpenExchange;
use crate::local::{LocalCluster, LocalListener};
use crate::snapshot::{AccessLog, DURATION_BUCKETS_MS};
use crate::timer::{Deadline, Elapsed};
use crate::worker::Worker;

/// The record of one exchange.
pub(crate) struct Record {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<LocalListener>,
    pub(crate) downstream: Rc<Downstream>,
    pub(crate) started: Instant,
    pub(crate) method: Method,
    pub(crate) authority: Option<HeaderValue>,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) id: Option<HeaderValue>,
    pub(crate) status: StatusCode,
    pub(crate) upload: Option<Rc<Upload>>,
    pub(crate) sent: u64,
    pub(crate) endpoint: Option<(Rc<LocalCluster>, usize)>,
    pub(crate) attempts: u32,
    pub(crate) plugin_nanos: u64,
    /// What failed, if anything, and who has to look into it.
    pub(crate) failure: Option<(Blame, String)>,
    /// The response went out whole.
    pub(crate) complete: bool,
}

impl Record {
    /// The exchange is given to this endpoint; one given before is released.
    pub(crate) fn assign(&mut self, cluster: &Rc<LocalCluster>, index: usize) {
        self.release();
        cluster.shared.endpoints[index].counters(self.worker.id).started.add(1);
        self.endpoint = Some((cluster.clone(), index));
        self.attempts += 1;
    }

    /// Bytes of the request's body.
    pub(crate) fn received(&self) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.bytes.get())
    }

    fn release(&mut self) {
        if let Some((cluster, index)) = self.endpoint.take() {
            cluster.shared.endpoints[index].counters(self.worker.id).ended.add(1);
        }
    }

    /// Keeps the first failure: what follows from it is of no use to anyone.
    pub(crate) fn fail(&mut self, error: &Error) {
        if self.failure.is_none() {
            self.failure = Some((error.kind.blame(), error.to_string()));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.complete && self.failure.is_none() {
            let error = Error::new(Kind::DownstreamClosed, "before the response was complete");
            self.fail(&error);
        }
        let elapsed = self.started.elapsed();
        let share = self.listener.shared.counters.share(self.worker.id);
        let class = usize::from(self.status.as_u16() / 100).clamp(1, 5) - 1;
        share.responses[class].add(1);
        share.received.add(self.received());
        share.sent.add(self.sent);
        share.duration_nanos.add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        let millis = elapsed.as_millis() as u64;
        let bucket = DURATION_BUCKETS_MS.iter().position(|bound| millis < *bound).unwrap_or(DURATION_BUCKETS_MS.len());
        share.durations[bucket].add(1);
        if self.listener.snapshot.access_log != AccessLog::Off {
            self.worker.log.exchange(self, elapsed);
        }
        self.release();
    }
}

/// A response's body that carries its exchange's record to the end.
pub(crate) struct RecordedBody {
    body: Body,
    pub(crate) record: Box<Record>,
    watch: Option<Watch>,
}

/// What a codec that has no deadline of its own needs of a body.
struct Watch {
    deadline: Deadline,
    idle: Duration,
    /// Bytes of the request's body when something last happened.
    uploaded: u64,
    open: OpenExchange,
}

impl RecordedBody {
    pub(crate) fn new(body: Body, record: Box<Record>) -> Self {
        RecordedBody { body, record, watch: None }
    }

    /// Lets the body fail when nothing comes for so long: for a codec that has no deadline of its own.
    pub(crate) fn watch(&mut self, mut deadline: Deadline, idle: Duration, open: OpenExchange) {
        deadline.set(idle);
        open.answered();
        self.watch = Some(Watch { deadline, idle, uploaded: self.record.received(), open });
    }
}

impl HttpBody for RecordedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let frame = match &mut this.watch {
            None => ready!(polled),
            Some(watch) => {
                let uploaded = this.record.received();
                if polled.is_ready() || std::mem::replace(&mut watch.uploaded, uploaded) != uploaded {
                    watch.deadline.set(watch.idle);
                    watch.open.moved();
                }
                match polled {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => {
                        let Elapsed = ready!(watch.deadline.poll(cx));
                        Some(Err(Error::new(Kind::UpstreamTimeout, "the response's body stalled")))
                    }
                }
            }
        };
        match &frame {
            Some(Ok(frame)) => this.record.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(error)) => this.record.fail(error),
            None => {}
        }
        this.record.complete = frame.is_none() || this.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
