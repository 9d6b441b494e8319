//! Where a config uses a plugin, and whether the plugin can do what is wanted of it there. Asked before anything is served
//! with a plugin: when a config is loaded, and when a file is to take the place of the one that serves.

use std::collections::BTreeMap;

use anyhow::anyhow;

use crate::cli::Roles;
use crate::config::{Config, Listener, Section, Traffic};

/// An error about the first place where `plugin` lacks the hook.
pub(crate) fn check(config: &Config, plugin: &str, roles: Roles) -> anyhow::Result<()> {
    faults(config, &BTreeMap::from([(plugin, roles)])).into_iter().next().map_or(Ok(()), Err)
}

/// Each cluster and listener for which one of these plugins lacks a hook. The config is gone through once, however many
/// plugins there are.
pub(crate) fn faults(config: &Config, plugins: &BTreeMap<&str, Roles>) -> Vec<anyhow::Error> {
    let clusters = config.clusters.iter().filter_map(|(name, cluster)| {
        let plugin = cluster.balancer.as_deref()?;
        let lacks = plugins.get(plugin).is_some_and(|roles| !roles.balancer);
        lacks.then(|| {
            anyhow!("plugin {plugin:?} exports no balancer hook; it cannot pick endpoints")
                .context(Section::cluster(name))
        })
    });
    let listeners = config.listeners.iter().flat_map(|listener| {
        let faults = listener_faults(listener, plugins).into_iter();
        faults.map(|fault| fault.context(Section::listener(&listener.name)))
    });
    clusters.chain(listeners).collect()
}

/// One fault for each plugin at most, however many routes use it.
fn listener_faults(listener: &Listener, plugins: &BTreeMap<&str, Roles>) -> Vec<anyhow::Error> {
    let mut faults = BTreeMap::new();
    if let Some(plugin) = listener.steer.as_deref()
        && plugins.get(plugin).is_some_and(|roles| !roles.steer)
    {
        let fault = anyhow!("plugin {plugin:?} exports no steer hook; it cannot weigh where connections go");
        faults.insert(plugin, fault);
    }
    let mut look = |used: &'_ [String], fits: fn(&Roles) -> bool, of: &str| {
        for plugin in used {
            if let Some((&plugin, roles)) = plugins.get_key_value(plugin.as_str())
                && !fits(roles)
            {
                faults.entry(plugin).or_insert_with(|| anyhow!("plugin {plugin:?} exports no hook {of}"));
            }
        }
    };
    let in_http = "of requests or responses; it does nothing in a route";
    let in_tls = "of TCP connections; it does nothing in a route of TLS that is not decrypted";
    match &listener.traffic {
        Traffic::Http { routes, .. } => {
            routes.iter().for_each(|route| look(&route.plugins, |roles| roles.route, in_http));
        }
        Traffic::Tcp { plugins, .. } => {
            look(plugins, |roles| roles.connection, "of TCP connections; it does nothing in a TCP listener");
        }
        Traffic::Tls { routes } => {
            routes.iter().for_each(|route| look(&route.plugins, |roles| roles.connection, in_tls));
        }
        Traffic::Auto { routes, .. } => routes.iter().for_each(|route| match route.is_tls() {
            true => look(&route.plugins, |roles| roles.connection, in_tls),
            false => look(&route.plugins, |roles| roles.route, in_http),
        }),
    }
    faults.into_values().collect()
}
