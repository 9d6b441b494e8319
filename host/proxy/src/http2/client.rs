//! HTTP/2 to an upstream: a connection per worker and endpoint, shared by its exchanges, and more where one cannot be.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, Version, header, uri};
use http_body::Body as _;
use hyper::client::conn::http2::{Builder, SendRequest};
use odin_runtime::HookState;

use super::io::{Io, LocalExecutor};
use crate::body::{self, Body};
use crate::error::{Error, Kind};
use crate::fields;
use crate::pool::Pool;
use crate::timer::{Deadline, Elapsed};
use crate::upstream::{Attempt, Reply};

/// Windows that keep a fast network busy, and bound what a stalled client costs.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The right to send requests on a connection.
#[derive(Clone)]
pub(crate) struct Sender {
    requests: SendRequest<Body>,
    streams: Rc<Streams>,
}

/// Streams of a connection that upstreams do not like.
#[derive(Default)]
struct Streams {
    /// Begun, and given up without an answer.
    given_up: Cell<u32>,
    /// Without an answer yet, and with a request of which not all is here: it may turn out to be none.
    unsure: Cell<u32>,
}

/// Upstreams close a connection on which more streams than that are given up at a time (20 in hyper, 100 in others), and
/// with it the exchanges of others.
const MOST_GIVEN_UP: u32 = 20;
/// After so many a connection is left to the exchanges that it has.
const WORN: u32 = MOST_GIVEN_UP / 2;

/// A stream without an answer.
struct Unanswered {
    streams: Rc<Streams>,
    unsure: bool,
    answered: bool,
}

impl Unanswered {
    fn new(streams: &Rc<Streams>, unsure: bool) -> Self {
        streams.unsure.set(streams.unsure.get() + u32::from(unsure));
        Unanswered { streams: streams.clone(), unsure, answered: false }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let Streams { given_up, unsure } = &*self.streams;
        unsure.set(unsure.get() - u32::from(self.unsure));
        given_up.set(given_up.get() + u32::from(!self.answered));
    }
}

impl Sender {
    /// No later exchange may use it.
    pub(crate) fn is_worn(&self) -> bool {
        self.requests.is_closed() || self.streams.given_up.get() >= WORN
    }

    /// An exchange waits for an answer on it.
    pub(crate) fn has_exchanges(&self) -> bool {
        Rc::strong_count(&self.streams) > 1
    }

    /// Whether one more exchange may use it, of whose request not all is here if `unsure`.
    fn takes(&self, unsure: bool) -> bool {
        let Streams { given_up, unsure: others } = &*self.streams;
        let room = given_up.get() + others.get() < MOST_GIVEN_UP;
        !self.is_worn() && (room || !unsure)
    }

    /// No later exchange uses this connection.
    fn retire(&self, pool: &Pool) {
        pool.http2.borrow_mut().retain(|kept| !Rc::ptr_eq(&kept.streams, &self.streams));
    }
}

/// Sends the request of `state` and waits for the head of the response.
pub(crate) async fn send(attempt: &Attempt<'_>, body: &mut Body, deadline: &mut Deadline) -> Result<Reply, Error> {
    let pool = attempt.pool();
    // What makes no sense begins no stream.
    poll_fn(|cx| Poll::Ready(body.begin(cx))).await?;
    loop {
        let unsure = !body.is_here();
        let kept = pool.http2.borrow().iter().find(|sender| sender.takes(unsure)).cloned();
        let reused = kept.is_some();
        let sender = match kept {
            Some(sender) => sender,
            None => {
                let sender = connect(attempt, deadline).await?;
                pool.http2.borrow_mut().push(sender.clone());
                sender
            }
        };
        match send_on(sender, attempt, body, deadline).await {
            // The connection was going away: not the endpoint's failure.
            Err(error) if reused && error.retryable => {}
            result => return result,
        }
    }
}

