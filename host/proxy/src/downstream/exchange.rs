//! The exchange: the one path that every HTTP request takes, whichever version it came in by.
//!
//! `handle` is the outer function: it turns errors into responses and makes sure that the record is written. `run` is
//! the inner one: it does the work, in the order of docs/life-of-a-request.md. No codec is named here.

use std::rc::Rc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request, response};
use odin_chain::{CpuBudget, HookState, Routed};

use crate::downstream::local::Target;
use crate::downstream::record::{Origin, Record, RecordedBody};
use crate::error::{Error, Kind};
use crate::filter::{self, Run, Side};
use crate::http::body::Body;
use crate::http::fields;
use crate::http::head::{Head, Wishes};
use crate::http::path::PathRules;
use crate::http::upload::Upload;
use crate::transport::conn::Conn;
use crate::transport::timer::Deadline;
use crate::upstream::attempt::{Call, Caller, Reply};
use crate::upstream::call;
use crate::upstream::local::LocalCluster;

/// A request whose head was checked by its codec.
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) wishes: Wishes,
    pub(crate) body: Body,
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
    pub(crate) io: Conn,
    /// What the upstream sent right behind its `101`.
    pub(crate) early: Bytes,
    pub(crate) record: Box<Record>,
}

/// Serves one request. Errors become responses here and nowhere else.
pub(crate) async fn handle(origin: &Origin, request: Request, deadline: &mut Deadline) -> Outcome {
    let Request { head, wishes, body } = request;
    let mut record = Record::of(origin, head);
    match run(origin, &wishes, body, &mut record, deadline).await {
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

async fn run(
    origin: &Origin,
    wishes: &Wishes,
    mut body: Body,
    record: &mut Record,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let listener = &origin.listener;
    let Some(rules) = listener.kind.http() else {
        return Err(Error::new(Kind::NoRoute, "the listener became a TCP listener"));
    };
    let Some(head) = &mut record.head else { return Err(call::no_head()) };
    head.scheme = origin.downstream.scheme();
    if origin.downstream.is_misdirected(head.host()) {
        return Err(Error::new(Kind::Misdirected, "the certificate that the client was shown is not for this host"));
    }
    if let Some(answer) = proof(origin, head) {
        return Ok(answer);
    }
    normalize(&mut head.parts, rules.paths)?;
    let target = listener.router.find(head.host(), head.parts.uri.path()).and_then(|at| listener.target(at));
    let target = target.ok_or_else(|| Error::new(Kind::NoRoute, "no route matches host and path"))?;
    let ids = &origin.worker.request_ids;
    record.id = Some(fields::forward_request(head, &origin.downstream.client, rules.trust_forwarded, ids));
    if !matches!(body, Body::Empty) {
        let upload = Rc::new(Upload::at_least(listener.snapshot.limits.body_rate));
        record.upload = Some(upload.clone());
        body = Body::Watched(Box::new(body), upload);
    }
    let bodiless = head.parts.method == Method::HEAD;
    if !target.plugins.is_empty() || target.cluster.balancer.is_some() {
        record.run = Some(start(origin, target, &body, record));
    }

    let asked = ask(origin, target, wishes, body, record, deadline).await;
    // A request that broke off is the client's failure, whatever the upstream makes of it.
    let asked = asked.map_err(|error| record.upload.as_ref().and_then(|up| up.failure.take()).unwrap_or(error));
    if chain(record).is_none() && listener.snapshot.access_log_fields.is_empty() {
        // Not needed any more, and a response may take long.
        record.head = None;
    }
    let answered = match or_reply(asked, record)? {
        Reply::Response(head, body) => answer(record, head, body, bodiless, deadline).await,
        Reply::Switched { parts, protocol, io, early } => match switch(record, parts).await {
            Ok(parts) => Ok(Reply::Switched { parts, protocol, io, early }),
            Err(error) => Err(error),
        },
    };
    or_reply(answered, record)
}

/// Where an authority asks whether a name is served here (RFC 8555, section 8.3).
const CHALLENGE: &str = "/.well-known/acme-challenge/";

/// The answer to an authority that looks whether a name is served here. All other requests, also those there, go on.
fn proof(origin: &Origin, head: &Head) -> Option<Reply> {
    let answers = origin.listener.snapshot.http_challenges.as_ref()?;
    let token = head.parts.uri.path().strip_prefix(CHALLENGE)?;
    let plain_text = origin.downstream.tls.is_none() && head.parts.method == Method::GET;
    let text = answers(token).filter(|_| plain_text)?;
    let (parts, body) = Response::new(Bytes::from(text)).into_parts();
    Some(Reply::Response(parts, Body::Full(body, None)))
}

/// The plugins of the route, with what they know of the exchange. Those of the chain have the head; a balancer alone gets
/// it when it picks.
fn start(origin: &Origin, target: &Target, body: &Body, record: &mut Record) -> Rc<Run> {
    let limits = &origin.listener.snapshot.limits;
    let mut state = HookState::new(origin.downstream.info.clone(), limits.head_bytes);
    state.request_has_body = !http_body::Body::is_end_stream(body);
    state.facts.request_id.clone_from(&record.id);
    state.facts.route = Some(target.name.clone());
    state.facts.started = record.started;
    state.cpu = CpuBudget::new(limits.cpu_budget, record.started);
    if !target.plugins.is_empty() {
        state.request_open = true;
        state.routing = Some(origin.listener.router.clone());
        if let Some(head) = record.head.take() {
            filter::lend(&mut state, head);
        }
    }
    Run::new(&target.plugins, state)
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
async fn switch(record: &mut Record, head: response::Parts) -> Result<response::Parts, Error> {
    let Some(run) = chain(record) else { return Ok(head) };
    open_response(&run, record.head.take(), head, false).await;
    run.response_headers().await?;
    close_response(&run).await
}

/// The plugins that see the exchange's messages, if there are some.
fn chain(record: &Record) -> Option<Rc<Run>> {
    record.run.clone().filter(|run| !run.is_empty())
}

/// The request's side of the exchange, up to the head of the response.
async fn ask(
    origin: &Origin,
    target: &Target,
    wishes: &Wishes,
    mut body: Body,
    record: &mut Record,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    let upload = record.upload.clone();
    let mut cluster = target.cluster.clone();
    if let Some(run) = chain(record) {
        deadline.race_limit(run.request_headers()).await.map_err(call::late)??;
        body = filter::attach(&run, Side::Request(upload.clone()), body, deadline).await?;
        let mut state = run.state().await;
        state.request_open = false;
        if wishes.upgrade.is_some() && !matches!(body, Body::Empty) {
            return Err(Error::new(Kind::PluginFailed, "a plugin gave a body to a request that asks for an upgrade"));
        }
        if let Some(head) = &mut state.request {
            fix_length(&mut head.headers, &body);
        }
        // The hooks of the body may still ask for the request.
        record.head = if body.is_hooked() { filter::copy_head(&state) } else { filter::take_back(&mut state) };
        if let Some(routed) = state.routed.take() {
            cluster = reroute(origin, record.head.as_ref(), &mut state, routed)?;
        }
        state.facts.cluster = Some(cluster.name.clone());
    }
    let caller = record.run.as_deref().map(|run| run as &dyn Caller);
    let (snapshot, head) = (&*origin.listener.snapshot, &mut record.head);
    let client = Some(&*origin.downstream.info);
    let mut call = Call { cluster: &cluster, snapshot, client, head, caller, wishes, upload };
    call::send(&mut call, &mut body, &mut record.assigned, deadline).await
}

/// Where a plugin wants the exchange to go.
fn reroute(
    origin: &Origin,
    head: Option<&Head>,
    state: &mut HookState,
    routed: Routed,
) -> Result<Rc<LocalCluster>, Error> {
    let listener = &origin.listener;
    let cluster = match (&routed, head) {
        (Routed::Cluster(name), _) => listener.clusters.get(name),
        (Routed::Rematch, Some(head)) => {
            let found = listener.router.find(head.host(), head.parts.uri.path());
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
    record: &mut Record,
    mut head: response::Parts,
    mut body: Body,
    bodiless: bool,
    deadline: &mut Deadline,
) -> Result<Reply, Error> {
    fields::forward_response(&mut head.headers, head.version);
    let Some(run) = chain(record) else { return Ok(Reply::Response(head, body)) };
    let bodiless = bodiless
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    open_response(&run, record.head.take(), head, !bodiless && !http_body::Body::is_end_stream(&body)).await;
    deadline.race_limit(run.response_headers()).await.map_err(call::late)??;
    if !bodiless {
        body = filter::attach(&run, Side::Response, body, deadline).await?;
    }
    let mut head = close_response(&run).await?;
    if !bodiless {
        fix_length(&mut head.headers, &body);
    }
    Ok(Reply::Response(head, body))
}

/// Lets plugins see the head, and change it; they see that of the request as well.
async fn open_response(run: &Run, request: Option<Head>, head: response::Parts, has_body: bool) {
    let mut state = run.state().await;
    if let Some(request) = request {
        filter::lend(&mut state, request);
    }
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
        body if body.is_hooked() => {
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
