//! The plugins of one exchange or TCP connection: the generations that it began with, and the state that every hook
//! sees. All hooks are called from this module, so that there is one place where a failed hook becomes an error, or is
//! passed over, and one place that counts what it cost.
//!
//! Must never hold the lock on the state across anything but a hook.

mod body;
mod ends;
mod heads;
mod stage;
pub(crate) mod stream;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use odin_runtime::{BodyMode, CallError, Hook, HookState, OnFailure, PinnedPlugin, WorkerPlugin};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) use body::{Side, attach};
pub(crate) use ends::end;
pub(crate) use heads::{request_headers, response_headers};

use crate::error::{Error, Kind};
use crate::http::head::Head;
use crate::snapshot::CpuTime;
use crate::upstream::attempt::{Caller, Pick};
use crate::upstream::candidates::Candidates;
use crate::upstream::local::LocalCluster;

/// The plugins of an exchange or connection, with the state that their hooks share.
///
/// The state is behind a lock because a hook that waits for an outbound call keeps it meanwhile, and another hook of the
/// same exchange may be due. Nothing contends for it otherwise.
pub(crate) struct Run {
    chain: Box<[Link]>,
    state: Mutex<Box<HookState>>,
    /// The endpoint of the call, for the plugins' facts: the cluster, the address and the number of the attempt.
    assigned: RefCell<Option<(Arc<str>, SocketAddr, u32)>>,
    over: Cell<bool>,
}

/// A plugin at its place in a route, as this worker calls it.
#[derive(Clone)]
pub(crate) struct RoutePlugin {
    pub(crate) plugin: Rc<WorkerPlugin>,
    cpu: Arc<CpuTime>,
    worker: usize,
}

impl RoutePlugin {
    pub(crate) fn new(plugin: Rc<WorkerPlugin>, cpu: Arc<CpuTime>, worker: usize) -> Self {
        RoutePlugin { plugin, cpu, worker }
    }

    /// Its hooks took so long.
    pub(crate) fn took(&self, nanos: u64) {
        self.cpu.add(self.worker, nanos);
    }
}

/// One plugin at its place: the generation that the exchange began with. A swap in the middle does not change it.
struct Link {
    plugin: Rc<PinnedPlugin>,
    place: RoutePlugin,
    /// How it sees what comes from the client, and from the upstream.
    request: Cell<BodyMode>,
    response: Cell<BodyMode>,
    /// It saw a TCP connection begin.
    connected: Cell<bool>,
}

impl Run {
    /// Pins the plugins of an exchange, or of a TCP connection when the state has no request. Allocates no chain when there are none.
    pub(crate) fn new(plugins: &[RoutePlugin], state: Box<HookState>) -> Rc<Self> {
        let mode = |exported| Cell::new(if exported { BodyMode::Stream } else { BodyMode::Skip });
        let link = |place: &RoutePlugin| {
            let plugin = place.plugin.pin();
            let hooks = plugin.hooks();
            let (request, response) = match state.request {
                Some(_) => (mode(hooks.has(Hook::RequestBody)), mode(hooks.has(Hook::ResponseBody))),
                None => (mode(hooks.has(Hook::DownstreamData)), mode(hooks.has(Hook::UpstreamData))),
            };
            Link { plugin, place: place.clone(), request, response, connected: Cell::new(false) }
        };
        let chain = plugins.iter().map(link).collect();
        Rc::new(Run { chain, state: Mutex::new(state), assigned: RefCell::default(), over: Cell::new(false) })
    }

    /// The state, once no hook has it.
    pub(crate) async fn state(&self) -> MutexGuard<'_, Box<HookState>> {
        self.informed(self.state.lock().await)
    }

    /// The state, unless a hook has it now.
    pub(crate) fn try_state(&self) -> Option<MutexGuard<'_, Box<HookState>>> {
        self.state.try_lock().ok().map(|state| self.informed(state))
    }

    /// What happened while a hook may have had the state.
    fn informed<'a>(&self, mut state: MutexGuard<'a, Box<HookState>>) -> MutexGuard<'a, Box<HookState>> {
        if let Some((cluster, endpoint, attempt)) = self.assigned.take() {
            let facts = &mut state.facts;
            (facts.cluster, facts.endpoint, facts.attempt) = (Some(cluster), Some(endpoint), attempt);
        }
        state
    }

    /// The exchange is over: a body that somebody still reads must not call a plugin any more.
    pub(crate) fn finish(&self) {
        self.over.set(true);
    }

    fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Some plugin reads the response's head when it has gone on.
    pub(crate) fn reads_response_later(&self) -> bool {
        self.exports(Hook::ResponseBody) || self.exports(Hook::ResponseTrailers)
    }

    /// No plugin will be called.
    pub(crate) fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    fn exports(&self, hook: Hook) -> bool {
        self.chain.iter().any(|link| link.plugin.hooks().has(hook))
    }
}

