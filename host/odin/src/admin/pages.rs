//! The admin pages as JSON.

use std::path::Path;
use std::time::UNIX_EPOCH;

use odin_chain::Hook;
use odin_runtime::{BreakerState, BreakerUnit, PluginStatus, StatsSnapshot};
use serde_json::{Value, json};

use crate::life::Odin;
use crate::plugin_spec::{breaker_state, hook_names};

pub(super) fn plugins(odin: &Odin) -> Value {
    let assembly = odin.assembly();
    let one = |(name, loaded): (&String, &crate::assemble::Loaded)| {
        plugin(name, &loaded.section.path, &loaded.plugin.status(), &loaded.plugin.stats())
    };
    Value::Array(assembly.plugins.iter().map(one).collect())
}

fn plugin(name: &str, path: &Path, status: &PluginStatus, stats: &StatsSnapshot) -> Value {
    let told = |hook: &Hook| stats.hook(*hook).calls > 0 || status.hooks.has(*hook);
    let hooks = Hook::ALL.into_iter().filter(told).map(|hook| {
        let of_hook = stats.hook(hook);
        let numbers = json!({
            "calls": of_hook.calls,
            "failures": of_hook.failures,
            "nanos": of_hook.nanos_total,
        });
        (hook.name().to_owned(), numbers)
    });
    json!({
        "name": name,
        "path": path,
        "generation": status.generation,
        "hash": status.hash,
        "exports": hook_names(status.hooks),
        "imports": status.imports,
        "grants": status.grants,
        "loaded_at": status.loaded_at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        "last_error": status.last_error,
        "swaps": status.swaps,
        "failed_swaps": status.failed_swaps,
        "breaker": breaker(&status.breaker, stats),
        "traps": stats.traps,
        "timeouts": stats.timeouts,
        "refused": stats.refused,
        "instances_created": stats.instances_created,
        "outbound_calls": stats.outbound_calls,
        "outbound_failures": stats.outbound_failures,
        "hooks": Value::Object(hooks.collect()),
    })
}

/// Whether the plugin's hooks are called: `state` is that of the worst of them, and `units` tells of each that failed lately.
fn breaker(units: &[BreakerUnit], stats: &StatsSnapshot) -> Value {
    let unit = |unit: &BreakerUnit| {
        let (state, percent, retry_in) = in_words(unit.state);
        json!({
            "listener": unit.listener,
            "route": unit.route,
            "hook": unit.hook.name(),
            "state": state,
            "percent_let_through": percent,
            "retry_in_seconds": retry_in,
            "failures": unit.failures,
            "calls": unit.calls,
        })
    };
    json!({
        "state": in_words(breaker_state(units)).0,
        "trips": stats.breaker_trips,
        "calls_not_made": stats.paused,
        "units": units.iter().map(unit).collect::<Vec<_>>(),
    })
}

/// The word for it, the percentage of calls that are made, and the seconds until some are.
fn in_words(state: BreakerState) -> (&'static str, u32, Option<f64>) {
    match state {
        BreakerState::Closed => ("closed", 100, None),
        BreakerState::HalfOpen { percent } => ("half-open", percent, None),
        BreakerState::Open { retry_in } => ("open", 0, Some(retry_in.as_secs_f64())),
    }
}

pub(super) fn listeners(odin: &Odin) -> Value {
    let assembly = odin.assembly();
    odin.with_sockets(|sockets| {
        let steered = sockets.statuses();
        let listener = |listener: &crate::config::Listener| {
            let counters = assembly.snapshot.listeners.get(&listener.name).map(|listener| &listener.counters);
            let totals = counters.map(|counters| counters.totals()).unwrap_or_default();
            json!({
                "name": listener.name,
                "protocol": listener.traffic.protocol(),
                "steer": listener.steer,
                "bindings": sockets.bindings(listener, &steered),
                "accepted": totals.accepted,
                "accepted_by_worker": counters.map(|counters| counters.accepted_by_worker()),
                "open": totals.open,
                "refused": totals.refused,
            })
        };
        let listeners: Vec<Value> = assembly.config.listeners.iter().map(listener).collect();
        json!({ "steering": sockets.info(), "listeners": listeners })
    })
}

pub(super) fn clusters(odin: &Odin) -> Value {
    let assembly = odin.assembly();
    let endpoint = |endpoint: &odin_proxy::Endpoint| {
        let totals = endpoint.totals();
        json!({
            "address": endpoint.address,
            "weight": endpoint.weight,
            "healthy": endpoint.healthy(),
            "active": totals.active,
            "requests": totals.requests,
            "connects": totals.connects,
            "connect_failures": totals.connect_failures,
        })
    };
    let one = |cluster: &std::sync::Arc<odin_proxy::Cluster>| {
        json!({
            "name": cluster.name,
            "balancer": cluster.balancer.as_ref().map_or("built-in round robin", |plugin| plugin.name()),
            "endpoints": cluster.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        })
    };
    Value::Array(assembly.clusters().map(one).collect())
}

pub(super) fn config(odin: &Odin) -> Value {
    serde_json::to_value(&odin.assembly().config).unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

/// Which process this is, for whoever finds several.
pub(super) fn process(odin: &Odin, places: &super::AdminPlaces) -> Value {
    json!({
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "config": odin.file(),
        "admin": places.tcp,
        "admin_socket": places.socket,
        "uptime_seconds": odin.started.elapsed().as_secs(),
    })
}
