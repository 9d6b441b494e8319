//! The exchange: the one path that every HTTP request takes, whichever version it came in by.
//!
//! `handle` is the outer function: it turns errors into responses and makes sure that the record is written. `run` is
//! the inner one: it does the work, in the order of docs/life-of-a-request.md. No codec is named here.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request, response};
use odin_runtime::{CpuBudget, HookState, Routed};
use tokio::net::TcpStream;

use crate::body::Body;
use crate::error::{Error, Kind};
use crate::fields::{self, Downstream};
use crate::hooks::{self, Run, Side};
use crate::local::{LocalCluster, LocalKind, LocalListener, Target};
use crate::path::PathRules;
use crate::record::{Record, RecordedBody};
use crate::timer::Deadline;
use crate::upload::Upload;
use crate::upstream::{self, Call, Reply};
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
    /// Where interim responses go; none when the client cannot get any.
    pub(crate) interim: Option<Rc<dyn Interim>>,
}

/// A client that can be told what comes before the response (RFC 9110, section 15.2).
pub(crate) trait Interim: fmt::Debug {
    /// Sends an interim response, unless the client is behind with reading.
    fn tell(&self, head: &response::Parts);
}

/// What the codec does next.
#[allow(clippy::large_enum_variant, reason = "a box would cost every exchange an allocation")]
pub(crate) enum Outcome {
    /// Send this response.
    Response(Response<RecordedBody>),
    /// Send this `101`, then relay bytes.
    Switched(Box<Switched>),
    /// Send nothing, and end the connection or the stream so that the client sees that it was cut off.
    Cut,
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

/// Serves one request. Errors become responses here and nowhere else.
pub(crate) async fn handle(origin: &Origin, request: Request, deadline: &mut Deadline) -> Outcome {
    let mut record = Record::new(origin, Some(&request.head));
    record.authority = Some(request.authority.clone());
    match run(origin, request, &mut record, deadline).await {
        Ok(Reply::Response(head, body)) => Outcome::Response(respond(head, body, record)),
        Ok(Reply::Switched { parts: head, protocol, io, early }) => {
            record.status = head.status;
            Outcome::Switched(Box::new(Switched { head, protocol, io, early, record }))
        }
        Err(error) => refuse(&error, record).map_or(Outcome::Cut, Outcome::Response),
    }
}

/// The response to an error, with the error in the record; none when a plugin wants the client to get nothing.
pub(crate) fn refuse(error: &Error, mut record: Box<Record>) -> Option<Response<RecordedBody>> {
    if let Some(Reply::Response(head, body)) = reply_in(error) {
        record.answered_by.clone_from(&error.by);
        return Some(respond(head, body, record));
    }
    record.fail(error);
    if error.kind == Kind::Cut {
        record.status = error.kind.status();
        return None;
    }
    let (head, body) = error.to_response().into_parts();
    Some(respond(head, Body::Full(body, None), record))
}

fn respond(mut head: response::Parts, mut body: Body, mut record: Box<Record>) -> Response<RecordedBody> {
    record.status = head.status;
    if record.method == Method::HEAD && !matches!(body, Body::Empty) {
        // A plugin's answer, or that to another method which a plugin asked: the client takes the head alone.
        if let Some(length) = http_body::Body::size_hint(&body).exact() {
            head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        body = Body::Empty;
    }
    if let Some(run) = record.run.as_ref().filter(|run| run.has_end())
        && let Some(mut state) = run.try_state()
    {
        // The hooks of the end see what the client got, wherever it came from.
        state.response = Some(head.clone());
    }
    // No body to wait for: what is left is a head, and the codec says if that cannot be sent.
    record.complete = http_body::Body::is_end_stream(&body);
    Response::from_parts(head, RecordedBody::new(body, record))
}

async fn run(origin: &Origin, request: Request, record: &mut Record, deadline: &mut Deadline) -> Result<Reply, Error> {
    let Request { mut head, authority, wishes, mut body } = request;
    let listener = &origin.listener;
    let LocalKind::Http(rules) = listener.kind else {
        return Err(Error::new(Kind::NoRoute, "the listener became a TCP listener"));
    };
    normalize(&mut head, rules.paths)?;
    let target =
        listener.router.find(authority.to_str().unwrap_or(""), head.uri.path()).and_then(|at| listener.target(at));
    let target = target.ok_or_else(|| Error::new(Kind::NoRoute, "no route matches host and path"))?;
    let ids = &origin.worker.request_ids;
    let id = fields::forward_request(&mut head, &origin.downstream, &authority, "http", rules.trust_forwarded, ids);
    record.id = Some(id.clone());
    if !matches!(body, Body::Empty) {
        let upload = Rc::new(Upload::at_least(listener.snapshot.limits.body_rate));
        record.upload = Some(upload.clone());
        body = Body::Watched(Box::new(body), upload);
    }

    let bodiless = head.method == Method::HEAD;
    let mut state = HookState::new(origin.downstream.info.clone(), listener.snapshot.limits.head_bytes);
    state.authority = authority;
    state.request = Some(head);
    state.request_has_body = !http_body::Body::is_end_stream(&body);
    state.request_open = true;
    state.facts.request_id = Some(id);
    state.facts.route = Some(target.name.clone());
    state.facts.started = record.started;
    state.cpu = CpuBudget::new(listener.snapshot.limits.cpu_budget, record.started);
    if !target.plugins.is_empty() {
        state.routing = Some(listener.router.clone());
    }
    let run = Run::new(&target.plugins, state);
    record.run = Some(run.clone());

    let asked = ask(origin, &run, target, &wishes, body, record, deadline).await;
    // A request that broke off is the client's failure, whatever the upstream makes of it.
    let asked = asked.map_err(|error| record.upload.as_ref().and_then(|up| up.failure.take()).unwrap_or(error));
    if run.is_empty() && listener.snapshot.access_log_fields.is_empty() {
        // Nobody reads it any more, and a response may take long.
        run.state().await.request = None;
    }
    let answered = match or_reply(asked, record)? {
        Reply::Response(head, body) => answer(&run, head, body, bodiless, deadline).await,
        Reply::Switched { parts, protocol, io, early } => match switch(&run, parts).await {
            Ok(parts) => Ok(Reply::Switched { parts, protocol, io, early }),
            Err(error) => Err(error),
        },
    };
    or_reply(answered, record)
}

/// Gives the path its one spelling, before anything looks at it.
fn normalize(head: &mut request::Parts, paths: PathRules) -> Result<(), Error> {
    let malformed = |why: &'static str| Error::new(Kind::MalformedRequest, why);
    let path = head.uri.path();
    // Else it is the `*` of OPTIONS.
    if !path.starts_with('/') {
        return Ok(());
    }
    let Some(mut target) = paths.apply(path).map_err(malformed)? else { return Ok(()) };
    if let Some(query) = head.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target));
    head.uri = target.map_err(|_| malformed("invalid request target"))?.into();
    Ok(())
}