async fn send_on(
    mut sender: Sender,
    attempt: &Attempt<'_>,
    body: &mut Body,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let call = attempt.call;
    let uploaded = || call.upload.as_ref().map_or(0, |upload| upload.bytes.get());
    let mut request = request(&**call.run.state().await, std::mem::replace(body, Body::Empty))?;
    if call.wishes.trailers {
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let replayable = request.method().is_idempotent() && matches!(request.body(), Body::Empty);
    deadline.set(attempt.call.snapshot.timeouts.response);
    let mut unanswered = Unanswered::new(&sender.streams, !request.body().is_here());
    let mut sending = pin!(sender.requests.try_send_request(request));
    let mut seen = uploaded();
    let answered = loop {
        match deadline.race(sending.as_mut()).await {
            // A request that is still being sent holds the clock.
            Err(Elapsed) if uploaded() != seen => {
                seen = uploaded();
                deadline.set(attempt.call.snapshot.timeouts.response);
            }
            answered => break answered,
        }
    };
    let response = match answered {
        Err(Elapsed) => {
            // A connection that says nothing may be dead without knowing it.
            sender.retire(attempt.pool());
            return Err(Error::new(Kind::UpstreamTimeout, "no response head in time"));
        }
        Ok(Ok(response)) => {
            unanswered.answered = true;
            response
        }
        Ok(Err(mut failed)) => {
            // What was not sent comes back, and may be sent to another.
            let unsent = failed.take_message();
            let error = failed.into_error();
            if sender.requests.is_closed() || unsent.is_some() || refused_unseen(&error) {
                sender.retire(attempt.pool());
            }
            let retryable = unsent.is_some() || (replayable && refused_unseen(&error));
            if let Some(request) = unsent {
                *body = request.into_body();
            }
            return Err(body::broken(Kind::UpstreamClosed, &error).retryable(retryable));
        }
    };
    let (parts, incoming) = response.into_parts();
    if fields::connection_fields(&parts.headers) || parts.status.is_informational() {
        return Err(Error::new(Kind::MalformedResponse, "fields that HTTP/2 forbids"));
    }
    // hyper would tell the length that a body would have had, of an answer to HEAD.
    let body = if incoming.is_end_stream() { Body::Empty } else { Body::Http2Response(incoming) };
    Ok(Reply::Response(parts, body))
}

/// The upstream says that it has not looked at the request (RFC 9113, section 8.7).
fn refused_unseen(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        (cause.is_go_away() && cause.is_remote()) || cause.reason() == Some(h2::Reason::REFUSED_STREAM)
    })
}

async fn connect(attempt: &Attempt<'_>, deadline: &mut Deadline) -> Result<Sender, Error> {
    let stream = attempt.connect(deadline).await?;
    let failed = |error: hyper::Error| Error::new(Kind::ConnectFailed, error.to_string()).retryable(true);
    let (sender, connection) = Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(attempt.call.snapshot.limits.head_bytes).unwrap_or(u32::MAX))
        .handshake(Io::new(Bytes::new(), stream))
        .await
        .map_err(failed)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "HTTP/2 upstream connection ended");
        }
    });
    Ok(Sender { requests: sender, streams: Rc::default() })
}

/// The request as hyper sends it: scheme and authority in the URI, no `Host`.
fn request(state: &HookState, body: Body) -> Result<Request<Body>, Error> {
    let malformed = |detail: String| Error::new(Kind::MalformedRequest, detail);
    let Some(head) = &state.request else { return Err(malformed("no request".into())) };
    let mut target = uri::Parts::default();
    target.scheme = Some(state.scheme.clone());
    let authority = uri::Authority::try_from(state.authority.as_bytes());
    target.authority = Some(authority.map_err(|error| malformed(format!("authority: {error}")))?);
    target.path_and_query = head.uri.path_and_query().cloned();
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_parts(target).map_err(|error| malformed(error.to_string()))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = head.headers.clone();
    Ok(request)
}
