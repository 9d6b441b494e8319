//! An exchange from its first hook to its last, in the order of docs/life-of-a-request.md.

use super::chain::{Hooks, Link};
use super::exchange::Exchange;
use super::fields::Fields;
use super::outcome::{Outcome, Received, Seen, Upstream};
use super::scene::{self, ResponseHead, SCENE, Scene};
use super::stage::{End, Flow, Limits, Stage, passed_over, replied};
use crate::bindings::imports::context::Value;
use crate::export::Hook;
use crate::{BodyMode, Decision, Reply, Result};

/// A body in pieces; none for a message without one.
type Pieces = Option<Vec<Vec<u8>>>;

/// What went on of a body, and how it ended.
struct Flowed {
    bytes: Vec<u8>,
    trailers: Fields,
    end: Result<(), End>,
    /// The head waited for the body.
    held: bool,
}

struct Run {
    chain: Vec<Link>,
    limits: Limits,
    end_with_last_piece: bool,
}

pub(super) fn exchange(exchange: Exchange) -> Outcome {
    let mut scene = Scene::new();
    let bodiless = exchange.head.method == "HEAD";
    scene.request = Some(exchange.head);
    if let Some(request) = &mut scene.request {
        request.has_body = exchange.body.is_some();
    }
    scene.max_head_bytes = exchange.max_head_bytes;
    (scene.clusters, scene.routes, scene.connection) = (exchange.clusters, exchange.routes, exchange.connection);
    scene.know("request-id", Value::Text("test-request".to_owned()));
    scene.know("route", Value::Text("/".to_owned()));
    for (name, value) in exchange.facts {
        scene.know(&name, value);
    }
    for (name, value) in exchange.context {
        scene.context.0.insert((None, name), value);
    }
    SCENE.set(scene);

    let run = Run { chain: exchange.chain, limits: exchange.limits, end_with_last_piece: exchange.end_with_last_piece };
    let (upstream, asked) = run.ask(exchange.body, exchange.trailers);
    let answered = match asked {
        Ok(()) => {
            let seen = upstream.clone().unwrap_or_default();
            let response = (exchange.upstream)(&seen);
            know("cluster", Value::Text(seen.cluster.clone()));
            know("endpoint", Value::Text("192.0.2.3:8080".to_owned()));
            know("attempt", Value::Integer(1));
            run.answer(response, bodiless)
        }
        Err(End::Reply(reply)) => run.answer(from_reply(reply), bodiless),
        Err(end) => Err(Box::new((end, None))),
    };
    let (client, error) = match answered {
        Ok(received) => (received, None),
        Err(broken) => refuse(broken.0, broken.1, bodiless),
    };
    run.end(&client, error.as_deref());
    let scene = SCENE.take();
    let (context, connection) = (scene.context, scene.connection);
    Outcome { upstream, client, failures: scene.failures, error, context, connection }
}

impl Run {
    /// The request's side: what the upstream saw of it.
    fn ask(&self, body: Pieces, trailers: Fields) -> (Option<Seen>, Result<(), End>) {
        let mut modes = self.modes(Hook::RequestBody);
        SCENE.with_borrow_mut(|scene| scene.request_open = true);
        let links = self.chain.iter().zip(&mut modes);
        let heads = self.heads(links, Hook::RequestHeaders, Hook::RequestBody, |plugin| plugin.request_headers());
        SCENE.with_borrow_mut(|scene| scene.request_open = false);
        if let Err(end) = heads {
            return (None, Err(end));
        }
        let flowed = self.flow(Flow::RequestBody, &modes, body, trailers);
        let seen = SCENE.with_borrow(|scene| {
            let head = scene.request.clone().unwrap_or_default();
            Seen {
                cluster: scene.cluster.clone(),
                method: head.method,
                path: head.path,
                scheme: head.scheme,
                authority: head.authority,
                fields: head.fields.0,
                body: flowed.bytes,
                trailers: flowed.trailers.0,
                complete: flowed.end.is_ok(),
            }
        });
        (Some(seen).filter(|seen| seen.complete || !flowed.held), flowed.end)
    }

