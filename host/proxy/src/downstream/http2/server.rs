//! HTTP/2 from clients: hyper's framing, Odin's checks of the head, the same exchange as for HTTP/1.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::downstream::Downstream;
use crate::downstream::detect::NewConnection;
use crate::downstream::exchange::{self, Outcome, Request};
use crate::downstream::handle::Handle;
use crate::downstream::http2::activity::{Activity, OpenExchange, StreamExecutor};
use crate::downstream::http2::stream_body::StreamBody;
use crate::downstream::record::{Origin, Record, RecordedBody};
use crate::downstream::worker::Worker;
use crate::error::{Error, Kind};
use crate::http::body::Body;
use crate::http::fields;
use crate::http::head::{Head, Wishes};
use crate::http::http1::head::{is_authority, parse_length, same_authority};
use crate::http::http2::{STREAM_WINDOW, StreamSource};
use crate::transport::conn::Conn;
use crate::transport::hyper_io::Io;
use crate::transport::timer::Deadline;

/// Bytes of a response that wait in a stream whose client takes them slowly, whatever its window.
const STREAM_BUFFER: usize = 16 * 1024;
/// Bytes of requests that a client may have under way on all its streams together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How long a client may take to see that the connection has ended.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection to its end, of which the preface is here.
pub(crate) async fn serve(new: NewConnection, handle: &Rc<Handle>, downstream: &Rc<Downstream>, worker: &Rc<Worker>) {
    let limits = handle.current().snapshot.limits.clone();
    let idle = handle.current().snapshot.timeouts.idle;
    let activity = Rc::new(Activity::default());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let origin = Origin { worker: worker.clone(), listener: handle.current(), downstream: downstream.clone() };
        let open = OpenExchange::new(&activity);
        // hyper and tokio move the future of an exchange, which is some kilobytes, from hand to hand: they move a box.
        let waiting = worker.waiting();
        Box::pin(async move {
            let _waiting = waiting;
            answer(origin, request, open).await.ok_or(Cut)
        })
    });
    let (io, back) = Io::returning(new.reader.buffer.freeze(), new.conn, activity.clone());
    let ended = {
        let connection = Builder::new(StreamExecutor { activity: activity.clone(), idle })
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(STREAM_BUFFER)
            .serve_connection(io, service);
        let mut connection = pin!(connection);
        let (mut ending, mut seen, mut deadline) = (false, None, Deadline::default());
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                    return Poll::Ready(result.map_err(|error| error.to_string()));
                }
                if seen.replace(activity.steps()) != Some(activity.steps()) {
                    deadline.set(activity.patience(idle, ending));
                }
                let late = deadline.poll(cx).is_ready();
                if late && (ending || !activity.is_idle()) {
                    return Poll::Ready(Err("nothing moves any more".to_owned()));
                }
                // A connection that has just come is served once: its client cannot know that it should have gone elsewhere.
                let drain = &downstream.drain;
                let leaves = drain.ends_idle() || (drain.begun() && activity.has_begun());
                if ending || !(late || leaves) {
                    return Poll::Pending;
                }
                ending = true;
                connection.as_mut().graceful_shutdown();
                deadline.set(activity.patience(idle, ending));
            }
        })
        .await
    };
    match ended {
        Ok(()) => {
            if let Some(conn) = back.take() {
                linger(conn).await;
            }
        }
        Err(error) => tracing::debug!(peer = %downstream.info.peer, error, "HTTP/2 connection ended"),
    }
}

