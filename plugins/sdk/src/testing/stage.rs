//! One plugin's place in the flow of a body or a TCP stream: what it has held back, and what becomes of a piece.
//! The rules are those of the proxy's own stage; where the two disagree, one of them is wrong.

use super::chain::Link;
use super::fields::check_reply;
use super::scene::SCENE;
use crate::{Body, BodyMode, Data, Piece, Reply};

/// Which bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    RequestBody,
    ResponseBody,
    FromDownstream,
    FromUpstream,
}

/// What ends an exchange or a connection before its time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Reply(Reply),
    Rejected(String),
    Cut(String),
    Failed(String),
    TooLarge,
}

/// How much a plugin may hold, and what happens to more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) body: usize,
    pub(crate) partial: bool,
}

/// One plugin's place in a flow.
pub(crate) struct Stage<'a> {
    link: &'a Link,
    mode: BodyMode,
    /// The head of the message waited for this plugin.
    holds: bool,
    held: Vec<u8>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(link: &'a Link, mode: BodyMode) -> Self {
        Self { link, mode, holds: mode == BodyMode::Hold, held: Vec::new() }
    }

    pub(crate) fn holds_head(&self) -> bool {
        self.holds
    }

    /// Shows the plugin a piece; answers what goes on to the next plugin, which may be nothing.
    pub(crate) fn take(&mut self, flow: Flow, limits: Limits, piece: Vec<u8>, end: bool) -> Result<Vec<u8>, End> {
        match self.mode {
            BodyMode::Skip => return Ok(piece),
            BodyMode::Stream if piece.is_empty() && !end => return Ok(piece),
            BodyMode::Stream => {}
            BodyMode::Buffer | BodyMode::Hold => {
                self.held.extend_from_slice(&piece);
                if self.held.len() > limits.body {
                    return self.short(flow, limits);
                }
                if !end {
                    return Ok(Vec::new());
                }
                let whole = std::mem::take(&mut self.held);
                return self.show(flow, whole, true);
            }
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(&piece);
        let out = self.show(flow, whole, end)?;
        if self.held.len() > limits.body {
            if !limits.partial {
                return Err(End::TooLarge);
            }
            self.mode = BodyMode::Skip;
            return Ok(std::mem::take(&mut self.held));
        }
        Ok(out)
    }

    /// The body is over the limit: an error, or the plugin sees what there is, and the rest streams past it.
    fn short(&mut self, flow: Flow, limits: Limits) -> Result<Vec<u8>, End> {
        if !limits.partial {
            return Err(End::TooLarge);
        }
        let piece = std::mem::take(&mut self.held);
        let mut out = self.show(flow, piece, false)?;
        out.append(&mut self.held);
        self.mode = BodyMode::Skip;
        Ok(out)
    }

    fn show(&mut self, flow: Flow, piece: Vec<u8>, end: bool) -> Result<Vec<u8>, End> {
        let body = Body::new(piece.len() as u32, end);
        SCENE.with_borrow_mut(|scene| {
            scene.piece = piece;
            scene.request_open = self.holds && flow == Flow::RequestBody;
            scene.response_open = self.holds && flow == Flow::ResponseBody;
        });
        let decided = self.link.call(|plugin| match flow {
            Flow::RequestBody => plugin.request_body(&body),
            Flow::ResponseBody => plugin.response_body(&body),
            Flow::FromDownstream => plugin.downstream(&body).map(as_piece),
            Flow::FromUpstream => plugin.upstream(&body).map(as_piece),
        });
        let mut piece = SCENE.with_borrow_mut(|scene| {
            (scene.request_open, scene.response_open) = (false, false);
            std::mem::take(&mut scene.piece)
        });
        Ok(match passed_over(self.link, decided)? {
            Some(Piece::Pass) => piece,
            Some(Piece::Replace(other)) => other,
            Some(Piece::Append(more)) => {
                piece.extend_from_slice(&more);
                piece
            }
            Some(Piece::Hold) if end => piece,
            Some(Piece::Hold) => {
                self.held = piece;
                Vec::new()
            }
            // A plugin that failed and is passed over is not asked about the rest either.
            Some(Piece::Skip) | None => {
                self.mode = BodyMode::Skip;
                piece
            }
            Some(Piece::Reply(reply)) => return Err(replied(self.link, reply)),
            Some(Piece::Reject(reason)) => return Err(End::Rejected(reason)),
            Some(Piece::Cut(reason)) => return Err(End::Cut(reason)),
        })
    }
}

/// What a hook answered; none when it failed and the exchange goes on without it.
pub(crate) fn passed_over<T>(link: &Link, answer: Result<T, String>) -> Result<Option<T>, End> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(words) => {
            SCENE.with_borrow_mut(|scene| scene.failures.push(words.clone()));
            if link.open { Ok(None) } else { Err(End::Failed(words)) }
        }
    }
}

/// A reply, unless it is one that the host refuses.
pub(crate) fn replied(link: &Link, reply: Reply) -> End {
    if !(200..=599).contains(&reply.status) {
        return End::Failed(link.bad(&format!("replies with the status {}", reply.status)));
    }
    match check_reply(&reply.fields).and_then(|()| check_reply(&reply.trailers)) {
        Ok(()) => End::Reply(reply),
        Err(words) => End::Failed(link.bad(&words)),
    }
}

fn as_piece(data: Data) -> Piece {
    match data {
        Data::Pass => Piece::Pass,
        Data::Replace(bytes) => Piece::Replace(bytes),
        Data::Append(bytes) => Piece::Append(bytes),
        Data::Hold => Piece::Hold,
        Data::Skip => Piece::Skip,
        Data::Cut(reason) => Piece::Cut(reason),
    }
}
