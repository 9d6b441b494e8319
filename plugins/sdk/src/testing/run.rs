//! An exchange from its first hook to its last, in the order of docs/life-of-a-request.md.

use bytes::Bytes;
use http::{Request, Response};
use odin_chain::{Chain, Due, End, Flow, Hook, Reply, Why};

use super::chain::Link;
use super::exchange::Exchange;
use super::outcome::{Outcome, Received, Seen, Upstream};
use super::scene::{SCENE, Scene, list, map, values};
use crate::{Body, Field};

/// A body in pieces; none for a message without one.
type Pieces = Option<Vec<Vec<u8>>>;
/// How a plugin ended the exchange.
type Ended = End<String>;

/// What went on of a body, and how it ended.
struct Flowed {
    bytes: Vec<u8>,
    trailers: Vec<Field>,
    end: Result<(), Ended>,
    /// The head still waited for the body.
    held: bool,
}

struct Run {
    chain: Chain<Link>,
    end_with_last_piece: bool,
}

pub(super) fn exchange(exchange: Exchange) -> Outcome {
    let bodiless = exchange.method == "HEAD";
    let mut scene = Scene::new(exchange.routes, exchange.facts);
    let state = &mut scene.state;
    let head = Request::builder().method(exchange.method.as_str()).uri(exchange.path.as_str()).body(());
    let (mut head, ()) = head.unwrap_or_else(|error| panic!("no request: {error}")).into_parts();
    head.headers = map(exchange.fields);
    state.request = Some(Box::new(head));
    state.request_has_body = exchange.body.is_some();
    let odd = |what: &str| -> ! { panic!("{what:?} is no scheme or authority") };
    state.scheme = exchange.scheme.parse().unwrap_or_else(|_| odd(&exchange.scheme));
    state.authority = exchange.authority.parse().unwrap_or_else(|_| odd(&exchange.authority));
    state.max_head_bytes = exchange.max_head_bytes;
    state.facts.request_id = Some(http::HeaderValue::from_static("test-request"));
    state.facts.route = Some("/".into());
    *state.connection.context() = exchange.connection;
    for (name, value) in exchange.context {
        state.context.set(&name, value.into()).unwrap_or_else(|full| panic!("{name:?}: {full}"));
    }
    SCENE.set(scene);

    let run = Run { chain: exchange.chain.into_iter().collect(), end_with_last_piece: exchange.end_with_last_piece };
    let (upstream, asked) = run.ask(exchange.body, exchange.trailers);
    let answered = match asked {
        Ok(()) => {
            let seen = upstream.clone().unwrap_or_default();
            SCENE.with_borrow_mut(|scene| {
                scene.state.facts.endpoint = Some(([192, 0, 2, 3], 8080).into());
                scene.state.facts.attempt = 1;
            });
            run.answer((exchange.upstream)(&seen), bodiless)
        }
        Err(End { why: Why::Reply(reply), .. }) => run.answer(from_reply(*reply), bodiless),
        Err(end) => Err(Box::new((end, None))),
    };
    let (client, error) = match answered {
        Ok(received) => (received, None),
        Err(broken) => refuse(broken.0, broken.1, bodiless),
    };
    run.end(&client, error.as_deref());
    let scene = SCENE.take();
    let connection = scene.state.connection.context().clone();
    let mut context = values(&scene.state.context);
    context.extend(values(&connection));
    Outcome { upstream, client, failures: scene.failures, error, context, connection }
}

impl Run {
    /// The request's side: what the upstream saw of it.
    fn ask(&self, body: Pieces, trailers: Vec<Field>) -> (Option<Seen>, Result<(), Ended>) {
        SCENE.with_borrow_mut(|scene| scene.state.request_open = true);
        let heads = decide(&self.chain, Hook::RequestHeaders);
        SCENE.with_borrow_mut(|scene| scene.state.request_open = false);
        if let Err(end) = heads {
            return (None, Err(end));
        }
        let flowed = self.flow(Hook::RequestBody, Hook::RequestTrailers, body, trailers);
        let seen = SCENE.with_borrow_mut(|scene| {
            scene.route();
            let head = scene.state.request.as_ref().unwrap_or_else(|| panic!("the head is gone"));
            Seen {
                cluster: scene.cluster.clone(),
                method: head.method.to_string(),
                path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                scheme: scene.state.scheme.to_string(),
                authority: String::from_utf8_lossy(scene.state.authority.as_bytes()).into_owned(),
                fields: list(&head.headers),
                body: flowed.bytes,
                trailers: flowed.trailers,
                complete: flowed.end.is_ok(),
            }
        });
        (Some(seen).filter(|seen| seen.complete || !flowed.held), flowed.end)
    }

