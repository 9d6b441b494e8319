//! Makes a listener of its section of the config: who may connect, what arrives, and where it goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context as _;
use odin_proxy::{
    Auto, CpuTime, EncodedSlashes, HttpRules, Listener, ListenerCounters, ListenerKind, PathRules, PluginUse,
    ProxyHeader, Route, RouteTable, SourceTable, Sources, TlsRoute, TlsTable,
};

use super::{Assembly, Built, Loaded};
use crate::config::{self, Traffic};
use crate::tls::Tls;

pub(super) fn build_listener(
    section: &config::Listener,
    plugins: &BTreeMap<String, Loaded>,
    tls: &Tls,
    clusters: &BTreeMap<String, Built>,
    before: Option<&Assembly>,
    workers: usize,
) -> anyhow::Result<Listener> {
    let cluster = |name: &String| {
        let built = clusters.get(name).with_context(|| format!("no cluster is named {name:?}"))?;
        anyhow::Ok(built.cluster.clone())
    };
    let before = before.and_then(|before| before.snapshot.listeners.get(&section.name));
    let uses = Uses::new(plugins, before.map(|before| &before.kind), workers);
    let kind = match &section.traffic {
        Traffic::Tcp { cluster: name, plugins } => {
            ListenerKind::Tcp { cluster: cluster(name)?, plugins: uses.of_tcp(plugins)? }
        }
        Traffic::Http { rules, routes } => {
            ListenerKind::Http { routes: http_routes(routes, &cluster, &uses)?, rules: http_rules(*rules) }
        }
        Traffic::Tls { routes } => ListenerKind::Tls { routes: tls_routes(routes, &cluster, &uses)? },
        Traffic::Auto { rules, auto, routes } => {
            let (tls, http): (Vec<_>, Vec<_>) = routes.iter().partition(|route| route.is_tls());
            ListenerKind::Auto(Auto {
                http: http_routes(http, &cluster, &uses)?,
                rules: http_rules(*rules),
                tls: tls_routes(tls, &cluster, &uses)?,
                tcp: auto.tcp_cluster.as_ref().map(cluster).transpose()?,
                timeout: auto.detect_timeout,
            })
        }
    };
    let counters = before.map_or_else(|| ListenerCounters::new(workers), |before| before.counters.clone());
    let proxy_header = section.proxy_protocol.as_ref().map(|section| ProxyHeader {
        from: section.from.clone(),
        ignore_others: section.r#else == config::Elsewhere::Ignore,
    });
    let counted = before.and_then(|before| before.sources.as_ref()?.table.clone());
    let sources = section.sources.as_ref().map(|section| sources(section, counted));
    Ok(Listener { name: section.name.clone(), kind, proxy_header, sources, tls: tls.server(&section.name), counters })
}

/// `counted` is the table of the listener before.
fn sources(section: &config::Sources, counted: Option<Arc<SourceTable>>) -> Sources {
    let config::Sources { allow, deny, connections, new_per_second } = section.clone();
    let counts = connections > 0 || new_per_second > 0;
    let table = counts.then(|| counted.unwrap_or_else(SourceTable::new));
    Sources { allow, deny, connections, new_per_second, table }
}

/// Finds a cluster by its name.
type Find<'a> = &'a dyn Fn(&String) -> anyhow::Result<Arc<odin_proxy::Cluster>>;

fn http_routes<'a>(
    routes: impl IntoIterator<Item = &'a config::Route>,
    cluster: Find<'_>,
    uses: &Uses<'_>,
) -> anyhow::Result<RouteTable> {
    let built = routes.into_iter().map(|route| {
        let (host, path) = (route.host.clone(), route.path.clone());
        Ok(Route { host, path, cluster: cluster(&route.cluster)?, plugins: uses.of_route(route)? })
    });
    Ok(RouteTable::new(built.collect::<anyhow::Result<_>>()?))
}

fn tls_routes<'a>(
    routes: impl IntoIterator<Item = &'a config::Route>,
    cluster: Find<'_>,
    uses: &Uses<'_>,
) -> anyhow::Result<TlsTable> {
    let built = routes.into_iter().map(|route| {
        let (sni, alpn) = (route.sni.clone(), route.alpn.clone().unwrap_or_default());
        Ok(TlsRoute { sni, alpn, cluster: cluster(&route.cluster)?, plugins: uses.of_route(route)? })
    });
    Ok(TlsTable::new(built.collect::<anyhow::Result<_>>()?))
}

fn http_rules(section: config::HttpRules) -> HttpRules {
    let slashes = match section.encoded_slashes {
        config::EncodedSlashes::Refuse => EncodedSlashes::Refuse,
        config::EncodedSlashes::Keep => EncodedSlashes::Keep,
        config::EncodedSlashes::Decode => EncodedSlashes::Decode,
    };
    let paths = match section.path_normalization {
        config::PathNormalization::Strict => PathRules::Strict(slashes),
        config::PathNormalization::Off => PathRules::Off,
    };
    HttpRules { trust_forwarded: section.trust_forwarded, half_close: section.half_close, paths }
}

/// Finds the plugins of a listener, with what they have cost there so far.
struct Uses<'a> {
    plugins: &'a BTreeMap<String, Loaded>,
    /// Of a TCP listener.
    connection: &'a [PluginUse],
    /// Of the routes that have any, by what they match.
    routes: HashMap<Matched<'a>, &'a [PluginUse]>,
    workers: usize,
}

/// Host, path, name and protocols.
type Matched<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, &'a [String]);

impl<'a> Uses<'a> {
    fn new(plugins: &'a BTreeMap<String, Loaded>, before: Option<&'a ListenerKind>, workers: usize) -> Self {
        let mut uses = Uses { plugins, connection: &[], routes: HashMap::new(), workers };
        let Some(before) = before else { return uses };
        if let ListenerKind::Tcp { plugins, .. } = before {
            uses.connection = plugins;
        }
        let http = before.http().iter().map(|route| {
            let matched: Matched<'a> = (route.host.as_deref(), route.path.as_deref(), None, &[]);
            (matched, &route.plugins[..])
        });
        let tls = before.tls().iter().map(|route| {
            let matched: Matched<'a> = (None, None, route.sni.as_deref(), &route.alpn);
            (matched, &route.plugins[..])
        });
        uses.routes = http.chain(tls).filter(|(_, plugins)| !plugins.is_empty()).collect();
        uses
    }

    fn of_tcp(&self, names: &[String]) -> anyhow::Result<Vec<PluginUse>> {
        self.of(names, self.connection)
    }

    fn of_route(&self, route: &config::Route) -> anyhow::Result<Vec<PluginUse>> {
        let alpn = route.alpn.as_deref().unwrap_or_default();
        let before = self.routes.get(&(route.host.as_deref(), route.path.as_deref(), route.sni.as_deref(), alpn));
        self.of(&route.plugins, before.copied().unwrap_or_default())
    }

    fn of(&self, names: &[String], before: &[PluginUse]) -> anyhow::Result<Vec<PluginUse>> {
        let used = |(at, name): (usize, &String)| {
            let loaded = self.plugins.get(name).with_context(|| format!("no plugin is named {name:?}"))?;
            let kept = before.get(at).filter(|before| before.plugin.name() == name);
            let cpu = kept.map_or_else(|| CpuTime::new(self.workers), |kept| kept.cpu.clone());
            Ok(PluginUse { plugin: loaded.plugin.clone(), cpu })
        };
        names.iter().enumerate().map(used).collect()
    }
}