/// Closes so that the client gets all that was sent: a socket that is closed with something unread, and be it the answer
/// to a ping, is reset.
async fn linger(mut conn: Conn) {
    // On the heap: only connections that end need it.
    let mut dropped = vec![0; 4096];
    let until_closed = async {
        let _ = conn.shutdown().await;
        // The most that a client has under way when it is told to end: its window.
        for _ in 0..CONNECTION_WINDOW as usize / dropped.len() {
            if !matches!(conn.read(&mut dropped).await, Ok(read) if read > 0) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, until_closed).await;
}

/// A plugin ends the stream without an answer; hyper resets it.
#[derive(Debug, thiserror::Error)]
#[error("cut by a plugin")]
struct Cut;

async fn answer(origin: Origin, request: hyper::Request<Incoming>, open: OpenExchange) -> Option<Response<StreamBody>> {
    let timeouts = &origin.listener.snapshot.timeouts;
    let mut deadline = Deadline::default();
    deadline.begin(timeouts.request);
    let request = match check(request, origin.listener.snapshot.limits.head_fields, &open) {
        Ok(request) => request,
        Err(refused) => {
            let response = exchange::refuse(&refused.0, Record::new(&origin, Some(&refused.1), None))?;
            return Some(watched(response, deadline, timeouts.idle, open));
        }
    };
    let response = match exchange::handle(&origin, request, &mut deadline).await {
        Outcome::Response(response) => response,
        Outcome::Switched(mut switched) => {
            let error = Error::new(Kind::MalformedResponse, "101 to an HTTP/2 request");
            switched.record.fail(&error);
            exchange::refuse(&error, switched.record)?
        }
        Outcome::Cut => return None,
    };
    Some(watched(response, deadline, timeouts.idle, open))
}

/// Gives the body what hyper does not: a deadline for what comes, and one for what goes.
fn watched(
    mut response: Response<RecordedBody>,
    deadline: Deadline,
    idle: Duration,
    open: OpenExchange,
) -> Response<StreamBody> {
    let watch = open.watch();
    response.body_mut().watch(deadline, idle, open);
    response.map(|body| StreamBody::new(body, watch))
}

type Refused = (Error, http::request::Parts);

/// What hyper lets through and Odin does not.
fn check(request: hyper::Request<Incoming>, max_fields: usize, open: &OpenExchange) -> Result<Request, Box<Refused>> {
    let (mut head, incoming) = request.into_parts();
    match check_head(&mut head, max_fields) {
        Ok((authority, wishes)) => {
            let body = if incoming.is_end_stream() {
                Body::Empty
            } else {
                Body::from(StreamSource { incoming, side: open.activity() })
            };
            Ok(Request { head: Head::new(Box::new(head), authority), wishes, body })
        }
        Err((kind, detail)) => Err(Box::new((Error::new(kind, detail), head))),
    }
}

/// Makes a head what an HTTP/1 head of the same request is read as; answers its authority and what it asks of the
/// connection.
pub(crate) fn check_head(
    head: &mut http::request::Parts,
    max_fields: usize,
) -> Result<(HeaderValue, Wishes), (Kind, &'static str)> {
    let malformed = |detail| (Kind::MalformedRequest, detail);
    if head.method == Method::CONNECT {
        return Err((Kind::NotImplemented, "CONNECT"));
    }
    if head.headers.len() > max_fields {
        return Err((Kind::HeadTooLarge, "too many fields"));
    }
    check_fields(&head.headers).map_err(malformed)?;
    let named = head.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    let authority = match (named, head.headers.remove(header::HOST)) {
        (Some(Ok(named)), None) => named,
        (Some(Ok(named)), Some(host)) if same_authority(named.as_bytes(), host.as_bytes(), head.uri.scheme_str()) => {
            named
        }
        (None, Some(host)) => host,
        (None, None) => return Err(malformed("no :authority")),
        _ => return Err(malformed("Host differs from :authority")),
    };
    if !is_authority(authority.as_bytes()) {
        return Err(malformed("invalid :authority"));
    }
    let plain =
        |path: &str| path.is_ascii() && (path.starts_with('/') || (path == "*" && head.method == Method::OPTIONS));
    let path = head.uri.path_and_query().filter(|path| plain(path.as_str()));
    head.uri = path.cloned().map(Uri::from).ok_or(malformed("invalid :path"))?;
    // Of a `:path` that is not there, or is nothing but a fragment, `http` says that it is "/".
    if head.uri.path().is_empty() {
        return Err(malformed("no :path"));
    }
    let wishes = Wishes { trailers: head.headers.remove(header::TE).is_some(), ..Wishes::default() };
    head.headers.remove(header::EXPECT);
    fields::join_cookies(&mut head.headers);
    fields::drop_twins(&mut head.headers);
    Ok((authority, wishes))
}

fn check_fields(headers: &HeaderMap) -> Result<(), &'static str> {
    if fields::connection_fields(headers) {
        return Err("a field that HTTP/2 forbids");
    }
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err("more than one Host");
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if lengths.next().is_some_and(|value| parse_length(value).is_err()) || lengths.next().is_some() {
        return Err("invalid Content-Length");
    }
    // RFC 9113, section 8.2.1: a value neither begins nor ends with white space.
    let padded = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        matches!(bytes.first(), Some(b' ' | b'\t')) || matches!(bytes.last(), Some(b' ' | b'\t'))
    };
    if headers.values().any(padded) {
        return Err("white space around a field value");
    }
    Ok(())
}
