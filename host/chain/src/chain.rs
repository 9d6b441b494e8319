//! The filters of one exchange or TCP connection, each at its place: which of them a hook is due for, and what becomes of
//! the answer. The data path and the SDK's test kit drive it; how a filter is called is theirs to say.

use std::cell::Cell;

use crate::decision::{BodyMode, ConnectDecision, Decision, Reply};
use crate::hook::{Hook, Hooks};
use crate::rules::Rules;

/// What the chain knows of a filter.
pub trait Filter {
    /// The hooks that it has.
    fn hooks(&self) -> Hooks;
    /// What the operator says about it.
    fn rules(&self) -> Rules;
}

/// What a hook answered: its decision, or that it failed.
pub type Answer<T, E> = Result<T, Failed<E>>;

/// A hook that failed.
#[derive(Debug)]
pub struct Failed<E> {
    /// How.
    pub error: E,
    /// The exchange may go on without it, if the filter's rules say so too. A client must not get past a filter by what it
    /// makes that compute.
    pub may_pass: bool,
}

/// A filter has ended the exchange or the connection before its time.
#[derive(Debug)]
pub struct End<E> {
    /// The place of the filter.
    pub filter: usize,
    /// The hook that it was called by, or waited for.
    pub hook: Hook,
    /// How.
    pub why: Why<E>,
}

/// How a filter ends an exchange or a connection.
#[derive(Debug)]
pub enum Why<E> {
    /// With this answer, unless the receiver has the head of another one already.
    Reply(Box<Reply>),
    /// Refused; the reason is for the access log.
    Reject(String),
    /// Without another byte; the reason is for the access log.
    Cut(String),
    /// Its hook failed.
    Failed(E),
    /// It wants a body whole, or holds one back, that is over its limit.
    TooLarge,
    /// It wants a body whole that did not come in time.
    TooLate,
}

/// The filters, in the order of the route.
#[derive(Debug)]
pub struct Chain<F>(Box<[Place<F>]>);

#[derive(Debug)]
struct Place<F> {
    filter: F,
    /// How it wants to see what comes from the client, and from the upstream, if it has said so.
    forth: Cell<Option<BodyMode>>,
    back: Cell<Option<BodyMode>>,
    /// It saw a TCP connection begin.
    connected: Cell<bool>,
}

impl<F: Filter> FromIterator<F> for Chain<F> {
    /// Allocates nothing when there is no filter.
    fn from_iter<I: IntoIterator<Item = F>>(filters: I) -> Self {
        let place =
            |filter| Place { filter, forth: Cell::default(), back: Cell::default(), connected: Cell::new(false) };
        Chain(filters.into_iter().map(place).collect())
    }
}

impl<F: Filter> Chain<F> {
    /// There is no filter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The filter at this place.
    pub fn filter(&self, at: usize) -> &F {
        &self.0[at].filter
    }

    /// Some filter has this hook.
    pub fn has(&self, hook: Hook) -> bool {
        self.0.iter().any(|place| place.filter.hooks().has(hook))
    }

    /// The places of the filters that have this hook, in the order in which they are called: that of the route on the way
    /// to the upstream, and the reverse on the way back.
    pub fn due(&self, hook: Hook) -> impl Iterator<Item = usize> {
        let (count, back) = (self.0.len(), goes_back(hook));
        let in_order = (0..count).map(move |at| if back { count - 1 - at } else { at });
        in_order.filter(move |&at| self.filter(at).hooks().has(hook))
    }

    /// A header or trailer hook has answered. Only a header hook may ask for the body, and only of a filter that can see
    /// it: anything else is a word that means nothing.
    pub fn decided<E>(&self, at: usize, hook: Hook, answer: Answer<Decision, E>) -> Result<(), End<E>> {
        let why = match self.filter(at).rules().on_failure.judge(answer) {
            Ok(None | Some(Decision::Continue)) => return Ok(()),
            Ok(Some(Decision::Read(mode))) => {
                match hook {
                    Hook::RequestHeaders => self.0[at].forth.set(Some(mode)),
                    Hook::ResponseHeaders => self.0[at].back.set(Some(mode)),
                    _ => {}
                }
                return Ok(());
            }
            Ok(Some(Decision::Reply(reply))) => Why::Reply(reply),
            Ok(Some(Decision::Reject(reason))) => Why::Reject(reason),
            Ok(Some(Decision::Cut(reason))) => Why::Cut(reason),
            Err(error) => Why::Failed(error),
        };
        Err(End { filter: at, hook, why })
    }

    /// The hook of the begin of a TCP connection is about to be called: this filter is told of its end too.
    pub fn connects(&self, at: usize) {
        self.0[at].connected.set(true);
    }

    /// The hook of the begin of a TCP connection has answered.
    pub fn connected<E>(&self, at: usize, answer: Answer<ConnectDecision, E>) -> Result<(), End<E>> {
        let why = match self.filter(at).rules().on_failure.judge(answer) {
            Ok(None | Some(ConnectDecision::Continue)) => return Ok(()),
            Ok(Some(ConnectDecision::SkipData)) => {
                self.0[at].forth.set(Some(BodyMode::Skip));
                self.0[at].back.set(Some(BodyMode::Skip));
                return Ok(());
            }
            Ok(Some(ConnectDecision::Reject(reason))) => Why::Reject(reason),
            Err(error) => Why::Failed(error),
        };
        Err(End { filter: at, hook: Hook::Connect, why })
    }

    /// The filters that are told of the end of a TCP connection: those that saw it begin.
    pub fn due_at_close(&self) -> impl Iterator<Item = usize> {
        self.due(Hook::Close).filter(|&at| self.0[at].connected.get())
    }

    /// How the filter sees what this hook is for.
    pub(crate) fn mode(&self, at: usize, hook: Hook) -> BodyMode {
        let place = &self.0[at];
        let asked = if goes_back(hook) { &place.back } else { &place.forth };
        if place.filter.hooks().has(hook) { asked.get().unwrap_or(BodyMode::Stream) } else { BodyMode::Skip }
    }
}

/// On the way back to the client, which is the reverse of the route.
fn goes_back(hook: Hook) -> bool {
    use Hook::{ResponseBody, ResponseHeaders, ResponseTrailers, UpstreamData};
    matches!(hook, ResponseHeaders | ResponseBody | ResponseTrailers | UpstreamData)
}
