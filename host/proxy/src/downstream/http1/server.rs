//! An HTTP/1.1 connection of a client: reads heads, hands requests to the exchange, writes responses.
//! One task serves one connection, one request after the other.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, Response, StatusCode, Version, response};
use http_body::Body as _;
use tokio::io::AsyncWrite as _;

use crate::downstream::Downstream;
use crate::downstream::detect::NewConnection;
use crate::downstream::exchange::{self, Outcome, Request, Switched};
use crate::downstream::handle::Handle;
use crate::downstream::http1::arrival::{self, Arrival};
use crate::downstream::http1::halves::{Halves, Inlet, MAX_DRAIN, Outlet};
use crate::downstream::record::{Origin, Record, RecordedBody};
use crate::downstream::worker::Worker;
use crate::error::{Error, Kind};
use crate::http::body::Body;
use crate::http::http1::encode::{self, Persistence};
use crate::http::http1::framing::Decoder;
use crate::http::http1::request::RequestHead;
use crate::http::http1::writer::{Encoding, Pump, PumpError};
use crate::relay::{self, RelayOptions};
use crate::transport::timer::{Deadline, Elapsed};

/// How long a client that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(2);
/// How often other tasks run while one of them lets go of a connection.
const MAX_TURNS: usize = 64;
/// Bytes that may wait behind the request that is being served.
const MAX_PIPELINED: usize = 64 * 1024;

/// What the loop does after an exchange.
enum Next {
    Keep,
    /// Say no more, but let the client read what was said.
    Linger,
    Close,
    /// Close so that even a client that reads up to the end sees that it was cut off.
    Reset,
    /// The connection speaks another protocol from here on.
    Switch(Box<Switched>),
}

/// What a response answers.
struct Answered<'a> {
    method: &'a Method,
    version: Version,
    keep_alive: bool,
}

/// A response that broke while all of it was still here.
struct Broken {
    error: Error,
    record: Box<Record>,
}

/// Serves a connection to its end.
pub(crate) async fn serve(new: NewConnection, handle: Rc<Handle>, downstream: Rc<Downstream>, worker: Rc<Worker>) {
    let NewConnection { conn, reader, deadline } = new;
    let mut connection = Connection { halves: Halves::new(conn, reader), deadline, first: true };
    loop {
        let Connection { halves, deadline, first } = &mut connection;
        let arrival = arrival::next(halves, deadline, *first, &handle, &downstream.drain).await;
        // What the config says now, and not what it said when the connection fell idle.
        let origin = Origin { worker: worker.clone(), listener: handle.current(), downstream: downstream.clone() };
        let next = match arrival {
            Arrival::Closed => return connection.close(),
            Arrival::Refused(error, start) => {
                let mut record = Record::new(&origin, None, None);
                record.unread = start;
                match exchange::refuse(&error, record) {
                    Some(refusal) => connection.respond(refusal, &origin, &Method::GET, Version::HTTP_11, false).await,
                    None => Next::Reset,
                }
            }
            Arrival::Head(head) => connection.exchange(head, &origin).await,
        };
        match next {
            Next::Keep => connection.first = false,
            // Boxed, here and below: what few connections come to must not make all of them large.
            Next::Linger => return Box::pin(connection.linger()).await,
            Next::Close => {
                connection.let_go().await;
                return connection.close();
            }
            Next::Reset => {
                connection.let_go().await;
                // Before the halves go: dropping the one that writes would say a regular end.
                if let Some((mut conn, _)) = connection.halves.into_conn() {
                    conn.reset_on_drop();
                }
                return;
            }
            Next::Switch(switched) => return Box::pin(connection.switch(*switched, &origin)).await,
        }
    }
}

struct Connection {
    halves: Rc<Halves>,
    deadline: Deadline,
    first: bool,
}

impl Connection {
    /// Takes the connection back from a body that is still being read.
    async fn let_go(&self) {
        self.halves.revoke();
        for _ in 0..MAX_TURNS {
            if !self.halves.lent() {
                return;
            }
            tokio::task::yield_now().await;
        }
        self.halves.shut();
    }

    /// In one step: dropping the half that writes would shut it down first.
    fn close(self) {
        drop(self.halves.into_conn());
    }