    /// The response's side. The error comes with what the client has already.
    fn answer(&self, response: Upstream, bodiless: bool) -> Result<Received, Box<(End, Option<Received>)>> {
        let bodiless = bodiless || scene::bodiless(response.status);
        let body = response.body.filter(|_| !bodiless);
        know("status", Value::Integer(response.status.into()));
        let mut modes = self.modes(Hook::ResponseBody);
        SCENE.with_borrow_mut(|scene| {
            let head = ResponseHead { status: response.status, fields: response.fields, has_body: body.is_some() };
            scene.response = Some(head);
            scene.response_open = true;
        });
        let links = self.chain.iter().zip(&mut modes).rev();
        let heads = self.heads(links, Hook::ResponseHeaders, Hook::ResponseBody, |plugin| plugin.response_headers());
        SCENE.with_borrow_mut(|scene| scene.response_open = false);
        match heads {
            // What a response hook replies with passes no other response hook.
            Err(End::Reply(reply)) => return Ok(received(from_reply(reply), bodiless)),
            Err(end) => return Err(Box::new((end, None))),
            Ok(()) => {}
        }
        if bodiless {
            return Ok(self.gone(Vec::new(), Fields::default()));
        }
        let flowed = self.flow(Flow::ResponseBody, &modes, body, response.trailers);
        match flowed.end {
            Ok(()) => Ok(self.gone(flowed.bytes, flowed.trailers)),
            Err(End::Reply(reply)) if flowed.held => Ok(received(from_reply(reply), bodiless)),
            Err(end) if flowed.held => Err(Box::new((end, None))),
            Err(end) => Err(Box::new((end, Some(self.gone(flowed.bytes, Fields::default()))))),
        }
    }

    /// The head as it went, and this behind it.
    fn gone(&self, body: Vec<u8>, trailers: Fields) -> Received {
        let head = SCENE.with_borrow(|scene| scene.response.clone().unwrap_or_default());
        Received { status: Some(head.status), fields: head.fields.0, body, trailers: trailers.0, cut: None }
    }

    fn end(&self, client: &Received, error: Option<&str>) {
        SCENE.with_borrow_mut(|scene| {
            match client.status {
                Some(status) => scene.know("status", Value::Integer(status.into())),
                None => drop(scene.facts.remove("odin.status")),
            }
            if let Some(words) = error {
                scene.know("error", Value::Text(words.to_owned()));
            }
            // The host's own answers, and those of response hooks.
            if let Some(status) = client.status {
                let head = scene.response.get_or_insert_default();
                head.status = status;
                head.fields = Fields(client.fields.clone());
            }
        });
        for link in self.chain.iter().filter(|link| link.has(Hook::ExchangeEnd)) {
            if let Err(words) = link.call(|plugin| plugin.exchange_end()) {
                SCENE.with_borrow_mut(|scene| scene.failures.push(words));
            }
        }
    }

    /// What each plugin sees of a body unless its header hook says otherwise.
    fn modes(&self, hook: Hook) -> Vec<BodyMode> {
        self.chain.iter().map(|link| if link.has(hook) { BodyMode::Stream } else { BodyMode::Skip }).collect()
    }