    /// The response's side. The error comes with what the client has already.
    fn answer(&self, response: Upstream, bodiless: bool) -> Result<Received, Box<(Ended, Option<Received>)>> {
        // As on the host, these statuses have no body.
        let bodiless = bodiless || matches!(response.status, 204 | 205 | 304);
        let body = response.body.filter(|_| !bodiless);
        SCENE.with_borrow_mut(|scene| {
            scene.state.response = Some(head(response.status, response.fields));
            scene.state.response_has_body = body.is_some();
            scene.state.response_open = true;
        });
        let heads = decide(&self.chain, Hook::ResponseHeaders);
        SCENE.with_borrow_mut(|scene| scene.state.response_open = false);
        match heads {
            // What a response hook replies with passes no other response hook.
            Err(End { why: Why::Reply(reply), .. }) => return Ok(received(from_reply(*reply), bodiless)),
            Err(end) => return Err(Box::new((end, None))),
            Ok(()) => {}
        }
        if bodiless {
            return Ok(self.gone(Vec::new(), Vec::new()));
        }
        let flowed = self.flow(Hook::ResponseBody, Hook::ResponseTrailers, body, response.trailers);
        match flowed.end {
            Ok(()) => Ok(self.gone(flowed.bytes, flowed.trailers)),
            Err(End { why: Why::Reply(reply), .. }) if flowed.held => Ok(received(from_reply(*reply), bodiless)),
            Err(end) if flowed.held => Err(Box::new((end, None))),
            Err(end) => Err(Box::new((end, Some(self.gone(flowed.bytes, Vec::new()))))),
        }
    }

    /// The head as it went, and this behind it.
    fn gone(&self, body: Vec<u8>, trailers: Vec<Field>) -> Received {
        SCENE.with_borrow(|scene| {
            let head = scene.state.response.as_ref();
            let status = head.map(|head| head.status.as_u16());
            let fields = head.map(|head| list(&head.headers)).unwrap_or_default();
            Received { status, fields, body, trailers, cut: None }
        })
    }

    fn end(&self, client: &Received, error: Option<&str>) {
        SCENE.with_borrow_mut(|scene| {
            // The host's own answers, and those of response hooks.
            scene.state.response = client.status.map(|status| head(status, client.fields.clone()));
            scene.state.facts.status = client.status;
            scene.state.facts.error = error.map(str::to_owned);
        });
        for at in self.chain.due(Hook::ExchangeEnd) {
            self.chain.filter(at).tell(|plugin| plugin.exchange_end());
        }
    }

    /// Lets a body flow through the plugins that want to see it, and its trailers behind it.
    fn flow(&self, hook: Hook, of_trailers: Hook, body: Pieces, trailers: Vec<Field>) -> Flowed {
        let has_body = body.is_some();
        let mut flow = Flow::new(&self.chain, hook, has_body, std::time::Instant::now());
        let mut bytes = Vec::new();
        let end = pour(&self.chain, &mut flow, self.pieces(body), &mut bytes);
        let mut flowed = Flowed { bytes, trailers, end, held: flow.holds_head() };
        if has_body && flowed.end.is_ok() {
            SCENE.with_borrow_mut(|scene| {
                scene.state.trailers = map(std::mem::take(&mut flowed.trailers));
                scene.at_trailers = true;
            });
            flowed.end = decide(&self.chain, of_trailers);
            SCENE.with_borrow_mut(|scene| {
                scene.at_trailers = false;
                flowed.trailers = list(&std::mem::take(&mut scene.state.trailers));
            });
        }
        flowed
    }

