//! An HTTP/1.1 connection to an upstream: sends one request, reads one response, and goes back to its pool only when
//! both were whole and not a byte is left over.
//!
//! There is no task behind a connection. The exchange owns it while it waits for the head, the response's body owns it
//! afterwards, and whoever drops it closes it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body::{Body as _, Frame};

use crate::error::{Error, Kind};
use crate::http::body::{Body, Source};
use crate::http::http1::encode::{self, RequestLine};
use crate::http::http1::framing::{BodyError, Decoder, Piece};
use crate::http::http1::head::{HeadError, HeadScanner};
use crate::http::http1::response::{self as head, ResponseHead};
use crate::http::http1::websocket;
use crate::http::http1::writer::{Encoding, Pump, PumpError};
use crate::upstream::http1::connection::Connection;

use crate::http::head::{Head, Wishes};
use crate::settings::{Limits, Timeouts};
use crate::transport::timer::{Deadline, Elapsed};
use crate::upstream::attempt::{Attempt, Reply};
use crate::upstream::gate::Lease;
use crate::upstream::pool::Pool;

/// Interim responses before the final one: more is a peer that does not end.
const MAX_INTERIM: usize = 16;
/// How long the body of a client that expects `100-continue` waits for the upstream to ask for it. Few servers that do not
/// know it are left (RFC 9110, section 10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Sends the request and waits for the head of the response. `body` is taken only when its rest must still be sent
/// while the response comes in.
pub(crate) async fn send(
    mut connection: Box<Connection>,
    lease: &mut Option<Lease>,
    attempt: &Attempt<'_>,
    body: &mut Body,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let (limits, timeouts) = (&attempt.call.snapshot.limits, &attempt.call.snapshot.timeouts);
    let wishes = attempt.call.wishes;
    let encoding = match body.size_hint().exact() {
        _ if matches!(body, Body::Empty) => Encoding::None,
        Some(length) => Encoding::Length(length),
        None => Encoding::Chunked,
    };
    let expect_continue = body.awaits_continue();
    let head = attempt.head;
    let one_client = attempt.pool().peer.proxy_header.is_some();
    let line = RequestLine { head, encoding, wishes, expect_continue, close: one_client };
    encode::request_head(connection.writer.buffer(), &line);

    let hold = || {
        let mut held = Deadline::default();
        held.set(CONTINUE_WAIT);
        held
    };
    let mut wait = Wait {
        held: expect_continue.then(hold),
        told: false,
        bodiless: encoding == Encoding::None,
        pump: Some(Pump::new(encoding)),
        scanner: HeadScanner::default(),
        interim: 0,
        cut: false,
        heard: false,
    };
    deadline.set(wait.patience(timeouts));
    let asked = Asked { head, wishes, limits };
    let answer = poll_fn(|cx| {
        let before = (wait.progress(), body.gathered());
        match wait.poll(&mut connection, body, &asked, cx) {
            Poll::Ready(answer) => return Poll::Ready(answer),
            // A request that is still being sent holds the clock.
            Poll::Pending if (wait.progress(), body.gathered()) != before => deadline.set(wait.patience(timeouts)),
            Poll::Pending => {}
        }
        deadline.poll(cx).map(|Elapsed| Err(wait.late(&connection)))
    })
    .await?;

    if answer.parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let Connection { io, reader, .. } = *connection;
        let protocol = answer.upgrade.unwrap_or_else(|| HeaderValue::from_static(""));
        return Ok(Reply::Switched { parts: answer.parts, protocol, io, early: reader.buffer.freeze() });
    }
    let decoder = Decoder::new(answer.framing, limits.trailer_bytes);
    connection.reader.expect(decoder.remaining());
    let mut response = ResponseBody {
        decoder,
        upload: wait.pump.take().map(|pump| (pump, std::mem::replace(body, Body::Empty))),
        pool: (answer.keep_alive && !wait.cut && !one_client).then(|| attempt.pool().clone()),
        lease: lease.take(),
        connection: Some(connection),
    };
    response.finish_if_complete();
    let body = match response.connection {
        None => Body::Empty,
        Some(_) => Body::from(response),
    };
    Ok(Reply::Response(answer.parts, body))
}