/// The response's side of an exchange that switches protocols: a head, and then no message that a plugin could see.
async fn switch(run: &Run, head: response::Parts) -> Result<response::Parts, Error> {
    if run.is_empty() {
        return Ok(head);
    }
    open_response(run, head, false).await;
    hooks::response_headers(run).await?;
    close_response(run).await
}

/// The request's side of the exchange, up to the head of the response.
async fn ask(
    origin: &Origin,
    run: &Rc<Run>,
    target: &Target,
    wishes: &Wishes,
    mut body: Body,
    record: &mut Record,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let upload = record.upload.clone();
    let mut cluster = target.cluster.clone();
    if !run.is_empty() {
        deadline.race_limit(hooks::request_headers(run)).await.map_err(upstream::late)??;
        body = hooks::attach(run, Side::Request(upload.clone()), body, deadline).await?;
        let mut state = run.state().await;
        state.request_open = false;
        if let Some(head) = &mut state.request {
            fix_length(&mut head.headers, &body);
        }
        if wishes.upgrade.is_some() && !matches!(body, Body::Empty) {
            return Err(Error::new(Kind::PluginFailed, "a plugin gave a body to a request that asks for an upgrade"));
        }
        if let Some(routed) = state.routed.take() {
            cluster = reroute(origin, &mut state, routed)?;
        }
    }
    let call = Call { cluster: &cluster, snapshot: &origin.listener.snapshot, run, wishes, upload };
    upstream::send(&call, &mut body, &mut record.assigned, deadline).await
}

