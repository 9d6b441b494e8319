//! Where a config uses a plugin, and whether the plugin can do what is wanted of it there. Asked before anything is served
//! with a plugin: when a config is loaded, and when a file is to take the place of the one that serves.

use anyhow::{Context as _, anyhow, bail, ensure};

use crate::cli::Roles;
use crate::config::{Cluster, Config, Listener, Section, Traffic};

/// An error about the first place where `plugin` lacks the hook.
pub(crate) fn check(config: &Config, plugin: &str, roles: Roles) -> anyhow::Result<()> {
    faults(config, plugin, roles).into_iter().next().map_or(Ok(()), Err)
}

/// Each cluster and listener for which `plugin` lacks a hook.
pub(crate) fn faults(config: &Config, plugin: &str, roles: Roles) -> Vec<anyhow::Error> {
    let balances = |cluster: &Cluster| cluster.balancer.as_deref() == Some(plugin);
    let clusters = config.clusters.iter().filter(|(_, cluster)| balances(cluster) && !roles.balancer);
    let clusters = clusters.map(|(name, _)| {
        anyhow!("plugin {plugin:?} exports no balancer hook; it cannot pick endpoints").context(Section::cluster(name))
    });
    let listeners = config.listeners.iter().filter_map(|listener| {
        check_listener(listener, plugin, roles).with_context(|| Section::listener(&listener.name)).err()
    });
    clusters.chain(listeners).collect()
}

fn check_listener(listener: &Listener, plugin: &str, roles: Roles) -> anyhow::Result<()> {
    let is_it = |name: &String| name == plugin;
    if listener.steer.as_ref().is_some_and(is_it) && !roles.steer {
        bail!("plugin {plugin:?} exports no steer hook; it cannot weigh where connections go");
    }
    let (uses, fits, of) = match &listener.traffic {
        Traffic::Http { routes, .. } => {
            let uses = routes.iter().any(|route| route.plugins.iter().any(is_it));
            (uses, roles.route, "of requests or responses; it does nothing in a route")
        }
        Traffic::Tcp { plugins, .. } => {
            (plugins.iter().any(is_it), roles.connection, "of TCP connections; it does nothing in a TCP listener")
        }
    };
    ensure!(fits || !uses, "plugin {plugin:?} exports no hook {of}");
    Ok(())
}