impl Link {
    /// Calls a hook. None when it failed and the plugin says to go on without it.
    async fn call<T>(
        &self,
        state: &mut Box<HookState>,
        hook: impl AsyncFnOnce(&PinnedPlugin, &mut Box<HookState>) -> Result<T, CallError>,
    ) -> Result<Option<T>, Error> {
        or_passed_over(&self.plugin, self.counted(state, hook).await)
    }

    /// Calls a hook whose failure costs nothing: it is logged.
    async fn tell(
        &self,
        state: &mut Box<HookState>,
        hook: impl AsyncFnOnce(&PinnedPlugin, &mut Box<HookState>) -> Result<(), CallError>,
    ) {
        if let Err(error) = self.counted(state, hook).await {
            failed(&error);
        }
    }

    /// Calls a hook and counts what it cost on this route.
    async fn counted<T>(
        &self,
        state: &mut Box<HookState>,
        hook: impl AsyncFnOnce(&PinnedPlugin, &mut Box<HookState>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let before = state.plugin_nanos;
        let result = hook(&self.plugin, state).await;
        self.place.took(state.plugin_nanos - before);
        result
    }

    fn name(&self) -> &str {
        self.plugin.plugin().name()
    }
}

/// The plugins have the request's head from here on.
pub(crate) fn lend(state: &mut HookState, head: Head) {
    (state.request, state.authority, state.scheme) = (Some(head.parts), head.authority, head.scheme);
}

/// A copy of the head that the plugins have.
pub(crate) fn copy_head(state: &HookState) -> Option<Head> {
    let parts = state.request.clone()?;
    Some(Head { parts, authority: state.authority.clone(), scheme: state.scheme.clone() })
}

/// Takes the head back from the plugins; none if they do not have it.
pub(crate) fn take_back(state: &mut HookState) -> Option<Head> {
    let parts = state.request.take()?;
    let authority = std::mem::replace(&mut state.authority, HeaderValue::from_static(""));
    Some(Head { parts, authority, scheme: state.scheme.clone() })
}

impl Caller for Run {
    fn pick<'a>(&'a self, cluster: &'a LocalCluster, head: &'a mut Option<Head>, among: Arc<Candidates>) -> Pick<'a> {
        Box::pin(async move {
            let Some(balancer) = &cluster.balancer else { return Ok(None) };
            let mut state = self.state().await;
            state.facts.cluster = Some(cluster.name.clone());
            let plugin = balancer.pin();
            // The hooks of a body have a copy already.
            let lent = if state.request.is_none() { head.take() } else { None };
            let lends = lent.is_some();
            if let Some(lent) = lent {
                lend(&mut state, lent);
            }
            let picked = plugin.pick(&mut state, among).await;
            if lends {
                *head = take_back(&mut state);
            }
            or_passed_over(&plugin, picked)
        })
    }

    fn assigned(&self, cluster: &LocalCluster, index: usize, attempt: u32) {
        let address = cluster.shared.endpoints[index].address;
        *self.assigned.borrow_mut() = Some((cluster.name.clone(), address, attempt));
    }
}

/// The answer of a hook; of one that failed the exchange's error, or none when the plugin says to go on without it.
fn or_passed_over<T>(plugin: &PinnedPlugin, result: Result<T, CallError>) -> Result<Option<T>, Error> {
    result.map(Some).or_else(|error| {
        let failure = failed(&error);
        match plugin.plugin().spec().on_failure {
            // What a client makes the plugins compute must not get it past them.
            OnFailure::Open if error.is_over_budget() => Err(failure),
            OnFailure::Open => Ok(None),
            OnFailure::Closed => Err(failure),
        }
    })
}

/// Logs the failure with the guest's backtrace, once, and turns it into the exchange's error. A pause was logged when it
/// began, and what is past the plugin's log-rate is only counted.
fn failed(error: &CallError) -> Error {
    let (cause, backtrace) = (error.to_string(), error.backtrace());
    if !error.is_told() {
        tracing::debug!(target: "plugin", plugin = error.plugin(), "{cause}");
    } else if backtrace.is_empty() {
        tracing::error!(target: "plugin", plugin = error.plugin(), "{cause}");
    } else {
        tracing::error!(target: "plugin", plugin = error.plugin(), backtrace, "{cause}");
    }
    Error::new(Kind::PluginFailed, cause).by(error.plugin())
}
