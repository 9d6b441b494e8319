//! One generation of a plugin on one worker: every hook as an async function. Must never wait for a plugin that does
//! not import `outbound`, whose calls are plain calls on this thread.

use std::sync::Arc;

use odin_chain::{ConnectDecision, Decision, Endpoints, Hook, HookState, Hooks, PieceDecision};

use crate::abi::answer::{self, Reads, WitDataDecision, WitDecision, WitPieceDecision};
use crate::abi::functions::{Function, Functions, PieceFunction, Subject};
use crate::call::{Caller, Request};
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
        let (function, reads): (fn(&Functions) -> Option<Function<(), WitDecision>>, _) = match hook {
            _ if !self.hooks().has(hook) => return Ok(Decision::Continue),
            Hook::RequestHeaders => (|functions| functions.request_headers, read(Hook::RequestBody)),
            Hook::RequestTrailers => (|functions| functions.request_trailers, Reads::TooLate),
            Hook::ResponseHeaders => (|functions| functions.response_headers, read(Hook::ResponseBody)),
            Hook::ResponseTrailers => (|functions| functions.response_trailers, Reads::TooLate),
            _ => return Ok(Decision::Continue),
        };
        let max = state.max_head_bytes;
        let request = Request::new(hook, function, ());
        self.0.call(request, state, |answer| answer::decision(answer, reads, max)).await
    }

    /// The hook of a body or of a direction of a TCP stream, for `state.piece`; `end` says that it is the last.
    pub async fn piece(&self, hook: Hook, state: &mut Box<HookState>, end: bool) -> Result<PieceDecision, CallError> {
        let (params, max) = ((u32::try_from(state.piece.len()).unwrap_or(u32::MAX), end), state.max_head_bytes);
        let body: fn(&Functions) -> Option<PieceFunction<WitPieceDecision>> = match hook {
            _ if !self.hooks().has(hook) => return Ok(PieceDecision::Pass),
            Hook::RequestBody => |functions| functions.request_body,
            Hook::ResponseBody => |functions| functions.response_body,
            Hook::DownstreamData => return self.data(hook, |functions| functions.downstream_data, params, state).await,
            Hook::UpstreamData => return self.data(hook, |functions| functions.upstream_data, params, state).await,
            _ => return Ok(PieceDecision::Pass),
        };
        self.0.call(Request::new(hook, body, params), state, |answer| answer::piece(answer, max)).await
    }

    async fn data(
        &self,
        hook: Hook,
        function: fn(&Functions) -> Option<PieceFunction<WitDataDecision>>,
        params: (u32, bool),
        state: &mut Box<HookState>,
    ) -> Result<PieceDecision, CallError> {
        self.0.call(Request::new(hook, function, params), state, |answer| Ok(answer::data(answer))).await
    }

    /// `on-exchange-end`.
    pub async fn exchange_end(&self, state: &mut Box<HookState>) -> Result<(), CallError> {
        if !self.hooks().has(Hook::ExchangeEnd) {
            return Ok(());
        }
        let request = Request::new(Hook::ExchangeEnd, |functions| functions.exchange_end, ());
        self.0.call(request, state, Ok).await
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
        let len = endpoints.len();
        let subject = if state.request.is_some() { Subject::Request } else { Subject::Connection };
        let request = Request::new(Hook::Balancer, |functions| functions.pick, (subject,)).among(endpoints);
        let in_range = |picked| match picked {
            Some(index) if index >= len => Err(format!("endpoint index {index} is past the end: there are {len}")),
            picked => Ok(picked),
        };
        self.0.call(request, state, in_range).await
    }

    /// `on-connect`.
    pub async fn connect(&self, state: &mut Box<HookState>) -> Result<ConnectDecision, CallError> {
        if !self.hooks().has(Hook::Connect) {
            return Ok(ConnectDecision::Continue);
        }
        let request = Request::new(Hook::Connect, |functions| functions.connect, ());
        self.0.call(request, state, |answer| Ok(answer::connect(answer))).await
    }

    /// `on-close`.
    pub async fn close(&self, state: &mut Box<HookState>) -> Result<(), CallError> {
        if !self.hooks().has(Hook::Close) {
            return Ok(());
        }
        let request = Request::new(Hook::Close, |functions| functions.close, ());
        self.0.call(request, state, Ok).await
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
