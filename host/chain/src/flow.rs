//! A body, or one direction of a TCP stream, on its way through the filters that look at it: what each of them holds back,
//! and what becomes of a piece. Must never lose a byte that a filter did not drop, and never hold more than its limit.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::chain::{Answer, Chain, End, Filter, Why};
use crate::decision::{BodyMode, PieceDecision};
use crate::hook::Hook;
use crate::rules::{BodyOverflow, Rules};

/// See the module. The driver says what has arrived and does what is due, until something may be sent.
#[derive(Debug)]
pub struct Flow {
    hook: Hook,
    /// In the order in which the bytes meet them.
    stages: Vec<Stage>,
    /// The message has no body. Its filters are asked once, before its head says how long it is.
    bodiless: bool,
    /// What runs through the stages now is the last.
    end: bool,
    /// Set while those that have waited too long are asked.
    late: Option<Instant>,
    /// The stage whose filter is being asked.
    asked: Option<Asked>,
}

/// What the driver does next.
#[derive(Debug)]
pub enum Due {
    /// Ask the filter at this place about the piece, by the hook of the flow; then [`Flow::answered`].
    Ask {
        /// The place in the chain.
        filter: usize,
        /// What has come, with what the filter held back.
        piece: Bytes,
        /// It is the last.
        end: bool,
    },
    /// This may go on to the receiver. It may be empty.
    Send(Bytes),
}

/// What is due, or how a filter has ended it.
pub type Step<E> = Result<Due, End<E>>;

#[derive(Clone, Copy, Debug)]
struct Asked {
    stage: usize,
    end: bool,
    /// The filter wants the whole and was shown the beginning: the rest streams past it.
    short: bool,
}

/// One filter's place in the flow.
#[derive(Debug)]
struct Stage {
    filter: usize,
    rules: Rules,
    mode: BodyMode,
    /// When it has waited long enough for the whole.
    until: Instant,
    /// What it has not let go yet.
    held: BytesMut,
}

/// What a stage makes of a piece without asking.
enum Taken {
    Pass(Bytes),
    Ask { piece: Bytes, short: bool },
}

impl Flow {
    /// Of the body that `hook` is for, or the direction of a TCP stream. What `chain` knows by now about the wishes of its
    /// filters holds for all of it.
    pub fn new<F: Filter>(chain: &Chain<F>, hook: Hook, has_body: bool, now: Instant) -> Self {
        let stage = |filter| {
            let (mode, rules) = (chain.mode(filter, hook), chain.filter(filter).rules());
            let sees = match mode {
                BodyMode::Skip => false,
                BodyMode::Stream => has_body,
                BodyMode::Buffer | BodyMode::Hold => true,
            };
            let until = now.checked_add(rules.body_wait).unwrap_or(now);
            sees.then(|| Stage { filter, rules, mode, until, held: BytesMut::new() })
        };
        let stages = chain.due(hook).filter_map(stage).collect();
        Flow { hook, stages, bodiless: !has_body, end: false, late: None, asked: None }
    }

    /// The hook by which its filters are asked.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// No filter looks at it, now or later.
    pub fn is_idle(&self) -> bool {
        self.stages.iter().all(|stage| stage.mode == BodyMode::Skip)
    }

    /// The head of the message waits: for a filter that has to see the whole first, or, without a body, for all of them.
    pub fn holds_head(&self) -> bool {
        self.bodiless || self.stages.iter().any(|stage| stage.mode == BodyMode::Hold)
    }

    /// When the first filter that waits for the whole gives up.
    pub fn gives_up_at(&self) -> Option<Instant> {
        self.stages.iter().filter_map(Stage::gives_up_at).min()
    }

    /// A piece has come; `end` if it is the last.
    pub fn arrived<E>(&mut self, piece: Bytes, end: bool) -> Step<E> {
        (self.end, self.late) = (end, None);
        self.go_on(0, piece)
    }

    /// Nothing has come until now. Filters that have waited long enough are shown what there is, or end the exchange.
    pub fn late<E>(&mut self, now: Instant) -> Step<E> {
        (self.end, self.late) = (false, Some(now));
        self.go_on(0, Bytes::new())
    }

    /// The filter that was asked has answered; `piece` is what it was asked about.
    pub fn answered<E>(&mut self, piece: Bytes, answer: Answer<PieceDecision, E>) -> Step<E> {
        let Some(Asked { stage: at, end, short }) = self.asked.take() else { return Ok(Due::Send(piece)) };
        let stage = &mut self.stages[at];
        let filter = stage.filter;
        let out = stage.decided(piece, end, answer).and_then(|out| stage.within_limit(out, short));
        let out = out.map_err(|why| End { filter, hook: self.hook, why })?;
        self.go_on(at + 1, out)
    }

