//! One plugin's place in the flow of a body or a TCP stream: what it has held back, and what becomes of a piece.
//! Must never lose a byte that a plugin did not drop, and never hold more than the plugin's limit.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use odin_runtime::{BodyMode, BodyOverflow, DataDecision, HookState, PieceDecision};

use super::{Link, Run};
use crate::error::{Error, Kind};

/// Which bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    RequestBody,
    ResponseBody,
    FromDownstream,
    FromUpstream,
}

impl Flow {
    /// Whether the plugins see it in route order; otherwise in reverse.
    pub(super) fn forward(self) -> bool {
        matches!(self, Flow::RequestBody | Flow::FromDownstream)
    }

    /// More than a plugin may hold.
    fn too_large(self, link: &Link) -> Error {
        let limit = link.plugin.plugin().spec().limits.body_bytes;
        let kind = match self {
            Flow::RequestBody => Kind::BodyTooLarge,
            Flow::ResponseBody => Kind::ResponseTooLarge,
            Flow::FromDownstream | Flow::FromUpstream => Kind::PluginFailed,
        };
        Error::new(kind, format!("plugin {:?} wants it whole, and it is over body-limit, {limit} bytes", link.name()))
    }

    /// The rest did not come while a plugin waited for it.
    fn too_late(self, link: &Link) -> Error {
        let wait = link.plugin.plugin().spec().limits.body_wait;
        let kind = if self == Flow::ResponseBody { Kind::UpstreamTimeout } else { Kind::BodyTimeout };
        Error::new(
            kind,
            format!("plugin {:?} wants it whole, and it did not come within body-wait, {wait:?}", link.name()),
        )
    }
}

/// Why a plugin that wants the whole is called before the end.
#[derive(Clone, Copy)]
enum Short {
    TooLarge,
    TooLate,
}

/// One plugin's place in a flow.
pub(super) struct Stage {
    /// The plugin's place in the chain.
    link: usize,
    mode: BodyMode,
    /// When it has waited long enough for the whole.
    until: Instant,
    /// What it has not let go yet.
    held: BytesMut,
}

impl Stage {
    /// `wait` is how long the plugin waits when it wants the whole.
    pub(super) fn new(link: usize, mode: BodyMode, wait: Duration) -> Self {
        let now = Instant::now();
        Stage { link, mode, until: now.checked_add(wait).unwrap_or(now), held: BytesMut::new() }
    }

    /// The head of the message waits for this plugin.
    pub(super) fn holds_head(&self) -> bool {
        self.mode == BodyMode::Hold
    }