    /// The pieces with their end flags; one empty end for a message without a body.
    fn pieces(&self, body: Pieces) -> Vec<(Vec<u8>, bool)> {
        let mut pieces: Vec<_> = body.unwrap_or_default().into_iter().map(|piece| (piece, false)).collect();
        match pieces.last_mut() {
            Some(last) if self.end_with_last_piece => last.1 = true,
            _ => pieces.push((Vec::new(), true)),
        }
        pieces
    }
}

/// Calls a hook that decides about a whole message.
fn decide(chain: &Chain<Link>, hook: Hook) -> Result<(), Ended> {
    chain.due(hook).try_for_each(|at| chain.decided(at, hook, chain.filter(at).decide(hook)))
}

/// Shows the pieces, each with whether it is the last, to the plugins that look at them.
pub(super) fn pour(
    chain: &Chain<Link>,
    flow: &mut Flow,
    pieces: Vec<(Vec<u8>, bool)>,
    out: &mut Vec<u8>,
) -> Result<(), Ended> {
    let hook = flow.hook();
    for (piece, end) in pieces {
        SCENE.with_borrow_mut(|scene| {
            let facts = &mut scene.state.facts;
            match hook {
                Hook::RequestBody | Hook::DownstreamData => facts.bytes_received += piece.len() as u64,
                _ => facts.bytes_sent += piece.len() as u64,
            }
        });
        let mut step = flow.arrived(Bytes::from(piece), end);
        loop {
            match step? {
                Due::Send(bytes) => break out.extend_from_slice(&bytes),
                Due::Ask { filter, piece, end } => {
                    let body = Body::new(piece.len() as u32, end);
                    open(hook, flow.holds_head());
                    SCENE.with_borrow_mut(|scene| scene.state.piece = piece);
                    let answer = chain.filter(filter).piece(hook, &body);
                    open(hook, false);
                    step = flow.answered(SCENE.with_borrow_mut(|scene| std::mem::take(&mut scene.state.piece)), answer);
                }
            }
        }
    }
    Ok(())
}

/// Whether the head of the message whose body this hook sees may be changed.
fn open(hook: Hook, open: bool) {
    SCENE.with_borrow_mut(|scene| match hook {
        Hook::RequestBody => scene.state.request_open = open,
        Hook::ResponseBody => scene.state.response_open = open,
        _ => {}
    });
}

/// The host's answer to an exchange that ended early, and why it did. What the client has already is cut.
fn refuse(end: Ended, begun: Option<Received>, bodiless: bool) -> (Received, Option<String>) {
    let (status, words) = match end.why {
        Why::Reply(reply) if begun.is_none() => return (received(from_reply(*reply), bodiless), None),
        Why::Reply(_) => (None, "a reply came too late".to_owned()),
        Why::Reject(words) => (Some(403), words),
        Why::Cut(words) => (None, words),
        Why::Failed(words) => (Some(502), words),
        Why::TooLarge | Why::TooLate => {
            let status = if end.hook == Hook::RequestBody { 413 } else { 502 };
            (Some(status), "the body is over body-limit".to_owned())
        }
    };
    let client = match begun {
        Some(begun) => Received { cut: Some(words.clone()), ..begun },
        None => Received { status, cut: status.is_none().then(|| words.clone()), ..Received::default() },
    };
    (client, Some(words))
}

fn head(status: u16, fields: Vec<Field>) -> http::response::Parts {
    let response = Response::builder().status(status).body(());
    let (mut head, ()) = response.unwrap_or_else(|error| panic!("no response: {error}")).into_parts();
    head.headers = map(fields);
    head
}

fn from_reply(reply: Reply) -> Upstream {
    let body = Some(reply.body.to_vec()).filter(|body| !body.is_empty() || !reply.trailers.is_empty());
    Upstream {
        status: reply.head.status.as_u16(),
        fields: list(&reply.head.headers),
        body: body.map(|body| vec![body]),
        trailers: list(&reply.trailers),
    }
}

fn received(response: Upstream, bodiless: bool) -> Received {
    let Upstream { status, fields, body, trailers } = response;
    let body = if bodiless { Vec::new() } else { body.unwrap_or_default().concat() };
    Received { status: Some(status), fields: list(&map(fields)), body, trailers, cut: None }
}
