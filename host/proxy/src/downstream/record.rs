//! What is known about one exchange when it is over: counted, and written to the access log, exactly once, by `Drop`,
//! so that no way out of an exchange can forget it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, Version, request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use odin_chain::HookState;

use crate::counters::DURATION_BUCKETS_MS;
use crate::downstream::Downstream;
use crate::downstream::http2::activity::OpenExchange;
use crate::downstream::local::LocalListener;
use crate::downstream::worker::Worker;
use crate::error::{Blame, Error, Kind};
use crate::filter::{self, Run};
use crate::http::body::Body;
use crate::http::head::Head;
use crate::http::upload::Upload;
use crate::observe::access_log::Told;
use crate::observe::finished::Finished;
use crate::relay::RelayReport;
use crate::transport::drain::DRAINED;
use crate::transport::timer::{Deadline, Elapsed};
use crate::upstream::call::Assigned;
use crate::upstream::local::LocalCluster;

/// Where a request arrived.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<LocalListener>,
    pub(crate) downstream: Rc<Downstream>,
}

/// The record of one exchange.
pub(crate) struct Record {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<LocalListener>,
    pub(crate) downstream: Rc<Downstream>,
    pub(crate) started: Instant,
    pub(crate) method: Method,
    /// As it came; plugins may change that of the head.
    pub(crate) authority: Option<HeaderValue>,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) id: Option<HeaderValue>,
    pub(crate) status: StatusCode,
    pub(crate) upload: Option<Rc<Upload>>,
    pub(crate) sent: u64,
    pub(crate) assigned: Assigned,
    /// The request's head, from here on as it goes upstream. None while it is in the plugins'
    /// state, and after its last use.
    pub(crate) head: Option<Head>,
    /// The plugins and what they remember, when the route has some.
    pub(crate) run: Option<Rc<Run>>,
    /// What failed, if anything, and who has to look into it.
    pub(crate) failure: Option<(Blame, String)>,
    /// The response went out whole.
    pub(crate) complete: bool,
    /// The plugin that answered in place of the upstream, refused, cut or failed.
    pub(crate) answered_by: Option<Arc<str>>,
    /// The start line of a head that could not be read, as far as it came.
    pub(crate) unread: Option<Box<str>>,
}

impl Record {
    /// The record of an exchange that begins now.
    pub(crate) fn of(origin: &Origin, head: Head) -> Box<Record> {
        let mut record = Record::new(origin, Some(&head.parts), Some(head.authority.clone()));
        record.head = Some(head);
        record
    }

    /// Of an exchange that is refused at once; a head that could not be read is not there.
    pub(crate) fn new(origin: &Origin, head: Option<&request::Parts>, authority: Option<HeaderValue>) -> Box<Record> {
        let unknown = || {
            let method = Method::from_bytes(b"-").unwrap_or_default();
            (method, Uri::from_static("-"), Version::HTTP_11)
        };
        let (method, uri, version) =
            head.map_or_else(unknown, |head| (head.method.clone(), head.uri.clone(), head.version));
        Box::new(Record {
            worker: origin.worker.clone(),
            listener: origin.listener.clone(),
            downstream: origin.downstream.clone(),
            started: Instant::now(),
            method,
            authority,
            uri,
            version,
            id: None,
            status: Kind::DownstreamClosed.status(),
            upload: None,
            sent: 0,
            assigned: Assigned::none(origin.worker.id),
            head: None,
            run: None,
            failure: None,
            complete: false,
            answered_by: None,
            unread: None,
        })
    }