    /// One exchange, from its head to the last byte of its response.
    async fn exchange(&mut self, request: RequestHead, origin: &Origin) -> Next {
        let snapshot = &origin.listener.snapshot;
        let RequestHead { head, framing, keep_alive, expect_continue, mut wishes } = request;
        let (method, version) = (head.parts.method.clone(), head.parts.version);
        let decoder = Decoder::new(framing, snapshot.limits.trailer_bytes);
        let body = match decoder.is_end() {
            true => Body::Empty,
            false => Body::from(self.halves.body()),
        };
        {
            let mut inlet = self.halves.inlet.borrow_mut();
            inlet.reader.expect(decoder.remaining());
            inlet.decoder = decoder;
        }
        self.halves.outlet.borrow_mut().continue_due = expect_continue;
        self.deadline.begin(snapshot.timeouts.request);
        if version == Version::HTTP_11 {
            wishes.interim = Some(self.halves.clone());
        }
        let request = Request { head, wishes, body };
        match self.run(origin, request).await {
            None => Next::Close,
            Some(Outcome::Switched(switched)) => Next::Switch(switched),
            Some(Outcome::Cut) => Next::Reset,
            Some(Outcome::Response(response)) => {
                match self.respond(response, origin, &method, version, keep_alive).await {
                    // A client that asked for the end sends no more: nothing is waited for that could reset it.
                    Next::Linger if !keep_alive && self.halves.all_is_read() => Next::Close,
                    next => next,
                }
            }
        }
    }

