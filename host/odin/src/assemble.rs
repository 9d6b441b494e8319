//! Turns a config into a snapshot for the data path, and keeps of the one before whatever did not change: plugins with
//! their counters, clusters with their health, listeners with their numbers. A fault leaves everything as it was.

mod listener;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use odin_proxy::{AccessLog, Limits, NewEndpoint, Protocol, ProxyVersion, Snapshot, Timeouts};
use odin_runtime::{Plugin, Runtime};
use tokio::task::JoinSet;

use self::listener::build_listener;
use crate::admin::Token;
use crate::check::Validated;
use crate::cli::Start;
use crate::config::{self, Config, LogFormat, Places, Section, UpstreamProtocol};
use crate::files::{self, digest};
use crate::plugin_spec;
use crate::resolve::Names;
use crate::tls::Tls;
use crate::{acme, memory, systemd, uses};

/// How often the watchdog is told while plugins load.
const ALIVE: Duration = Duration::from_secs(1);

/// A plugin's section and what was loaded for it.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) section: config::Plugin,
    pub(crate) plugin: Arc<Plugin>,
    /// Of its file, as it was loaded last. What was posted since stays until the file is another.
    digest: Arc<AtomicU64>,
    /// Held for the length of a swap: of several, the last to come is the one that serves.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Loaded {
    /// Reads the file; none when it is as it was loaded last.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let path = &self.section.path;
        let wasm = files::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((digest(&wasm) != self.digest.load(Relaxed)).then_some(wasm))
    }

    /// This is the digest of what the file held, and it was loaded.
    pub(crate) fn was_read(&self, digest: u64) {
        self.digest.store(digest, Relaxed);
    }
}

#[derive(Clone)]
struct Built {
    section: config::Cluster,
    cluster: Arc<odin_proxy::Cluster>,
}

/// One generation of the config with everything that was made from it.
pub(crate) struct Assembly {
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) plugins: BTreeMap<String, Loaded>,
    pub(crate) tls: Tls,
    clusters: BTreeMap<String, Built>,
    pub(crate) snapshot: Arc<Snapshot>,
    /// What gives a client of the TCP pages every right.
    pub(crate) token: Option<Token>,
}

impl Assembly {
    /// The clusters by name.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Arc<odin_proxy::Cluster>> {
        self.clusters.values().map(|built| &built.cluster)
    }

    /// An error when a plugin lacks a hook for what the config wants of it. Asked once more before a config is served: a
    /// plugin may have been swapped while names were resolved and everything was built.
    pub(crate) fn check_uses(&self) -> anyhow::Result<()> {
        let roles =
            self.plugins.iter().map(|(name, loaded)| (name.as_str(), plugin_spec::roles(loaded.plugin.hooks())));
        uses::faults(&self.config, &roles.collect()).into_iter().next().map_or(Ok(()), Err)
    }

    /// Builds everything that the config names; `plugins` come from [`check::validate`](crate::check::validate), and
    /// `names` were resolved.
    pub(crate) fn new(
        start: &Start,
        Validated { plugins, tls, token }: Validated,
        names: &Names,
        before: Option<&Assembly>,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let (config, places) = (start.config.clone(), start.places.clone());
        let clusters = build_clusters(&config, &plugins, &tls, names, before, workers)?;
        let listeners = config.listeners.iter().map(|section| {
            let listener = build_listener(section, &plugins, &tls, &clusters, before, workers)
                .with_context(|| Section::listener(&section.name))?;
            Ok((section.name.clone(), Arc::new(listener)))
        });
        let snapshot = Arc::new(Snapshot {
            listeners: listeners.collect::<anyhow::Result<_>>()?,
            clusters: clusters.iter().map(|(name, built)| (name.clone(), built.cluster.clone())).collect(),
            plugins: plugins.values().map(|loaded| loaded.plugin.clone()).collect(),
            timeouts: timeouts(&config.timeouts, config.drain_timeout),
            limits: limits(&config.limits),
            access_log: match (config.access_log.enabled, config.access_log.format) {
                (false, _) => AccessLog::Off,
                (true, LogFormat::Text) => AccessLog::Text,
                (true, LogFormat::Json) => AccessLog::Json,
            },
            access_log_context: config.access_log.context.clone(),
            // Checked when the config was read.
            access_log_fields: config.access_log.fields.iter().filter_map(|name| name.parse().ok()).collect(),
            http_challenges: acme::http_challenges(&config),
            give_back: memory::give_back,
        });
        Ok(Assembly { config, places, plugins, tls, clusters, snapshot, token })
    }
}

