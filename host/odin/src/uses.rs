//! Where a config uses a plugin, and whether the plugin can do what is wanted of it there. Asked before anything is served
//! with a plugin: when a config is loaded, and when a file is to take the place of the one that serves.

use anyhow::{Context as _, anyhow, bail, ensure};

use crate::cli::Roles;
use crate::config::{Cluster, Config, Listener, Section, Traffic};

/// An error about the first place where `plugin` lacks the hook.
pub(crate) fn check(config: &Config, plugin: &str, roles: Roles) -> anyhow::Result<()> {
    let balances = |cluster: &Cluster| cluster.balancer.as_deref() == Some(plugin);
    if let Some((name, _)) = config.clusters.iter().find(|(_, cluster)| balances(cluster) && !roles.balancer) {
        let error = anyhow!("plugin {plugin:?} exports no balancer hook; it cannot pick endpoints");
        return Err(error.context(Section::cluster(name)));
    }
    for listener in &config.listeners {
        check_listener(listener, plugin, roles).with_context(|| Section::listener(&listener.name))?;
    }
    Ok(())
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