    /// Runs the exchange while it watches the client; none when the client is gone.
    async fn run(&mut self, origin: &Origin, request: Request) -> Option<Outcome> {
        let Connection { halves, deadline, .. } = self;
        let half_close = origin.listener.kind.http().is_some_and(|rules| rules.half_close);
        let mut exchange = pin!(exchange::handle(origin, request, deadline));
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = exchange.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            let Inlet { io, reader, decoder, .. } = &mut *halves.inlet.borrow_mut();
            while decoder.is_end() && !reader.ended && reader.buffer.len() < MAX_PIPELINED {
                match reader.poll_fill(io, cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => break,
                }
            }
            // Most clients that end their side have gone; few only have nothing more to say, and still wait.
            if decoder.is_end() && reader.ended && !half_close {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// Writes a response, and says what becomes of the connection. A response that breaks before a byte of it has left
    /// is replaced by one that says so.
    async fn respond(
        &mut self,
        response: Response<RecordedBody>,
        origin: &Origin,
        method: &Method,
        version: Version,
        keep_alive: bool,
    ) -> Next {
        let answered = Answered { method, version, keep_alive };
        match self.write(response, origin, &answered).await {
            Ok(next) => next,
            Err(Broken { error, record }) => match exchange::refuse(&error, record) {
                Some(refusal) => self.write(refusal, origin, &answered).await.unwrap_or(Next::Close),
                None => Next::Reset,
            },
        }
    }

    async fn write(
        &mut self,
        response: Response<RecordedBody>,
        origin: &Origin,
        answered: &Answered<'_>,
    ) -> Result<Next, Broken> {
        let Connection { halves, deadline, .. } = self;
        let idle = origin.listener.snapshot.timeouts.idle;
        let (head, mut body) = response.into_parts();
        let encoding = encoding(&head, &body, answered);
        let unread = !halves.inlet.borrow().decoder.is_end();
        let keep = answered.keep_alive
            && encoding != Encoding::UntilClose
            && !(unread && halves.too_much_unread())
            && !origin.downstream.drain.begun();
        let persistence = match (keep, answered.version) {
            (false, _) => Persistence::Close,
            (true, Version::HTTP_10) => Persistence::KeepAlive,
            (true, _) => Persistence::Implied,
        };
        // What goes before it, a `100 Continue`, may still be waiting there.
        let before = halves.outlet.borrow().writer.position();
        encode::response_head(
            halves.outlet.borrow_mut().writer.buffer(),
            head.status,
            &head.headers,
            encoding,
            persistence,
        );

        let mut pump = Pump::new(encoding);
        let mut seen = 0;
        deadline.set(body.patience(idle));
        let result = poll_fn(|cx| {
            let Outlet { io, writer, .. } = &mut *halves.outlet.borrow_mut();
            if let Poll::Ready(result) = pump.poll(&mut body, writer, io, cx) {
                return Poll::Ready(result);
            }
            // Whatever moves: the response, or the rest of the request.
            let moved = pump.progress + writer.sent() + body.moved();
            if std::mem::replace(&mut seen, moved) != moved {
                deadline.set(if writer.is_empty() { body.patience(idle) } else { idle });
            }
            let (kind, who) = match writer.is_empty() {
                true => (Kind::UpstreamTimeout, "the response's body stalled"),
                false => (Kind::DownstreamClosed, "the client takes no more of the response"),
            };
            deadline.poll(cx).map(|Elapsed| Err(PumpError::Source(Error::new(kind, who))))
        })
        .await;
        match result {
            Ok(()) => body.record.complete = true,
            Err(PumpError::Source(error)) if halves.outlet.borrow_mut().writer.take_back(before) => {
                return Err(Broken { error, record: body.record });
            }
            // What the client has got must not look whole: the connection ends without the last chunk.
            Err(PumpError::Source(error)) => {
                body.record.fail(&error);
                return Ok(if encoding == Encoding::UntilClose { Next::Reset } else { Next::Close });
            }
            Err(PumpError::Sink) => {
                body.record.complete = false;
                return Ok(Next::Close);
            }
        }
        drop(body);
        Ok(match (keep, unread) {
            (true, false) => Next::Keep,
            (true, true) => self.drain(idle).await,
            (false, _) => Next::Linger,
        })
    }

    /// Reads and drops the rest of the request's body.
    async fn drain(&mut self, patience: Duration) -> Next {
        let Connection { halves, deadline, .. } = self;
        deadline.set(patience);
        let mut dropped = 0;
        let whole = poll_fn(|cx| {
            loop {
                match halves.poll_body(cx) {
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Ready(Some(Ok(frame))) => {
                        dropped += frame.data_ref().map_or(0, |data| data.len() as u64);
                        if dropped > MAX_DRAIN {
                            return Poll::Ready(false);
                        }
                    }
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                    Poll::Pending => return deadline.poll(cx).map(|Elapsed| false),
                }
            }
        })
        .await;
        if whole { Next::Keep } else { Next::Linger }
    }

    /// Closes the sending side and waits for the client to have read: closing at once would reset the connection when
    /// the client is still sending, and it would never see the answer (RFC 9112, section 9.6).
    async fn linger(mut self) {
        self.halves.revoke();
        self.deadline.begin(LINGER);
        let Connection { halves, deadline, .. } = &mut self;
        let (mut sending, mut dropped) = (true, 0);
        poll_fn(|cx| {
            if sending && Pin::new(&mut halves.outlet.borrow_mut().io).poll_shutdown(cx).is_pending() {
                return deadline.poll(cx).map(|Elapsed| ());
            }
            sending = false;
            let Inlet { io, reader, .. } = &mut *halves.inlet.borrow_mut();
            loop {
                dropped += reader.buffer.len() as u64;
                reader.buffer.clear();
                if dropped > MAX_DRAIN {
                    return Poll::Ready(());
                }
                match reader.poll_fill(io, cx) {
                    Poll::Ready(Ok(read)) if read > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return deadline.poll(cx).map(|Elapsed| ()),
                }
            }
        })
        .await;
    }

    /// Sends the `101` and relays bytes until both sides are done. Nothing that the client sent behind its request has
    /// left Odin before this.
    async fn switch(mut self, switched: Switched, origin: &Origin) {
        let Switched { head, protocol, io: upstream, early, mut record } = switched;
        let halves = self.halves.clone();
        encode::switching_head(halves.outlet.borrow_mut().writer.buffer(), &head.headers, &protocol);
        let flush = poll_fn(|cx| {
            let Outlet { io, writer, .. } = &mut *halves.outlet.borrow_mut();
            writer.poll_flush(io, cx)
        });
        self.deadline.set(origin.listener.snapshot.timeouts.idle);
        let sent = matches!(self.deadline.race(flush).await, Ok(Ok(())));
        drop(halves);
        let Some((client, early_from_client)) = self.halves.into_conn().filter(|_| sent) else { return };
        let idle = origin.listener.snapshot.timeouts.tcp_idle;
        let options =
            RelayOptions { idle: (!idle.is_zero()).then_some(idle), drain: Some(origin.downstream.drain.clone()) };
        let report = relay::relay(client, upstream, early_from_client, early, &options).await;
        record.relayed(report);
    }
}

/// How the response's body is delimited for this client (RFC 9112, section 6.3).
fn encoding(head: &response::Parts, body: &RecordedBody, answered: &Answered<'_>) -> Encoding {
    let bodiless = head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || *answered.method == Method::HEAD;
    match (bodiless, body.size_hint().exact()) {
        (true, _) => Encoding::None,
        (false, Some(length)) => Encoding::Length(length),
        (false, None) if answered.version == Version::HTTP_10 => Encoding::UntilClose,
        (false, None) => Encoding::Chunked,
    }
}

#[cfg(test)]
mod tests;