/// The wait for the head.
struct Wait {
    /// Until when the body is held back, if the upstream does not ask for it before.
    held: Option<Deadline>,
    /// The upstream asked for the body (`100 Continue`).
    told: bool,
    /// The request has no body: it could be sent again as it was.
    bodiless: bool,
    /// None once the request is sent, or cannot be sent any further.
    pump: Option<Pump>,
    scanner: HeadScanner,
    interim: usize,
    /// The request could not be sent whole.
    cut: bool,
    /// A byte has come back.
    heard: bool,
}

impl Wait {
    fn progress(&self) -> u64 {
        self.pump.as_ref().map_or(u64::MAX, |pump| pump.progress)
    }

    /// How long the next step may take.
    fn patience(&self, timeouts: &Timeouts) -> Duration {
        if self.pump.is_some() { timeouts.idle } else { timeouts.response }
    }

    /// Who kept us waiting: the upstream, unless all that the client has sent so far was passed on.
    fn late(&self, connection: &Connection) -> Error {
        match &self.pump {
            Some(_) if connection.writer.is_empty() => Error::new(Kind::BodyTimeout, "the request's body stalled"),
            Some(_) => Error::new(Kind::UpstreamTimeout, "the upstream takes no more of the request"),
            None => Error::new(Kind::UpstreamTimeout, "no response head in time"),
        }
    }

    fn poll(
        &mut self,
        connection: &mut Connection,
        body: &mut Body,
        asked: &Asked<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Error>> {
        if self.holds(connection, cx) {
            // Sent without its body.
        } else if let Some(pump) = &mut self.pump {
            match pump.poll(body, &mut connection.writer, &mut connection.io, cx) {
                Poll::Ready(Err(PumpError::Source(error))) => return Poll::Ready(Err(error)),
                // The upstream reads no more, but it may have answered: see what it says.
                Poll::Ready(Err(PumpError::Sink)) => (self.pump, self.cut) = (None, true),
                Poll::Ready(Ok(())) => self.pump = None,
                Poll::Pending => {}
            }
        }
        loop {
            match self.head(connection, asked) {
                Ok(Some(head)) => {
                    if self.held.is_some() {
                        // The body is not wanted, and the upstream may still wait for it.
                        (self.pump, self.cut) = (None, true);
                    }
                    return Poll::Ready(Ok(head));
                }
                Ok(None) if std::mem::take(&mut self.told) && self.held.is_some() => {
                    self.held = None;
                    cx.waker().wake_by_ref();
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let closed = match ready!(connection.reader.poll_fill(&mut connection.io, cx)) {
                Ok(0) => "closed before its response".to_owned(),
                Ok(_) => {
                    self.heard = true;
                    continue;
                }
                Err(error) => error.to_string(),
            };
            // A kept connection that was closed under our hands: the request was not looked at (RFC 9112, section 9.3.1).
            let safe = connection.reused && !self.heard && asked.head.parts.method.is_idempotent() && self.bodiless;
            return Poll::Ready(Err(Error::new(Kind::UpstreamClosed, closed).retryable(safe)));
        }
    }

    /// Whether the body is still held back until the upstream asks for it. The head goes out meanwhile.
    fn holds(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> bool {
        let Some(held) = &mut self.held else { return false };
        // A failed write shows at the next one, or when the connection is read.
        let _ = connection.writer.poll_flush(&mut connection.io, cx);
        if held.poll(cx).is_ready() {
            self.held = None;
        }
        self.held.is_some()
    }

    /// The final head, once it is there. Interim ones go to the client, if it can get them.
    fn head(&mut self, connection: &mut Connection, asked: &Asked<'_>) -> Result<Option<ResponseHead>, Error> {
        loop {
            let buffer = &mut connection.reader.buffer;
            if buffer.is_empty() {
                return Ok(None);
            }
            let Some(end) = self.scanner.find_end(buffer, asked.limits.head_bytes).map_err(malformed)? else {
                return Ok(None);
            };
            let head = buffer.split_to(end).freeze();
            let head = head::parse(head, asked.limits.head_fields, &asked.head.parts.method).map_err(malformed)?;
            match head.parts.status {
                StatusCode::SWITCHING_PROTOCOLS if asked.is_switched_by(&head) => return Ok(Some(head)),
                StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(Error::new(Kind::MalformedResponse, "101 that nobody asked for"));
                }
                StatusCode::CONTINUE => self.told = true,
                status if status.is_informational() => {
                    if let Some(client) = &asked.wishes.interim {
                        client.tell(&head.parts);
                    }
                }
                _ => return Ok(Some(head)),
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Error::new(Kind::MalformedResponse, "too many interim responses"));
            }
        }
    }
}

/// What a response answers.
struct Asked<'a> {
    head: &'a Head,
    wishes: &'a Wishes,
    limits: &'a Limits,
}

impl Asked<'_> {
    /// Whether this `101` switches to the protocol that was asked for.
    fn is_switched_by(&self, head: &ResponseHead) -> bool {
        let (Some(asked), Some(given)) = (&self.wishes.upgrade, &head.upgrade) else { return false };
        asked.as_bytes().eq_ignore_ascii_case(given.as_bytes())
            && (!websocket::is_asked(asked) || websocket::answers(&self.head.parts.headers, &head.parts.headers))
    }
}

