//! The exchange: the one path that every HTTP request takes, whichever version it came in by.
//!
//! `handle` is the outer function: it turns errors into responses and makes sure that the record is written. `run` is
//! the inner one: it does the work, in the order of docs/life-of-a-request.md. No codec is named here.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, Uri, Version, request, response};
use odin_runtime::HookState;
use tokio::net::TcpStream;

use crate::body::{Body, Upload};
use crate::error::{Error, Kind};
use crate::fields::{self, Downstream};
use crate::local::{LocalKind, LocalListener};
use crate::plugins;
use crate::record::{Record, RecordedBody};
use crate::timer::Deadline;
use crate::upstream::{self, Reply};
use crate::worker::Worker;

/// A request whose head was checked by its codec.
pub(crate) struct Request {
    /// Origin-form URI; no field of the connection and no `Host`.
    pub(crate) head: request::Parts,
    pub(crate) authority: HeaderValue,
    pub(crate) wishes: Wishes,
    pub(crate) body: Body,
}

/// What the client asks of the connection, for Odin to ask of the upstream's.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// The protocol to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// `TE: trailers`: the client reads them.
    pub(crate) trailers: bool,
}

/// What the codec does next.
#[allow(clippy::large_enum_variant, reason = "a box would cost every exchange an allocation")]
pub(crate) enum Outcome {
    /// Send this response.
    Response(Response<RecordedBody>),
    /// Send this `101`, then relay bytes.
    Switched(Box<Switched>),
}

/// An upstream that switched protocols.
pub(crate) struct Switched {
    pub(crate) head: response::Parts,
    pub(crate) protocol: HeaderValue,
    pub(crate) io: TcpStream,
    /// What the upstream sent right behind its `101`.
    pub(crate) early: Bytes,
    pub(crate) record: Box<Record>,
}

/// Where a request arrived.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<LocalListener>,
    pub(crate) downstream: Rc<Downstream>,
}

impl Origin {
    /// The record of an exchange that begins now.
    pub(crate) fn record(&self, head: Option<&request::Parts>) -> Box<Record> {
        // A head that could not be read has neither.
        let unknown = || {
            let method = Method::from_bytes(b"-").unwrap_or_default();
            (method, Uri::from_static("-"), Version::HTTP_11)
        };
        let (method, uri, version) =
            head.map_or_else(unknown, |head| (head.method.clone(), head.uri.clone(), head.version));
        Box::new(Record {
            worker: self.worker.clone(),
            listener: self.listener.clone(),
            downstream: self.downstream.clone(),
            started: Instant::now(),
            method,
            authority: None,
            uri,
            version,
            id: None,
            status: Kind::DownstreamClosed.status(),
            upload: None,
            sent: 0,
            endpoint: None,
            attempts: 0,
            plugin_nanos: 0,
            failure: None,
            complete: false,
        })
    }
}

/// Serves one request. Errors become responses here and nowhere else.
pub(crate) async fn handle(origin: &Origin, request: Request, deadline: &mut Deadline) -> Outcome {
    let mut record = origin.record(Some(&request.head));
    record.authority = Some(request.authority.clone());
    match run(origin, request, &mut record, deadline).await {
        Ok(Reply::Response(head, body)) => Outcome::Response(respond(head, body, record)),
        Ok(Reply::Switched { parts: head, protocol, io, early }) => {
            record.status = head.status;
            Outcome::Switched(Box::new(Switched { head, protocol, io, early, record }))
        }
        Err(error) => Outcome::Response(refuse(&error, record)),
    }
}

/// The response to an error, with the error in the record.
pub(crate) fn refuse(error: &Error, mut record: Box<Record>) -> Response<RecordedBody> {
    record.fail(error);
    let (head, body) = error.to_response().into_parts();
    respond(head, Body::Full(body), record)
}

fn respond(head: response::Parts, body: Body, mut record: Box<Record>) -> Response<RecordedBody> {
    record.status = head.status;
    // No body to wait for: what is left is a head, and the codec says if that cannot be sent.
    record.complete = http_body::Body::is_end_stream(&body);
    Response::from_parts(head, RecordedBody::new(body, record))
}

async fn run(origin: &Origin, request: Request, record: &mut Record, deadline: &mut Deadline) -> Result<Reply, Error> {
    const SCHEME: &str = "http";
    let Request { mut head, authority, wishes, mut body } = request;
    let LocalKind::Http { routes, trust_forwarded } = &origin.listener.kind else {
        return Err(Error::new(Kind::NoRoute, "the listener became a TCP listener"));
    };
    let snapshot = &*origin.listener.snapshot;
    let target = routes
        .find(authority.to_str().unwrap_or(""), &head.uri)
        .ok_or_else(|| Error::new(Kind::NoRoute, "no route matches host and path"))?;
    let id = fields::forward_request(
        &mut head,
        &origin.downstream,
        &authority,
        SCHEME,
        *trust_forwarded,
        &origin.worker.request_ids,
    );
    record.id = Some(id);
    if !matches!(body, Body::Empty) {
        let upload = Rc::new(Upload::default());
        record.upload = Some(upload.clone());
        body = Body::Watched(Box::new(body), upload);
    }

    let chain = plugins::pin(&target.plugins);
    let mut state = HookState::new(SCHEME, authority, origin.downstream.info.clone(), snapshot.limits.head_bytes);
    state.request = Some(head);
    let answered = async {
        if let Some(reply) = plugins::request_headers(&chain, &mut state)? {
            return Ok(answer(reply));
        }
        upstream::send(&target.cluster, snapshot, &mut state, &wishes, &mut body, record, deadline).await
    }
    .await
    // A request that broke off is the client's failure, whatever the upstream makes of it.
    .map_err(|error| record.upload.as_ref().and_then(|upload| upload.failure.take()).unwrap_or(error));
    let replied = match answered {
        Ok(Reply::Response(mut head, body)) => {
            fields::via(&mut head.headers, head.version);
            state.response = Some(head);
            plugins::response_headers(&chain, &mut state).map(|replaced| match (replaced, state.response.take()) {
                (Some(reply), _) => answer(reply),
                (None, Some(head)) => Reply::Response(head, body),
                (None, None) => answer(Response::new(Bytes::new())),
            })
        }
        other => other,
    };
    record.plugin_nanos = state.plugin_nanos;
    replied
}

/// A plugin's answer.
fn answer(reply: Response<Bytes>) -> Reply {
    let (head, body) = reply.into_parts();
    Reply::Response(head, Body::Full(body))
}