    fn go_on<E>(&mut self, from: usize, mut piece: Bytes) -> Step<E> {
        for (at, stage) in self.stages.iter_mut().enumerate().skip(from) {
            let filter = stage.filter;
            let taken = stage.take(piece, self.end, self.late);
            match taken.map_err(|why| End { filter, hook: self.hook, why })? {
                Taken::Pass(out) => piece = out,
                Taken::Ask { piece, short } => {
                    let end = self.end && !short;
                    self.asked = Some(Asked { stage: at, end, short });
                    return Ok(Due::Ask { filter, piece, end });
                }
            }
        }
        Ok(Due::Send(piece))
    }
}

impl Stage {
    fn gives_up_at(&self) -> Option<Instant> {
        matches!(self.mode, BodyMode::Hold | BodyMode::Buffer).then_some(self.until)
    }

    fn take<E>(&mut self, piece: Bytes, end: bool, late: Option<Instant>) -> Result<Taken, Why<E>> {
        if late.is_some_and(|now| self.gives_up_at().is_some_and(|until| until <= now)) {
            // What a filter before it has let go comes behind what this one has.
            self.held.extend_from_slice(&piece);
            return self.short(Why::TooLate);
        }
        match self.mode {
            BodyMode::Skip => Ok(Taken::Pass(piece)),
            BodyMode::Stream if piece.is_empty() && !end => Ok(Taken::Pass(piece)),
            BodyMode::Buffer | BodyMode::Hold if self.held.len() + piece.len() > self.rules.body_bytes => {
                self.held.extend_from_slice(&piece);
                self.short(Why::TooLarge)
            }
            BodyMode::Buffer | BodyMode::Hold if !end => {
                self.held.extend_from_slice(&piece);
                Ok(Taken::Pass(Bytes::new()))
            }
            BodyMode::Stream | BodyMode::Buffer | BodyMode::Hold => {
                Ok(Taken::Ask { piece: self.with_held(piece), short: false })
            }
        }
    }

    /// The whole does not come: an error, or the filter sees what there is.
    fn short<E>(&mut self, why: Why<E>) -> Result<Taken, Why<E>> {
        match self.rules.body_overflow {
            BodyOverflow::Reject => Err(why),
            BodyOverflow::Partial => Ok(Taken::Ask { piece: self.release(), short: true }),
        }
    }

    /// Does what the hook says; answers what goes on to the next filter.
    fn decided<E>(&mut self, piece: Bytes, end: bool, answer: Answer<PieceDecision, E>) -> Result<Bytes, Why<E>> {
        Ok(match self.rules.on_failure.judge(answer).map_err(Why::Failed)? {
            Some(PieceDecision::Pass) => piece,
            Some(PieceDecision::Replace(other)) => other,
            Some(PieceDecision::Append(more)) => {
                let mut whole = BytesMut::with_capacity(piece.len() + more.len());
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&more);
                whole.freeze()
            }
            // There is no next call at which it could let go.
            Some(PieceDecision::Hold) if end => piece,
            Some(PieceDecision::Hold) => {
                self.held = piece.try_into_mut().unwrap_or_else(|piece| BytesMut::from(&piece[..]));
                Bytes::new()
            }
            // A filter that failed and is passed over is not asked about the rest either: it has lost its thread.
            Some(PieceDecision::Skip) | None => {
                self.mode = BodyMode::Skip;
                piece
            }
            Some(PieceDecision::Reply(reply)) => return Err(Why::Reply(reply)),
            Some(PieceDecision::Reject(reason)) => return Err(Why::Reject(reason)),
            Some(PieceDecision::Cut(reason)) => return Err(Why::Cut(reason)),
        })
    }

    /// What goes on, when the filter may not hold back what it wants to.
    fn within_limit<E>(&mut self, out: Bytes, short: bool) -> Result<Bytes, Why<E>> {
        let over = self.held.len() > self.rules.body_bytes;
        if !short && !over {
            return Ok(out);
        }
        if !short && self.rules.body_overflow == BodyOverflow::Reject {
            return Err(Why::TooLarge);
        }
        self.mode = BodyMode::Skip;
        Ok(if self.held.is_empty() { out } else { self.release() })
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
}