/// Loads the plugins of a config, all at once; the runtime lets as many compile as there are cores. One whose settings did not change keeps its slot: its file is not looked at here.
pub(crate) async fn load_plugins(
    config: &Config,
    before: Option<&Assembly>,
    runtime: &Arc<Runtime>,
) -> Vec<(String, anyhow::Result<Loaded>)> {
    let (mut all, mut loading) = (Vec::new(), JoinSet::new());
    for (name, section) in &config.plugins {
        let kept = before.and_then(|before| before.plugins.get(name)).filter(|kept| kept.section == *section);
        if let Some(kept) = kept {
            all.push((name.clone(), Ok(kept.clone())));
            continue;
        }
        let (name, section, runtime) = (name.clone(), section.clone(), runtime.clone());
        loading.spawn_blocking(move || {
            let loaded = load_plugin(&name, &section, &runtime);
            (name, loaded)
        });
    }
    loop {
        // Whoever waits for a compiler is alive.
        systemd::alive();
        match tokio::time::timeout(ALIVE, loading.join_next()).await {
            Ok(Some(Ok(loaded))) => all.push(loaded),
            // A panic was told by its thread.
            Ok(Some(Err(panic))) => all.push((String::new(), Err(panic.into()))),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    all
}

/// Loads the plugin of one section.
fn load_plugin(name: &str, section: &config::Plugin, runtime: &Arc<Runtime>) -> anyhow::Result<Loaded> {
    let path = section.path.display();
    let load = || {
        let wasm = files::read(&section.path).with_context(|| format!("cannot read {path}"))?;
        let plugin =
            Plugin::load(runtime, plugin_spec::spec(name, section), &wasm).with_context(|| path.to_string())?;
        anyhow::Ok(Loaded {
            section: section.clone(),
            plugin,
            digest: Arc::new(digest(&wasm).into()),
            turn: Arc::default(),
        })
    };
    load().with_context(|| Section::plugin(name))
}

/// The clusters whose names may have to be resolved: those that the config before does not have as they are.
pub(crate) fn new_clusters<'a>(
    config: &'a Config,
    before: Option<&Assembly>,
) -> impl Iterator<Item = &'a config::Cluster> {
    let same = move |name: &String, section: &config::Cluster| {
        let Some(before) = before else { return false };
        let same_plugin = |name: &String| config.plugins.get(name) == before.config.plugins.get(name);
        before.clusters.get(name).is_some_and(|built| built.section == *section)
            && section.balancer.as_ref().is_none_or(same_plugin)
    };
    config.clusters.iter().filter(move |(name, section)| !same(name, section)).map(|(_, section)| section)
}

fn build_clusters(
    config: &Config,
    plugins: &BTreeMap<String, Loaded>,
    tls: &Tls,
    names: &Names,
    before: Option<&Assembly>,
    workers: usize,
) -> anyhow::Result<BTreeMap<String, Built>> {
    let built = config.clusters.iter().map(|(name, section)| {
        let before = before.and_then(|before| before.clusters.get(name));
        let built = build_cluster(name, section, plugins, tls, names, before, workers);
        Ok((name.clone(), built.with_context(|| Section::cluster(name))?))
    });
    built.collect()
}

fn build_cluster(
    name: &str,
    section: &config::Cluster,
    plugins: &BTreeMap<String, Loaded>,
    tls: &Tls,
    names: &Names,
    before: Option<&Built>,
    workers: usize,
) -> anyhow::Result<Built> {
    let balancer = section.balancer.as_ref().and_then(|name| plugins.get(name)).map(|loaded| loaded.plugin.clone());
    let tls = tls.client(name);
    let same = |built: &&Built| {
        let balancer_before = built.cluster.balancer.as_ref().map(Arc::as_ptr);
        let tls_before = built.cluster.tls.as_ref().map(Arc::as_ptr);
        built.section == *section
            && balancer_before == balancer.as_ref().map(Arc::as_ptr)
            && tls_before == tls.as_ref().map(Arc::as_ptr)
    };
    if let Some(kept) = before.filter(same) {
        return Ok(kept.clone());
    }
    let endpoints = resolved(name, section, names)?;
    let protocol = match section.protocol {
        UpstreamProtocol::Http1 => Protocol::Http1,
        UpstreamProtocol::Http2 => Protocol::Http2,
    };
    let mut cluster = odin_proxy::Cluster::new(name.to_owned(), endpoints, balancer, protocol, workers).over(tls);
    cluster.proxy_header = section.proxy_protocol.map(|version| match version {
        config::ProxyVersion::V1 => ProxyVersion::V1,
        config::ProxyVersion::V2 => ProxyVersion::V2,
    });
    if let Some(before) = before {
        cluster = cluster.after(&before.cluster);
    }
    Ok(Built { section: section.clone(), cluster: Arc::new(cluster) })
}

/// The addresses of a cluster's endpoints, each with its weight.
fn resolved(cluster: &str, section: &config::Cluster, names: &Names) -> anyhow::Result<Vec<NewEndpoint>> {
    let mut endpoints = Vec::new();
    for endpoint in &section.endpoints {
        let address = &endpoint.address;
        match names.of(address) {
            Ok(addresses) => {
                let (weight, host) = (endpoint.weight, address.host());
                endpoints.extend(addresses.into_iter().map(|address| NewEndpoint {
                    address,
                    weight,
                    host: host.clone(),
                }));
            }
            // One name that does not resolve is one dead endpoint, not a dead config.
            Err(error) if section.endpoints.len() > 1 => {
                tracing::error!(cluster, endpoint = %address, %error, "endpoint left out: cannot resolve its name");
            }
            Err(error) => bail!("cannot resolve {address}: {error}"),
        }
    }
    if endpoints.is_empty() {
        bail!("none of the endpoints' names can be resolved");
    }
    Ok(endpoints)
}

fn timeouts(section: &config::Timeouts, drain: Duration) -> Timeouts {
    Timeouts {
        connect: section.connect,
        header: section.header,
        idle: section.idle,
        queue: section.queue,
        upstream_idle: section.upstream_idle,
        http2_ping: section.http2_ping,
        response: section.response,
        request: section.request,
        tcp_idle: section.tcp_idle,
        drain,
    }
}

fn limits(section: &config::Limits) -> Limits {
    let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Limits {
        head_bytes: bytes(section.head_bytes),
        head_fields: section.head_fields,
        trailer_bytes: bytes(section.trailer_bytes),
        connections: section.connections,
        handshakes: section.handshakes,
        streams: section.streams,
        upstream_connections: section.upstream_connections,
        streams_per_upstream: section.streams_per_upstream,
        body_rate: section.body_rate,
        cpu_budget: section.cpu_budget,
    }
}
