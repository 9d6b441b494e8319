//! HTTP/2 to an upstream: sends one request on a stream, and again when the upstream has not looked at it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use http::{HeaderValue, Request, Response, Uri, Version, header, uri};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::error::{Error, Kind};
use crate::http::body::Body;
use crate::http::fields;
use crate::http::head::Head;
use crate::http::http2::{self, StreamSource};
use crate::transport::timer::{Deadline, Elapsed};
use crate::upstream::attempt::{Attempt, Reply};
use crate::upstream::http2::sender::Stream;
use crate::upstream::http2::shared;

/// How often a request is sent again that the upstream refused without looking at it.
const MAX_REFUSALS: usize = 3;

/// Sends the request and waits for the head of the response.
pub(crate) async fn send(attempt: &Attempt<'_>, body: &mut Body, deadline: &mut Deadline) -> Result<Reply, Error> {
    // A malformed body never opens a stream.
    poll_fn(|cx| Poll::Ready(body.begin(cx))).await?;
    body.gather();
    let mut refusals = 0;
    loop {
        let stream = shared::reserve(attempt, !body.is_here(), deadline).await?;
        let reused = stream.is_reused();
        match send_on(stream, attempt, body, deadline).await {
            // The connection was going away, or full: not the endpoint's failure.
            Err(error) if error.retryable && (reused || refusals < MAX_REFUSALS) => refusals += 1,
            result => return result,
        }
    }
}

async fn send_on(
    mut stream: Stream,
    attempt: &Attempt<'_>,
    body: &mut Body,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let call = attempt.call;
    let again = body.copy();
    let mut request = request(attempt.head, std::mem::replace(body, Body::Empty))?;
    if call.wishes.trailers {
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let idempotent = request.method().is_idempotent();
    let mut requests = stream.requests()?;
    let mut sending = pin!(requests.try_send_request(request));
    let response = match answer(attempt, sending.as_mut(), deadline).await {
        Err(Elapsed) => {
            // A connection that says nothing may be dead without knowing it.
            shared::retire(&stream, attempt.pool());
            return Err(Error::new(Kind::UpstreamTimeout, "no response head in time"));
        }
        Ok(Ok(response)) => {
            stream.answered();
            response
        }
        Ok(Err(mut failed)) => {
            // What was not sent comes back, and may be sent to another.
            let unsent = failed.take_message();
            let error = failed.into_error();
            let refused = refused_unseen(&error);
            // A request that changes nothing may be sent twice when its connection breaks (RFC 9110, section 9.2.2), but
            // not by one that may have broken the connection: this one has worked before.
            let broken = is_broken(&error);
            let repeatable = refused || (broken && stream.is_reused() && idempotent);
            if unsent.is_some() || broken || refused {
                shared::retire(&stream, attempt.pool());
            }
            let retryable = unsent.is_some() || (again.is_some() && repeatable);
            *body = match unsent {
                Some(request) => request.into_body(),
                None => again.unwrap_or(Body::Empty),
            };
            return Err(http2::broken(Kind::UpstreamClosed, &error).retryable(retryable));
        }
    };
    let (parts, incoming) = response.into_parts();
    if fields::connection_fields(&parts.headers) || parts.status.is_informational() {
        return Err(Error::new(Kind::MalformedResponse, "fields that HTTP/2 forbids"));
    }
    // hyper would tell the length that a body would have had, of an answer to HEAD.
    let body = if incoming.is_end_stream() { Body::Empty } else { Body::from(StreamSource { incoming, side: stream }) };
    Ok(Reply::Response(parts, body))
}

/// Waits for the head. A request that is still being sent holds the clock.
async fn answer<F, E>(
    attempt: &Attempt<'_>,
    mut sending: std::pin::Pin<&mut F>,
    deadline: &mut Deadline,
) -> Result<Result<Response<Incoming>, E>, Elapsed>
where
    F: Future<Output = Result<Response<Incoming>, E>>,
{
    let uploaded = || attempt.call.upload.as_ref().map_or(0, |upload| upload.bytes.get());
    let patience = attempt.call.snapshot.timeouts.response;
    deadline.set(patience);
    let mut seen = uploaded();
    loop {
        match deadline.race(sending.as_mut()).await {
            Err(Elapsed) if uploaded() != seen => {
                seen = uploaded();
                deadline.set(patience);
            }
            answered => return answered,
        }
    }
}

/// The connection ended under the request.
fn is_broken(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    error.is_closed()
        || error.is_canceled()
        || error.is_timeout()
        || cause.is_some_and(|cause| cause.is_io() || cause.is_go_away())
}

/// The upstream says that it has not looked at the request (RFC 9113, section 8.7).
fn refused_unseen(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        (cause.is_go_away() && cause.is_remote()) || cause.reason() == Some(h2::Reason::REFUSED_STREAM)
    })
}

/// The request as hyper sends it: scheme and authority in the URI, no `Host`.
fn request(head: &Head, body: Body) -> Result<Request<Body>, Error> {
    let malformed = |detail: String| Error::new(Kind::MalformedRequest, detail);
    let mut target = uri::Parts::default();
    target.scheme = Some(head.scheme.clone());
    let authority = uri::Authority::try_from(head.authority.as_bytes());
    target.authority = Some(authority.map_err(|error| malformed(format!("authority: {error}")))?);
    target.path_and_query = head.parts.uri.path_and_query().cloned();
    let mut request = Request::new(body);
    *request.method_mut() = head.parts.method.clone();
    *request.uri_mut() = Uri::from_parts(target).map_err(|error| malformed(error.to_string()))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = head.parts.headers.clone();
    Ok(request)
}
