//! Runs the hooks of a chain for an exchange: in route order on the way in, in reverse on the way out.
//!
//! A failed hook costs its exchange, or is passed over when its plugin says `on-failure = "open"`. It never costs more.

use std::rc::Rc;

use http::Response;
use odin_runtime::{CallError, Decision, Endpoints, HookState, OnFailure, PinnedPlugin, WorkerPlugin};

use crate::error::{Error, Kind};

/// The generations that an exchange began with: a swap in the middle does not change them.
pub(crate) type Chain = Vec<Rc<PinnedPlugin>>;

/// Pins the plugins of a route. Allocates nothing when there are none.
pub(crate) fn pin(plugins: &[Rc<WorkerPlugin>]) -> Chain {
    plugins.iter().map(|plugin| plugin.pin()).collect()
}

/// What a chain says of the exchange: go on, or answer with this.
pub(crate) type Verdict = Result<Option<Response<bytes::Bytes>>, Error>;

/// Request hooks, in route order.
pub(crate) fn request_headers(chain: &Chain, state: &mut Box<HookState>) -> Verdict {
    for plugin in chain.iter().filter(|plugin| plugin.hooks().request_headers) {
        if let Some(reply) = verdict(plugin, plugin.request_headers(state))? {
            return Ok(Some(reply));
        }
    }
    Ok(None)
}

/// Response hooks, in reverse route order.
pub(crate) fn response_headers(chain: &Chain, state: &mut Box<HookState>) -> Verdict {
    for plugin in chain.iter().rev().filter(|plugin| plugin.hooks().response_headers) {
        if let Some(reply) = verdict(plugin, plugin.response_headers(state))? {
            return Ok(Some(reply));
        }
    }
    Ok(None)
}

/// Asks a balancer plugin. There is no way to go on without its answer, whatever `on-failure` says.
pub(crate) fn pick(
    balancer: &Rc<WorkerPlugin>,
    state: &mut Box<HookState>,
    endpoints: Rc<dyn Endpoints>,
) -> Result<Option<u32>, Error> {
    balancer.pin().pick(state, endpoints).map_err(|error| failed(&error))
}

fn verdict(plugin: &PinnedPlugin, result: Result<Decision, CallError>) -> Verdict {
    match result {
        Ok(Decision::Continue) => Ok(None),
        Ok(Decision::Reply(response)) => Ok(Some(response)),
        Ok(Decision::Reject(reason)) => {
            Err(Error::new(Kind::Rejected, format!("plugin {:?}: {reason}", plugin.plugin().name())))
        }
        Err(error) => {
            let failure = failed(&error);
            match plugin.plugin().spec().on_failure {
                OnFailure::Open => Ok(None),
                OnFailure::Closed => Err(failure),
            }
        }
    }
}

/// Logs the failure with the guest's backtrace, once, and turns it into the exchange's error.
fn failed(error: &CallError) -> Error {
    let (cause, backtrace) = (error.to_string(), error.backtrace());
    if backtrace.is_empty() {
        tracing::error!(target: "plugin", plugin = error.plugin(), "{cause}");
    } else {
        tracing::error!(target: "plugin", plugin = error.plugin(), backtrace, "{cause}");
    }
    Error::new(Kind::PluginFailed, cause)
}
