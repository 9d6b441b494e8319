//! One generation of a plugin on one worker: every hook as an async function. Must never wait for a plugin that does
//! not import `outbound`, whose calls are plain calls on this thread.

use std::sync::Arc;

use crate::abi::answer::{self, Reads};
use crate::abi::functions::Subject;
use crate::call::{Caller, Request};
use crate::decision::{ConnectDecision, DataDecision, Decision, PieceDecision};
use crate::error::CallError;
use crate::generation::Generation;
use crate::hook::{Hook, Hooks};
use crate::outbound::OutboundSender;
use crate::plugin::Plugin;
use crate::state::{Endpoints, HookState};
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

    /// `on-request-headers`. `state.request` must be there.
    pub async fn request_headers(&self, state: &mut Box<HookState>) -> Result<Decision, CallError> {
        if !self.hooks().has(Hook::RequestHeaders) {
            return Ok(Decision::Continue);
        }
        let (reads, max) = (reads(self.hooks().has(Hook::RequestBody)), state.max_head_bytes);
        let request = Request::new(Hook::RequestHeaders, |functions| functions.request_headers, ());
        self.0.call(request, state, |answer| answer::decision(answer, reads, max)).await
    }

    /// `on-request-body`, for `state.piece`; `end` says that it is the last.
    pub async fn request_body(&self, state: &mut Box<HookState>, end: bool) -> Result<PieceDecision, CallError> {
        if !self.hooks().has(Hook::RequestBody) {
            return Ok(PieceDecision::Pass);
        }
        let (params, max) = ((length(state), end), state.max_head_bytes);
        let request = Request::new(Hook::RequestBody, |functions| functions.request_body, params);
        self.0.call(request, state, |answer| answer::piece(answer, end, max)).await
    }

    /// `on-request-trailers`, for `state.trailers`.
    pub async fn request_trailers(&self, state: &mut Box<HookState>) -> Result<Decision, CallError> {
        if !self.hooks().has(Hook::RequestTrailers) {
            return Ok(Decision::Continue);
        }
        let max = state.max_head_bytes;
        let request = Request::new(Hook::RequestTrailers, |functions| functions.request_trailers, ());
        self.0.call(request, state, |answer| answer::decision(answer, Reads::TooLate, max)).await
    }

    /// `on-response-headers`. `state.request` and `state.response` must be there.
    pub async fn response_headers(&self, state: &mut Box<HookState>) -> Result<Decision, CallError> {
        if !self.hooks().has(Hook::ResponseHeaders) {
            return Ok(Decision::Continue);
        }
        let (reads, max) = (reads(self.hooks().has(Hook::ResponseBody)), state.max_head_bytes);
        let request = Request::new(Hook::ResponseHeaders, |functions| functions.response_headers, ());
        self.0.call(request, state, |answer| answer::decision(answer, reads, max)).await
    }

    /// `on-response-body`, for `state.piece`; `end` says that it is the last.
    pub async fn response_body(&self, state: &mut Box<HookState>, end: bool) -> Result<PieceDecision, CallError> {
        if !self.hooks().has(Hook::ResponseBody) {
            return Ok(PieceDecision::Pass);
        }
        let (params, max) = ((length(state), end), state.max_head_bytes);
        let request = Request::new(Hook::ResponseBody, |functions| functions.response_body, params);
        self.0.call(request, state, |answer| answer::piece(answer, end, max)).await
    }

    /// `on-response-trailers`, for `state.trailers`.
    pub async fn response_trailers(&self, state: &mut Box<HookState>) -> Result<Decision, CallError> {
        if !self.hooks().has(Hook::ResponseTrailers) {
            return Ok(Decision::Continue);
        }
        let max = state.max_head_bytes;
        let request = Request::new(Hook::ResponseTrailers, |functions| functions.response_trailers, ());
        self.0.call(request, state, |answer| answer::decision(answer, Reads::TooLate, max)).await
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

    /// `on-downstream-data`, for `state.piece`; `end` says that the client sends no more.
    pub async fn downstream_data(&self, state: &mut Box<HookState>, end: bool) -> Result<DataDecision, CallError> {
        if !self.hooks().has(Hook::DownstreamData) {
            return Ok(DataDecision::Pass);
        }
        let params = (length(state), end);
        let request = Request::new(Hook::DownstreamData, |functions| functions.downstream_data, params);
        self.0.call(request, state, |answer| Ok(answer::data(answer, end))).await
    }

    /// `on-upstream-data`, for `state.piece`; `end` says that the endpoint sends no more.
    pub async fn upstream_data(&self, state: &mut Box<HookState>, end: bool) -> Result<DataDecision, CallError> {
        if !self.hooks().has(Hook::UpstreamData) {
            return Ok(DataDecision::Pass);
        }
        let params = (length(state), end);
        let request = Request::new(Hook::UpstreamData, |functions| functions.upstream_data, params);
        self.0.call(request, state, |answer| Ok(answer::data(answer, end))).await
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

fn reads(has_body_hook: bool) -> Reads {
    if has_body_hook { Reads::Yes } else { Reads::NoBodyHook }
}

fn length(state: &HookState) -> u32 {
    u32::try_from(state.piece.len()).unwrap_or(u32::MAX)
}
