//! Between the words of the config and those of the runtime: what a section asks for, and what a loaded plugin is for.
//! Must never add a grant that the section does not have.

use odin_chain::{BodyOverflow, Hook, Hooks, OnFailure, Role};
use odin_runtime::{BreakerPolicy, BreakerState, BreakerUnit, Capability, Grants, Isolation, Limits, PluginSpec};

use crate::cli::Roles;
use crate::config::{self, Grant};

/// What the runtime needs to know to load the plugin of a section.
pub(crate) fn spec(name: &str, section: &config::Plugin) -> PluginSpec {
    PluginSpec {
        name: name.to_owned(),
        config: section.config.to_string(),
        limits: limits(section),
        on_failure: match section.on_failure {
            config::OnFailure::Closed => OnFailure::Closed,
            config::OnFailure::Open => OnFailure::Open,
        },
        isolation: match section.isolation {
            config::Isolation::Pooled => Isolation::Pooled,
            config::Isolation::Fresh => Isolation::Fresh,
        },
        grants: Grants {
            capabilities: section.grant.iter().copied().map(capability).collect(),
            outbound: section.outbound.clone(),
            clusters: section.clusters.clone(),
            shared_space: section.shared_space.clone(),
        },
        breaker: BreakerPolicy {
            percent: section.breaker.percent,
            calls: section.breaker.calls,
            window: section.breaker.window,
            pause: section.breaker.pause,
            max_pause: section.breaker.max_pause,
        },
    }
}

fn limits(section: &config::Plugin) -> Limits {
    let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Limits {
        memory_bytes: bytes(section.memory),
        timeout: section.timeout,
        cpu_budget: section.cpu_budget,
        slice: section.slice,
        host_allocation_bytes: bytes(section.host_allocation),
        recycle_after_calls: section.recycle_after,
        stack_bytes: bytes(section.stack),
        log_lines_per_second: section.log_rate,
        body_bytes: bytes(section.body_limit),
        body_wait: section.body_wait,
        body_overflow: match section.body_overflow {
            config::BodyOverflow::Reject => BodyOverflow::Reject,
            config::BodyOverflow::Partial => BodyOverflow::Partial,
        },
        outbound_timeout: section.outbound_timeout,
        shared_bytes: bytes(section.shared_size),
        ..Limits::default()
    }
}

fn capability(grant: Grant) -> Capability {
    match grant {
        Grant::Log => Capability::Log,
        Grant::Clock => Capability::Clock,
        Grant::Random => Capability::Random,
        Grant::Config => Capability::Config,
        Grant::Metrics => Capability::Metrics,
        Grant::Shared => Capability::Shared,
    }
}

/// What a plugin can be put to. `lifecycle` alone is no work.
pub(crate) fn roles(hooks: Hooks) -> Roles {
    let has = |role| hooks.iter().any(|hook| hook.role() == role);
    Roles {
        balancer: has(Role::Balancer),
        route: has(Role::Route),
        connection: has(Role::Connection),
        steer: has(Role::Steer),
    }
}

/// Of all hooks that failed lately the worst: what there is to tell of a plugin in one word.
pub(crate) fn breaker_state(units: &[BreakerUnit]) -> BreakerState {
    units.iter().map(|unit| unit.state).max().unwrap_or(BreakerState::Closed)
}

/// Whether it has a hook that can refuse an exchange or a connection, so that one which fails with `on-failure = "open"`
/// lets through what it was to keep out.
pub(crate) fn can_refuse(hooks: Hooks) -> bool {
    hooks.iter().any(Hook::can_refuse)
}

/// The hook interfaces that a plugin exports, by the names of the contract.
pub(crate) fn hook_names(hooks: Hooks) -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in hooks.iter().map(Hook::interface) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_defaults_of_the_config_are_those_of_the_runtime() {
        let section = config::Plugin::new("a.wasm".into());
        assert_eq!(spec("a", &section), PluginSpec::new("a"));
    }

    #[test]
    fn every_setting_arrives_where_it_belongs() {
        let mut section = config::Plugin::new("a.wasm".into());
        section.grant = [Grant::Log, Grant::Clock, Grant::Random, Grant::Config, Grant::Metrics, Grant::Shared].into();
        section.outbound = vec!["auth".to_owned()];
        section.clusters = vec!["canary".to_owned()];
        section.shared_space = Some("sessions".to_owned());
        (section.memory, section.stack, section.host_allocation) = (1, 2, 3);
        (section.body_limit, section.shared_size, section.log_rate, section.recycle_after) = (4, 5, 6, 7);
        section.breaker.calls = 8;
        (section.cpu_budget, section.slice) = (Some(Duration::from_millis(9)), Duration::from_millis(10));
        let spec = spec("a", &section);
        let all: Vec<&str> = spec.grants.capabilities.iter().map(|capability| capability.name()).collect();
        assert_eq!(all, ["log", "clock", "random", "config", "metrics", "shared"]);
        assert_eq!((spec.grants.outbound, spec.grants.shared_space), (section.outbound, section.shared_space));
        assert_eq!(spec.grants.clusters, section.clusters);
        let limits = spec.limits;
        assert_eq!((limits.cpu_budget, limits.slice), (section.cpu_budget, section.slice));
        assert_eq!((limits.memory_bytes, limits.stack_bytes, limits.host_allocation_bytes), (1, 2, 3));
        assert_eq!((limits.body_bytes, limits.shared_bytes), (4, 5));
        assert_eq!((limits.log_lines_per_second, limits.recycle_after_calls, spec.breaker.calls), (6, 7, 8));
    }

    #[test]
    fn a_plugin_is_put_to_what_it_has_hooks_for() {
        assert_eq!(roles(Hooks::from_iter([Hook::Configure])), Roles::default());
        let hooks = Hooks::from_iter([Hook::ExchangeEnd, Hook::UpstreamData]);
        assert_eq!(roles(hooks), Roles { route: true, connection: true, ..Roles::default() });
        assert_eq!(hook_names(hooks), ["exchange-end", "upstream-data"]);
        assert!(hooks.has(Hook::UpstreamData) && !hooks.has(Hook::Close));
    }
}