    /// Calls the header hooks, in the order of the links.
    fn heads<'a>(
        &self,
        links: impl Iterator<Item = (&'a Link, &'a mut BodyMode)>,
        hook: Hook,
        body: Hook,
        call: fn(&dyn Hooks) -> Result,
    ) -> Result<(), End> {
        for (link, mode) in links.filter(|(link, _)| link.has(hook)) {
            if let Some(asked) = obey(link, passed_over(link, link.call(call))?)?
                && link.has(body)
            {
                *mode = asked;
            }
        }
        Ok(())
    }

    /// Lets a body flow through the plugins that want to see it, and its trailers behind it.
    fn flow(&self, flow: Flow, modes: &[BodyMode], body: Pieces, trailers: Fields) -> Flowed {
        let has_body = body.is_some();
        let sees = |mode: BodyMode| match mode {
            BodyMode::Skip => false,
            BodyMode::Stream => has_body,
            BodyMode::Buffer | BodyMode::Hold => true,
        };
        let links = self.chain.iter().zip(modes).filter(|(_, mode)| sees(**mode));
        let mut stages: Vec<Stage<'_>> = links.map(|(link, mode)| Stage::new(link, *mode)).collect();
        if flow == Flow::ResponseBody {
            stages.reverse();
        }
        let held = stages.iter().any(Stage::holds_head);
        let mut flowed = Flowed { bytes: Vec::new(), trailers, end: Ok(()), held };
        for (piece, end) in self.pieces(body) {
            count(flow, piece.len());
            let out = stages.iter_mut().try_fold(piece, |piece, stage| stage.take(flow, self.limits, piece, end));
            match out {
                Ok(out) => flowed.bytes.extend_from_slice(&out),
                Err(end) => {
                    flowed.end = Err(end);
                    return flowed;
                }
            }
        }
        if has_body {
            flowed.end = self.trailers(flow, &mut flowed.trailers);
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

    fn trailers(&self, flow: Flow, trailers: &mut Fields) -> Result<(), End> {
        SCENE.with_borrow_mut(|scene| scene.trailers = Some(std::mem::take(trailers)));
        let result = match flow {
            Flow::RequestBody => {
                self.chain.iter().filter(|link| link.has(Hook::RequestTrailers)).try_for_each(|link| {
                    obey(link, passed_over(link, link.call(|plugin| plugin.request_trailers()))?).map(drop)
                })
            }
            _ => self.chain.iter().rev().filter(|link| link.has(Hook::ResponseTrailers)).try_for_each(|link| {
                obey(link, passed_over(link, link.call(|plugin| plugin.response_trailers()))?).map(drop)
            }),
        };
        *trailers = SCENE.with_borrow_mut(|scene| scene.trailers.take()).unwrap_or_default();
        result
    }
}

/// What a decision asks for of the body, unless it ends the exchange.
fn obey(link: &Link, decided: Option<Decision>) -> Result<Option<BodyMode>, End> {
    match decided {
        None | Some(Decision::Continue) => Ok(None),
        Some(Decision::Read(mode)) => Ok(Some(mode)),
        Some(Decision::Reply(reply)) => Err(replied(link, reply)),
        Some(Decision::Reject(reason)) => Err(End::Rejected(reason)),
        Some(Decision::Cut(reason)) => Err(End::Cut(reason)),
    }
}

/// The host's answer to an exchange that ended early, and why it did. What the client has already is cut.
fn refuse(end: End, begun: Option<Received>, bodiless: bool) -> (Received, Option<String>) {
    let (status, words) = match end {
        End::Reply(reply) if begun.is_none() => return (received(from_reply(reply), bodiless), None),
        End::Reply(_) => (None, "a reply came too late".to_owned()),
        End::Rejected(words) => (Some(403), words),
        End::Cut(words) => (None, words),
        End::Failed(words) => (Some(502), words),
        End::TooLarge => {
            let request = SCENE.with_borrow(|scene| scene.response.is_none());
            (Some(if request { 413 } else { 502 }), "the body is over body-limit".to_owned())
        }
    };
    let client = match begun {
        Some(begun) => Received { cut: Some(words.clone()), ..begun },
        None => Received { status, cut: status.is_none().then(|| words.clone()), ..Received::default() },
    };
    (client, Some(words))
}

fn from_reply(reply: Reply) -> Upstream {
    let body = Some(reply.body).filter(|body| !body.is_empty() || !reply.trailers.is_empty()).map(|body| vec![body]);
    let lower = |fields: Vec<crate::Field>| {
        Fields(fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect())
    };
    Upstream { status: reply.status, fields: lower(reply.fields), body, trailers: lower(reply.trailers) }
}

fn received(response: Upstream, bodiless: bool) -> Received {
    let body = if bodiless { Vec::new() } else { response.body.unwrap_or_default().concat() };
    Received {
        status: Some(response.status),
        fields: response.fields.0,
        body,
        trailers: response.trailers.0,
        cut: None,
    }
}

fn know(name: &str, value: Value) {
    SCENE.with_borrow_mut(|scene| scene.know(name, value));
}

/// Bytes of bodies so far, for the facts.
fn count(flow: Flow, bytes: usize) {
    SCENE.with_borrow_mut(|scene| {
        match flow {
            Flow::RequestBody | Flow::FromDownstream => scene.received += bytes,
            Flow::ResponseBody | Flow::FromUpstream => scene.sent += bytes,
        }
        scene.count();
    });
}