    /// When a plugin that waits for the end of the body gives up.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        matches!(self.mode, BodyMode::Hold | BodyMode::Buffer).then_some(self.until)
    }

    /// The plugin is not asked any more.
    pub(super) fn is_done(&self) -> bool {
        self.mode == BodyMode::Skip
    }

    /// One more piece that the plugin has not let go.
    pub(super) fn hold_more(&mut self, piece: Bytes) {
        self.held.extend_from_slice(&piece);
    }

    /// The plugin has waited long enough for the whole: what goes on of what there is.
    pub(super) async fn give_up(&mut self, run: &Run, flow: Flow, state: &mut Box<HookState>) -> Result<Bytes, Error> {
        self.short(run, flow, state, Short::TooLate).await
    }

    /// Shows the plugin a piece; answers what goes on to the next plugin, which may be nothing.
    pub(super) async fn take(
        &mut self,
        run: &Run,
        flow: Flow,
        state: &mut Box<HookState>,
        piece: Bytes,
        end: bool,
    ) -> Result<Bytes, Error> {
        let link = &run.chain[self.link];
        let limit = link.plugin.plugin().spec().limits.body_bytes;
        match self.mode {
            BodyMode::Skip => return Ok(piece),
            BodyMode::Stream if piece.is_empty() && !end => return Ok(piece),
            BodyMode::Stream => {}
            BodyMode::Buffer | BodyMode::Hold => {
                if self.held.len() + piece.len() > limit {
                    self.held.extend_from_slice(&piece);
                    return self.short(run, flow, state, Short::TooLarge).await;
                }
                if !end {
                    self.held.extend_from_slice(&piece);
                    return Ok(Bytes::new());
                }
            }
        }
        let piece = self.with_held(piece);
        let out = self.show(run, flow, state, piece, end).await?;
        if self.held.len() > limit {
            return match link.plugin.plugin().spec().limits.body_overflow {
                BodyOverflow::Reject => Err(flow.too_large(link)),
                BodyOverflow::Partial => {
                    self.mode = BodyMode::Skip;
                    Ok(self.release())
                }
            };
        }
        Ok(out)
    }

    /// The whole does not come: an error, or the plugin sees what there is, and the rest streams past it.
    async fn short(&mut self, run: &Run, flow: Flow, state: &mut Box<HookState>, why: Short) -> Result<Bytes, Error> {
        let link = &run.chain[self.link];
        if link.plugin.plugin().spec().limits.body_overflow == BodyOverflow::Reject {
            return Err(match why {
                Short::TooLarge => flow.too_large(link),
                Short::TooLate => flow.too_late(link),
            });
        }
        let piece = self.with_held(Bytes::new());
        let mut out = self.show(run, flow, state, piece, false).await?;
        if !self.held.is_empty() {
            out = self.release();
        }
        self.mode = BodyMode::Skip;
        Ok(out)
    }

    /// What is held, as its only owner: so that it can be held again without a copy.
    fn release(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }

    fn with_held(&mut self, piece: Bytes) -> Bytes {
        if self.held.is_empty() {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        self.release()
    }

    /// Calls the hook and does what it decides.
    async fn show(
        &mut self,
        run: &Run,
        flow: Flow,
        state: &mut Box<HookState>,
        piece: Bytes,
        end: bool,
    ) -> Result<Bytes, Error> {
        let link = &run.chain[self.link];
        state.piece = piece;
        let decided = link
            .call(state, async |plugin, state| match flow {
                Flow::RequestBody => plugin.request_body(state, end).await,
                Flow::ResponseBody => plugin.response_body(state, end).await,
                Flow::FromDownstream => plugin.downstream_data(state, end).await.map(as_piece),
                Flow::FromUpstream => plugin.upstream_data(state, end).await.map(as_piece),
            })
            .await;
        let piece = std::mem::take(&mut state.piece);
        Ok(match decided? {
            Some(PieceDecision::Pass) => piece,
            Some(PieceDecision::Replace(other)) => other,
            Some(PieceDecision::Append(more)) => {
                let mut whole = BytesMut::with_capacity(piece.len() + more.len());
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&more);
                whole.freeze()
            }
            Some(PieceDecision::Hold) if end => piece,
            Some(PieceDecision::Hold) => {
                self.held = piece.try_into_mut().unwrap_or_else(|piece| BytesMut::from(&piece[..]));
                Bytes::new()
            }
            // A plugin that failed and is passed over is not asked about the rest either: it has lost its thread.
            Some(PieceDecision::Skip) | None => {
                self.mode = BodyMode::Skip;
                piece
            }
            Some(PieceDecision::Reply(reply)) => return Err(Error::replied(reply, link.name())),
            Some(PieceDecision::Reject(reason)) => return Err(link.ends(Kind::Rejected, reason)),
            Some(PieceDecision::Cut(reason)) => return Err(link.ends(Kind::Cut, reason)),
        })
    }
}

/// The decisions about TCP data are some of those about bodies.
fn as_piece(decision: DataDecision) -> PieceDecision {
    match decision {
        DataDecision::Pass => PieceDecision::Pass,
        DataDecision::Replace(data) => PieceDecision::Replace(data),
        DataDecision::Append(data) => PieceDecision::Append(data),
        DataDecision::Hold => PieceDecision::Hold,
        DataDecision::Skip => PieceDecision::Skip,
        DataDecision::Cut(reason) => PieceDecision::Cut(reason),
    }
}
