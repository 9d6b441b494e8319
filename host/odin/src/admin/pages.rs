//! The admin pages as JSON.

use std::time::UNIX_EPOCH;

use odin_runtime::{Hook, Hooks};
use serde_json::{Value, json};

use crate::odin::Odin;

/// The hooks that a plugin exports, by name.
pub(crate) fn hook_names(hooks: Hooks) -> Vec<&'static str> {
    let all = [
        (hooks.lifecycle, "lifecycle"),
        (hooks.balancer, "balancer"),
        (hooks.request_headers, "request-headers"),
        (hooks.response_headers, "response-headers"),
    ];
    all.into_iter().filter(|(exported, _)| *exported).map(|(_, name)| name).collect()
}

pub(super) fn plugins(odin: &Odin) -> Value {
    let assembly = odin.assembly();
    let one = |(name, loaded): (&String, &crate::assemble::Loaded)| {
        let (status, stats) = (loaded.plugin.status(), loaded.plugin.stats());
        let hooks = Hook::ALL.iter().map(|hook| {
            let hook_stats = stats.hook(*hook);
            let numbers = json!({
                "calls": hook_stats.calls,
                "failures": hook_stats.failures,
                "nanos": hook_stats.nanos_total,
            });
            (hook.name().to_owned(), numbers)
        });
        json!({
            "name": name,
            "path": loaded.section.path,
            "generation": status.generation,
            "hash": status.hash,
            "exports": hook_names(status.hooks),
            "loaded_at": status.loaded_at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            "last_error": status.last_error,
            "swaps": status.swaps,
            "failed_swaps": status.failed_swaps,
            "traps": stats.traps,
            "timeouts": stats.timeouts,
            "instances_created": stats.instances_created,
            "hooks": Value::Object(hooks.collect()),
        })
    };
    Value::Array(assembly.plugins.iter().map(one).collect())
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