/// Where a plugin wants the exchange to go.
fn reroute(origin: &Origin, state: &mut HookState, routed: Routed) -> Result<Rc<LocalCluster>, Error> {
    let listener = &origin.listener;
    let cluster = match (&routed, &state.request) {
        (Routed::Cluster(name), _) => listener.clusters.get(name),
        (Routed::Rematch, Some(head)) => {
            let found = listener.router.find(state.authority.to_str().unwrap_or(""), head.uri.path());
            found.and_then(|at| listener.target(at)).map(|target| {
                state.facts.route = Some(target.name.clone());
                target.cluster.clone()
            })
        }
        (Routed::Rematch, None) => None,
    };
    cluster.ok_or_else(|| Error::new(Kind::NoRoute, "no route matches the request as plugins changed it"))
}

/// The response's side of the exchange. `bodiless`: the client asked for the head alone.
async fn answer(
    run: &Rc<Run>,
    mut head: response::Parts,
    mut body: Body,
    bodiless: bool,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    fields::forward_response(&mut head.headers, head.version);
    if run.is_empty() {
        return Ok(Reply::Response(head, body));
    }
    let bodiless = bodiless
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    open_response(run, head, !bodiless && !http_body::Body::is_end_stream(&body)).await;
    deadline.race_limit(hooks::response_headers(run)).await.map_err(upstream::late)??;
    if !bodiless {
        body = hooks::attach(run, Side::Response, body, deadline).await?;
    }
    let mut head = close_response(run).await?;
    if !bodiless {
        fix_length(&mut head.headers, &body);
    }
    Ok(Reply::Response(head, body))
}

/// Lets plugins see the head, and change it.
async fn open_response(run: &Run, head: response::Parts, has_body: bool) {
    let mut state = run.state().await;
    // A plugin may have replied before the head of the request had gone.
    state.request_open = false;
    state.response_has_body = has_body;
    state.response = Some(head);
    state.response_open = true;
}

/// The head as plugins left it.
async fn close_response(run: &Run) -> Result<response::Parts, Error> {
    let mut state = run.state().await;
    state.response_open = false;
    // Later hooks may read what the client got.
    let head = if run.reads_response_later() { state.response.clone() } else { state.response.take() };
    head.ok_or_else(|| Error::new(Kind::PluginFailed, "the response's head is gone"))
}

/// A body that went through plugins may have another length than its head says.
fn fix_length(headers: &mut HeaderMap, body: &Body) {
    match body {
        Body::Hooked(_) => {
            headers.remove(header::CONTENT_LENGTH);
        }
        Body::Full(..) | Body::Empty if headers.contains_key(header::CONTENT_LENGTH) => {
            match http_body::Body::size_hint(body).exact() {
                Some(length) => headers.insert(header::CONTENT_LENGTH, length.into()),
                None => headers.remove(header::CONTENT_LENGTH),
            };
        }
        _ => {}
    }
}

/// A plugin's `reply` travels as an error: turns it back into the response.
fn or_reply(result: Result<Reply, Error>, record: &mut Record) -> Result<Reply, Error> {
    result.or_else(|error| {
        let reply = reply_in(&error).ok_or_else(|| error.clone())?;
        record.answered_by = error.by;
        Ok(reply)
    })
}

fn reply_in(error: &Error) -> Option<Reply> {
    let reply = error.reply.as_ref()?;
    let trailers = Some(reply.trailers.clone()).filter(|trailers| !trailers.is_empty());
    Some(Reply::Response(reply.head.clone(), Body::Full(reply.body.clone(), trailers.map(Box::new))))
}
