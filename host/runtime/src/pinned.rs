//! One generation of a plugin on one worker: every hook as an async function. Must never wait for a plugin that does
//! not import `outbound`, whose calls are plain calls on this thread.

use std::sync::Arc;

use odin_chain::{ConnectDecision, Decision, Endpoints, Hook, HookState, Hooks, PieceDecision};

use crate::abi::ask::{Body, Connect, Data, Decide, Pick, Piece, Reads, Tell};
use crate::call::Caller;
use crate::error::CallError;
use crate::generation::Generation;
use crate::outbound::OutboundSender;
use crate::plugin::Plugin;
use crate::words;

/// One generation on one worker, with its warm instances. Dropped with the last exchange that keeps it.
///
/// A hook that is not exported answers as if the plugin were not there, at no cost. When the future of a call is
/// dropped, `state` is the exchange's again and the instance is thrown away.
pub struct PinnedPlugin(Caller);

impl PinnedPlugin {
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        generation: Arc<Generation>,
        worker: usize,
        outbound: Option<OutboundSender>,
    ) -> Self {
        PinnedPlugin(Caller::new(plugin, generation, worker, outbound))
    }

    /// What this generation exports.
    pub fn hooks(&self) -> Hooks {
        self.0.generation.hooks
    }

    /// The number of this generation, from 1.
    pub fn generation(&self) -> u64 {
        self.0.generation.number
    }

    /// The slot.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.0.plugin
    }

    /// Whether its calls may wait: it imports `outbound`.
    pub fn may_wait(&self) -> bool {
        self.0.generation.waits
    }

    /// A reason that the plugin gave for a decision, or what stands in its place past the plugin's `log-rate`.
    pub fn said(&self, reason: String) -> String {
        let (slot, worker) = (self.plugin().slot(), self.0.worker);
        let most = slot.spec.limits.log_lines_per_second;
        match words::may_say(&slot.stats[worker], most, &slot.name) {
            true => reason,
            false => words::too_much(most),
        }
    }

    /// The hook of a head or of trailers: `state` must have what it is for.
    pub async fn decide(&self, hook: Hook, state: &mut Box<HookState>) -> Result<Decision, CallError> {
        let read = |body| if self.hooks().has(body) { Reads::Yes } else { Reads::NoBodyHook };
        let reads = match hook {
            _ if !self.hooks().has(hook) => return Ok(Decision::Continue),
            Hook::RequestHeaders => read(Hook::RequestBody),
            Hook::ResponseHeaders => read(Hook::ResponseBody),
            _ => Reads::TooLate,
        };
        self.0.call(Decide { hook, reads, max_head_bytes: state.max_head_bytes }, state).await
    }

    /// The hook of a body or of a direction of a TCP stream, for `state.piece`; `end` says that it is the last.
    pub async fn piece(&self, hook: Hook, state: &mut Box<HookState>, end: bool) -> Result<PieceDecision, CallError> {
        let piece = Piece::of(state, end);
        match hook {
            _ if !self.hooks().has(hook) => Ok(PieceDecision::Pass),
            Hook::DownstreamData | Hook::UpstreamData => self.0.call(Data { hook, piece }, state).await,
            _ => self.0.call(Body { hook, piece, max_head_bytes: state.max_head_bytes }, state).await,
        }
    }

    /// `on-exchange-end`.
    pub async fn exchange_end(&self, state: &mut Box<HookState>) -> Result<(), CallError> {
        self.tell(Hook::ExchangeEnd, state).await
    }

    /// `on-close`.
    pub async fn close(&self, state: &mut Box<HookState>) -> Result<(), CallError> {
        self.tell(Hook::Close, state).await
    }

    async fn tell(&self, hook: Hook, state: &mut Box<HookState>) -> Result<(), CallError> {
        if self.hooks().has(hook) { self.0.call(Tell(hook), state).await } else { Ok(()) }
    }

    /// Asks the balancer. An index that it answers is in range; it is not checked to be eligible.
    pub async fn pick(
        &self,
        state: &mut Box<HookState>,
        endpoints: Arc<dyn Endpoints>,
    ) -> Result<Option<u32>, CallError> {
        if !self.hooks().has(Hook::Balancer) {
            return Ok(None);
        }
        let (len, exchange) = (endpoints.len(), state.request.is_some());
        self.0.call(Pick { among: Some(endpoints), len, exchange }, state).await
    }

    /// `on-connect`.
    pub async fn connect(&self, state: &mut Box<HookState>) -> Result<ConnectDecision, CallError> {
        if self.hooks().has(Hook::Connect) { self.0.call(Connect, state).await } else { Ok(ConnectDecision::Continue) }
    }

    pub(crate) fn of(&self) -> &Arc<Generation> {
        &self.0.generation
    }

    pub(crate) fn warm_up(&self) {
        self.0.warm_up();
    }

    pub(crate) fn cool_down(&self) {
        self.0.cool_down();
    }
}
