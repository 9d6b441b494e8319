//! The plugins of one exchange or TCP connection: the generations that it began with, and the state that every hook
//! sees. All hooks are called from this module, so that there is one place where a failed hook becomes an error, or is
//! passed over, and one place that counts what it cost.
//!
//! Must never hold the lock on the state across anything but a hook.

mod body;
mod heads;
pub(crate) mod stream;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use odin_chain::{Answer, Chain, End, Failed, Filter, Hook, HookState, Hooks, Rules, Why};
use odin_runtime::{CallError, PinnedPlugin, WorkerPlugin};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) use body::{Side, attach};

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
    chain: Chain<Link>,
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
}

impl Filter for Link {
    fn hooks(&self) -> Hooks {
        self.plugin.hooks()
    }

    fn rules(&self) -> Rules {
        self.plugin.plugin().spec().rules()
    }
}

impl Run {
    /// Pins the plugins of an exchange or a TCP connection. Allocates no chain when there are none.
    pub(crate) fn new(plugins: &[RoutePlugin], state: Box<HookState>) -> Rc<Self> {
        let chain = plugins.iter().map(|place| Link { plugin: place.plugin.pin(), place: place.clone() }).collect();
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
        self.chain.has(Hook::ResponseBody) || self.chain.has(Hook::ResponseTrailers)
    }

    /// No plugin will be called.
    pub(crate) fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    /// Calls a hook of the plugin at this place, and counts what it cost on this route.
    async fn call<T>(
        &self,
        at: usize,
        state: &mut Box<HookState>,
        hook: impl AsyncFnOnce(&PinnedPlugin, &mut Box<HookState>) -> Result<T, CallError>,
    ) -> Answer<T, Error> {
        let Link { plugin, place } = self.chain.filter(at);
        let before = state.plugin_nanos;
        let result = hook(plugin, state).await;
        place.took(state.plugin_nanos - before);
        result.map_err(|error| failed(&error))
    }

    /// Calls the hook of all plugins that have it, and does what they decide.
    async fn decide(&self, hook: Hook, state: &mut Box<HookState>) -> Result<(), Error> {
        for at in self.chain.due(hook) {
            let answer = self.call(at, state, async |plugin, state| plugin.decide(hook, state).await).await;
            self.chain.decided(at, hook, answer).map_err(|end| self.ended(end))?;
        }
        Ok(())
    }

    /// The error of an exchange or connection that a plugin has ended. That of a plugin which answers holds its reply.
    fn ended(&self, End { filter, hook, why }: End<Error>) -> Error {
        let plugin = &self.chain.filter(filter).plugin;
        let (name, limits) = (plugin.plugin().name(), &plugin.plugin().spec().limits);
        let says = |kind, reason| Error::new(kind, format!("plugin {name:?}: {}", plugin.said(reason))).by(name);
        match why {
            Why::Reply(reply) => Error::replied(reply, name),
            Why::Reject(reason) => says(Kind::Rejected, reason),
            Why::Cut(reason) => says(Kind::Cut, reason),
            Why::Failed(error) => error,
            Why::TooLarge => {
                let kind = match hook {
                    Hook::RequestBody => Kind::BodyTooLarge,
                    Hook::ResponseBody => Kind::ResponseTooLarge,
                    _ => Kind::PluginFailed,
                };
                let limit = limits.body_bytes;
                Error::new(kind, format!("plugin {name:?} wants it whole, and it is over body-limit, {limit} bytes"))
            }
            Why::TooLate => {
                let kind = if hook == Hook::ResponseBody { Kind::UpstreamTimeout } else { Kind::BodyTimeout };
                let wait = limits.body_wait;
                let words = format!("plugin {name:?} wants it whole, and it did not come within body-wait, {wait:?}");
                Error::new(kind, words)
            }
        }
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
            plugin.plugin().spec().on_failure.judge(picked.map_err(|error| failed(&error)))
        })
    }

    fn assigned(&self, cluster: &LocalCluster, index: usize, attempt: u32) {
        let address = cluster.shared.endpoints[index].address;
        *self.assigned.borrow_mut() = Some((cluster.name.clone(), address, attempt));
    }
}

/// Logs the failure with the guest's backtrace, once, and turns it into the exchange's error. A pause was logged when it
/// began, and what is past the plugin's log-rate is only counted.
fn failed(error: &CallError) -> Failed<Error> {
    let (cause, backtrace) = (error.to_string(), error.backtrace());
    if !error.is_told() {
        tracing::debug!(target: "plugin", plugin = error.plugin(), "{cause}");
    } else if backtrace.is_empty() {
        tracing::error!(target: "plugin", plugin = error.plugin(), "{cause}");
    } else {
        tracing::error!(target: "plugin", plugin = error.plugin(), backtrace, "{cause}");
    }
    let may_pass = !error.is_over_budget();
    Failed { error: Error::new(Kind::PluginFailed, cause).by(error.plugin()), may_pass }
}