fn malformed(error: HeadError) -> Error {
    Error::new(Kind::MalformedResponse, error.to_string())
}

/// The body of a response; it owns the connection, and the rest of the request's body when that is not sent yet.
struct ResponseBody {
    decoder: Decoder,
    upload: Option<(Pump, Body)>,
    /// Where the connection goes afterwards; none when it cannot be used again.
    pool: Option<Rc<Pool>>,
    /// None when the body is complete.
    connection: Option<Box<Connection>>,
    /// Until then the connection counts as in use.
    lease: Option<Lease>,
}

impl Source for ResponseBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        if let Some((pump, body)) = &mut self.upload {
            match pump.poll(body, &mut connection.writer, &mut connection.io, cx) {
                Poll::Ready(Ok(())) => self.upload = None,
                Poll::Ready(Err(PumpError::Source(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Err(PumpError::Sink)) => (self.upload, self.pool) = (None, None),
                Poll::Pending => {}
            }
        }
        loop {
            let reader = &mut connection.reader;
            let piece = self.decoder.decode(&mut reader.buffer, reader.ended).map_err(|error| match error {
                BodyError::Truncated => Error::new(Kind::UpstreamClosed, error.to_string()),
                BodyError::Malformed(_) => Error::new(Kind::MalformedResponse, error.to_string()),
            })?;
            let frame = match piece {
                Piece::Data(data) => Some(Ok(Frame::data(data))),
                Piece::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
                Piece::End => None,
                Piece::Incomplete => {
                    if let Err(error) = ready!(reader.poll_fill(&mut connection.io, cx)) {
                        return Poll::Ready(Some(Err(Error::new(Kind::UpstreamClosed, error.to_string()))));
                    }
                    continue;
                }
            };
            self.finish_if_complete();
            return Poll::Ready(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_end()
    }

    fn limit_pieces(&mut self, bytes: Option<usize>) {
        if let Some(connection) = &mut self.connection {
            connection.reader.limit = bytes.unwrap_or(usize::MAX);
        }
    }

    fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }
}

impl ResponseBody {
    /// Gives the connection back as soon as the exchange is over on it, or closes it.
    fn finish_if_complete(&mut self) {
        if !self.decoder.is_end() {
            return;
        }
        if let Some(connection) = self.connection.take() {
            let clean = self.upload.is_none() && connection.reader.buffer.is_empty() && !connection.reader.ended;
            if let Some(pool) = self.pool.take().filter(|_| clean) {
                pool.put(connection);
            }
            self.lease = None;
        }
    }
}
