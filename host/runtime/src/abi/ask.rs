//! What can be asked of a plugin, in the host's words: one type for each kind of hook. How it is asked is the business of an
//! ABI, which implements its own trait for each of them.

use std::sync::Arc;

use odin_chain::{ConnectDecision, Decision, Endpoints, Hook, HookState, PieceDecision, SteerBinding, SteerWeight};

/// A question to a plugin.
pub(crate) trait Question {
    /// What it answers.
    type Answer;

    /// The hook.
    fn hook(&self) -> Hook;

    /// Gives out what a balancer chooses from.
    fn among(&mut self) -> Option<Arc<dyn Endpoints>> {
        None
    }
}

/// `configure`, with the config as JSON text.
pub(crate) struct Configure(pub(crate) String);

/// A hook of a head or of trailers.
pub(crate) struct Decide {
    pub(crate) hook: Hook,
    pub(crate) reads: Reads,
    pub(crate) max_head_bytes: usize,
}

/// Who may answer `read(body-mode)`.
#[derive(Clone, Copy)]
pub(crate) enum Reads {
    /// A header hook of a plugin with the body hook.
    Yes,
    /// A header hook of a plugin without it: it means `continue`.
    NoBodyHook,
    /// A trailer hook: a bad answer.
    TooLate,
}

/// The hook of a body, about a piece of it.
pub(crate) struct Body {
    pub(crate) hook: Hook,
    pub(crate) piece: Piece,
    pub(crate) max_head_bytes: usize,
}

/// The hook of a direction of a TCP stream, about a piece of it.
pub(crate) struct Data {
    pub(crate) hook: Hook,
    pub(crate) piece: Piece,
}

/// The piece that a hook is asked about; the bytes are in the state.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) length: u32,
    pub(crate) end: bool,
}

impl Piece {
    pub(crate) fn of(state: &HookState, end: bool) -> Self {
        Piece { length: u32::try_from(state.piece.len()).unwrap_or(u32::MAX), end }
    }
}

/// A hook that is told of an end.
pub(crate) struct Tell(pub(crate) Hook);

/// `on-connect`.
pub(crate) struct Connect;

/// `pick`. An index that is answered is in range.
pub(crate) struct Pick {
    /// None once the call has them.
    pub(crate) among: Option<Arc<dyn Endpoints>>,
    /// How many there are.
    pub(crate) len: u32,
    /// For an exchange, and not for a TCP connection.
    pub(crate) exchange: bool,
}

/// `weigh`.
pub(crate) struct Weigh<'a>(pub(crate) SteerBinding<'a>);

macro_rules! questions {
    ($($question:ty => $answer:ty, |$ask:ident| $hook:expr;)*) => {
        $(
            impl Question for $question {
                type Answer = $answer;

                fn hook(&self) -> Hook {
                    let $ask = self;
                    $hook
                }
            }
        )*
    };
}

questions! {
    Configure => (), |_ask| Hook::Configure;
    Decide => Decision, |ask| ask.hook;
    Body => PieceDecision, |ask| ask.hook;
    Data => PieceDecision, |ask| ask.hook;
    Tell => (), |ask| ask.0;
    Connect => ConnectDecision, |_ask| Hook::Connect;
    Weigh<'_> => Vec<SteerWeight>, |_ask| Hook::Steer;
}

impl Question for Pick {
    type Answer = Option<u32>;

    fn hook(&self) -> Hook {
        Hook::Balancer
    }

    fn among(&mut self) -> Option<Arc<dyn Endpoints>> {
        self.among.take()
    }
}