    /// Bytes of the request's body.
    pub(crate) fn received(&self) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.bytes.get())
    }

    /// Keeps the first failure: what follows from it is of no use to anyone.
    pub(crate) fn fail(&mut self, error: &Error) {
        if self.failure.is_none() {
            self.answered_by = self.answered_by.take().or_else(|| error.by.clone());
            self.failure = Some((error.kind.blame(), error.to_string()));
        }
    }

    /// The connection spoke another protocol after this exchange, and that is over too.
    pub(crate) fn relayed(&mut self, report: RelayReport) {
        self.upload = Some(Rc::new(Upload::of(report.a_to_b)));
        self.sent = report.b_to_a;
        self.failure = self.failure.take().or_else(|| report.end.failure());
        self.complete = true;
    }

    /// It ended before it was complete, and nobody has said why.
    fn broke_off(&mut self) {
        if self.downstream.drain.cut() {
            self.failure = Some((Blame::Odin, DRAINED.to_owned()));
            // The client got no answer, and has not left before one came.
            if self.status == Kind::DownstreamClosed.status() {
                self.status = StatusCode::SERVICE_UNAVAILABLE;
            }
            return;
        }
        self.fail(&Error::new(Kind::DownstreamClosed, "before the response was complete"));
    }

    fn count(&self, elapsed: Duration) {
        let share = self.listener.shared.counters.share(self.worker.id);
        let class = usize::from(self.status.as_u16() / 100).clamp(1, 5) - 1;
        share.responses[class].add(1);
        share.received.add(self.received());
        share.sent.add(self.sent);
        share.duration_nanos.add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        let millis = elapsed.as_millis() as u64;
        let bucket = DURATION_BUCKETS_MS.iter().position(|bound| millis < *bound).unwrap_or(DURATION_BUCKETS_MS.len());
        share.durations[bucket].add(1);
    }

    /// What is told about it.
    fn finished(&self, elapsed: Duration) -> Finished<'_> {
        let endpoint = |(cluster, index): &(Rc<LocalCluster>, usize)| cluster.shared.endpoints[*index].address;
        Finished {
            listener: &self.listener.shared.name,
            client: self.downstream.info.peer,
            tls: self.downstream.info.tls.as_deref(),
            method: &self.method,
            uri: &self.uri,
            version: self.version,
            authority: self.authority.as_ref(),
            unread: self.unread.as_deref(),
            id: self.id.as_ref(),
            status: self.status,
            received: self.received(),
            sent: self.sent,
            elapsed,
            endpoint: self.assigned.endpoint.as_ref().map(|at| (at.0.shared.name.as_str(), endpoint(at))),
            attempts: self.assigned.attempts,
            answered_by: self.answered_by.as_deref(),
            failure: self.failure.as_ref().map(|(blame, words)| (*blame, words.as_str())),
        }
    }

    /// Writes the line; `state` is that of the plugins.
    fn tell(&self, state: Option<&HookState>, elapsed: Duration) {
        let (log, snapshot) = (&self.worker.log, &self.listener.snapshot);
        let head = self.head.as_ref().map(|head| &*head.parts);
        log.push(snapshot, log.line(snapshot, || self.finished(elapsed)), Told::new(head, state));
    }

    /// Leaves the hooks of the end, and the line behind them, to the worker; without such hooks writes the line.
    fn end(&mut self, run: Rc<Run>, elapsed: Duration) {
        if !run.has_end() {
            return self.tell(run.try_state().as_deref().map(|state| &**state), elapsed);
        }
        let (worker, snapshot, head) = (self.worker.clone(), self.listener.snapshot.clone(), self.head.take());
        let line = worker.log.line(&snapshot, || self.finished(elapsed));
        let (received, sent, status) = (self.received(), self.sent, self.status.as_u16());
        let error = self.failure.as_ref().map(|(_, words)| words.clone());
        self.worker.later(Box::pin(async move {
            let mut state = run.state().await;
            if let Some(head) = head {
                filter::lend(&mut state, head);
            }
            let facts = &mut state.facts;
            (facts.bytes_received, facts.bytes_sent, facts.status, facts.error) = (received, sent, Some(status), error);
            run.end(&mut state).await;
            worker.log.push(&snapshot, line, Told::new(None, Some(&state)));
        }));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.complete && self.failure.is_none() {
            self.broke_off();
        }
        let elapsed = self.started.elapsed();
        self.count(elapsed);
        match self.run.take() {
            Some(run) => {
                run.finish();
                self.end(run, elapsed);
            }
            None => self.tell(None, elapsed),
        }
    }
}

/// A response's body that carries its exchange's record to the end.
pub(crate) struct RecordedBody {
    body: Body,
    pub(crate) record: Box<Record>,
    /// Boxed: a body from HTTP/1 has none.
    watch: Option<Box<Watch>>,
}

/// What a codec that has no deadline of its own needs of a body.
struct Watch {
    deadline: Deadline,
    idle: Duration,
    /// Bytes of both bodies when something last happened.
    moved: u64,
    open: OpenExchange,
}

impl RecordedBody {
    pub(crate) fn new(body: Body, record: Box<Record>) -> Self {
        RecordedBody { body, record, watch: None }
    }

    /// See [`Body::limit_pieces`].
    pub(crate) fn limit_pieces(&mut self, bytes: Option<usize>) {
        self.body.limit_pieces(bytes);
    }

    /// Changes with everything that comes in, of either body.
    pub(crate) fn moved(&self) -> u64 {
        self.record.received() + self.body.gathered()
    }

    /// See [`patience`].
    pub(crate) fn patience(&self, idle: Duration) -> Duration {
        patience(&self.body, idle)
    }

    /// Lets the body fail when nothing comes for so long: for a codec that has no deadline of its own.
    pub(crate) fn watch(&mut self, mut deadline: Deadline, idle: Duration, open: OpenExchange) {
        deadline.set(self.patience(idle));
        open.answered();
        self.watch = Some(Box::new(Watch { deadline, idle, moved: self.record.received(), open }));
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
                let moved = this.record.received() + this.body.gathered();
                if polled.is_ready() || std::mem::replace(&mut watch.moved, moved) != moved {
                    watch.deadline.set(patience(&this.body, watch.idle));
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
        this.record.complete = match &frame {
            Some(Err(_)) => false,
            // Nothing follows trailers, and not every codec asks.
            Some(Ok(frame)) => frame.is_trailers() || this.body.is_end_stream(),
            None => true,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long a body may bring nothing. Twice `idle` if others share its upstream connection: streams whose clients stalled
/// may have filled the connection's window, and they are reset only after `idle`.
fn patience(body: &Body, idle: Duration) -> Duration {
    if body.shares_window() { idle * 2 } else { idle }
}
