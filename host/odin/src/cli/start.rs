//! From flags to what is started: the config, of a file or of flags alone, and what is still to be completed.
//! Must never listen or load: a plugin is looked for, no more.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use odin_steer::Binding;

use super::{AdminFlag, Run};
use crate::config::{
    self, Cluster, Config, ConfigError, Endpoint, EndpointAddress, Errors, HttpRules, Listener, Places, Plugin, Route,
    SteeringMode, Traffic,
};

/// The cluster of the HTTP listener when flags alone make the config.
pub(crate) const HTTP_CLUSTER: &str = "web";
/// The cluster of the TCP listener when flags alone make the config.
pub(crate) const TCP_CLUSTER: &str = "tcp";

/// What to start, and what only the caller can complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Start {
    /// Complete, but for the last two fields.
    pub(crate) config: Config,
    /// Where it says what.
    pub(crate) places: Places,
    /// Where the config came from; none when flags made it. A reload calls [`Run::start`] again.
    pub(crate) file: Option<PathBuf>,
    /// Each named cluster has no endpoint yet: the caller starts demo backends and gives it their addresses.
    /// Empty when there are targets or a file.
    pub(crate) demo_clusters: Vec<&'static str>,
    /// Plugins of `--plugin`, in order: keys of `config.plugins` that nothing refers to yet, because only a loaded
    /// plugin tells its hooks. The caller hands each to [`Start::place_plugin`]. Empty with a file.
    pub(crate) unplaced_plugins: Vec<String>,
}

/// What the hooks of a loaded plugin make it good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// It exports the balancer.
    pub(crate) balancer: bool,
    /// It exports a hook of requests or responses.
    pub(crate) route: bool,
    /// It exports a hook of TCP connections.
    pub(crate) connection: bool,
    /// It exports the steer hook.
    pub(crate) steer: bool,
}

impl Run {
    /// Makes the config: from the file with `--workers`, `--admin`, `--admin-socket`, `--steering` and `--log-format` on top, or from flags
    /// alone.
    pub(crate) fn start(&self) -> Result<Start, Errors> {
        let mut start = match &self.file {
            Some(file) => {
                let (config, places) = config::load(file)?;
                let (demo_clusters, unplaced_plugins) = (Vec::new(), Vec::new());
                Start { config, places, file: Some(file.clone()), demo_clusters, unplaced_plugins }
            }
            None => self.start_from_flags()?,
        };
        let config = &mut start.config;
        if let Some(AdminFlag(address)) = self.admin {
            config.admin = address;
        }
        if let Some(socket) = &self.admin_socket {
            config.admin_socket = socket.clone();
        }
        if let Some(format) = self.log_format {
            config.access_log.format = format;
        }
        if let Some(workers) = self.workers {
            config.workers = usize::try_from(workers).ok();
        }
        if let Some(steering) = self.steering {
            config.steering = steering;
        }
        self.check(config).map_or(Ok(start), |error| Err(error.into()))
    }

    /// What a flag makes of the rest: the file has been checked without them.
    fn check(&self, config: &Config) -> Option<ConfigError> {
        let mut bindings = config.listeners.iter().flat_map(|listener| {
            let name = &listener.name;
            listener.addresses.iter().map(move |binding| (name, binding))
        });
        bindings.find_map(|(name, binding)| {
            if let Some(admin) = config.admin.filter(|admin| config::takes_admin(binding, *admin)) {
                let message = format!("{admin} is taken by the listener `{name}` ({binding}); choose another");
                return Some(ConfigError::in_flag("--admin", message));
            }
            if config.steering == SteeringMode::Bind && binding.socket_addresses().is_none() {
                let message =
                    format!("{binding} of the listener `{name}` cannot be bound by a socket; use bpf or auto");
                return Some(ConfigError::in_flag("--steering", message));
            }
            None
        })
    }

    fn start_from_flags(&self) -> Result<Start, Errors> {
        let (http, tcp) = match (self.listen, self.tcp) {
            (None, None) => (Some(loopback(8080)), Some(loopback(7000))),
            chosen => chosen,
        };
        if let (Some(http), Some(tcp)) = (http, tcp)
            && config::collide(&http, &tcp)
        {
            let message = match http == tcp {
                true => format!("{tcp} is the address of --listen; choose another"),
                false => format!("{tcp} has ports of --listen, {http}; choose others"),
            };
            return Err(ConfigError::in_flag("--tcp", message).into());
        }
        let plugins = self.plugins()?;
        let mut start = Start {
            config: Config::default(),
            places: Places::default(),
            file: None,
            demo_clusters: Vec::new(),
            unplaced_plugins: plugins.iter().map(|(name, _)| name.clone()).collect(),
        };
        start.config.plugins = BTreeMap::from_iter(plugins);
        if self.listen.is_none() && self.tcp.is_none() {
            // The addresses of the demo are on loopback and two: nothing is won by a program in the network namespace of
            // the host, and other tools are to show who listens there.
            start.config.steering = SteeringMode::Bind;
        }
        let endpoints = &self.target;
        if let Some(address) = http {
            let route = Route::new(HTTP_CLUSTER.to_owned());
            start.add(
                "web",
                address,
                Traffic::Http { rules: HttpRules::default(), routes: vec![route] },
                HTTP_CLUSTER,
                endpoints,
            );
        }
        if let Some(address) = tcp {
            start.add(
                "tcp",
                address,
                Traffic::Tcp { cluster: TCP_CLUSTER.to_owned(), plugins: Vec::new() },
                TCP_CLUSTER,
                endpoints,
            );
        }
        Ok(start)
    }

    /// Each plugin under the name of its file, without the ending.
    fn plugins(&self) -> Result<Vec<(String, Plugin)>, Errors> {
        let mut plugins: Vec<(String, Plugin)> = Vec::new();
        let mut errors = Vec::new();
        for path in &self.plugin {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let shown = path.display();
            let message = match std::fs::metadata(path) {
                Err(error) => format!("cannot read {shown}: {error}"),
                Ok(found) if !found.is_file() => format!("{shown} is not a file; name a .wasm file"),
                Ok(_) if plugins.iter().any(|(other, _)| *other == name) => {
                    format!("a plugin named `{name}` is given already; use a config file to name two of them")
                }
                Ok(_) => {
                    let grant = self.grant.iter().copied().collect();
                    plugins.push((name, Plugin { grant, ..Plugin::new(path.clone()) }));
                    continue;
                }
            };
            errors.push(ConfigError::in_flag("--plugin", message));
        }
        Errors::of(errors).map_or(Ok(plugins), Err)
    }
}

impl Start {
    fn add(&mut self, name: &str, address: Binding, traffic: Traffic, cluster: &'static str, endpoints: &[Endpoint]) {
        if endpoints.is_empty() {
            self.demo_clusters.push(cluster);
        }
        self.config.clusters.insert(cluster.to_owned(), Cluster::new(endpoints.to_vec()));
        self.config.listeners.push(Listener::new(name.to_owned(), vec![address], traffic));
    }

    /// Gives a demo cluster its endpoints.
    pub(crate) fn set_endpoints(&mut self, cluster: &str, addresses: impl IntoIterator<Item = SocketAddr>) {
        if let Some(cluster) = self.config.clusters.get_mut(cluster) {
            let endpoint = |address| Endpoint::new(EndpointAddress::Ip(address));
            cluster.endpoints = addresses.into_iter().map(endpoint).collect();
        }
    }

    /// Puts a plugin of [`Start::unplaced_plugins`] to its work: in every cluster if it is a balancer, in every HTTP
    /// route and every TCP listener if it has a hook there, for every listener if it steers. An error when there is a
    /// second balancer, or nothing to do.
    pub(crate) fn place_plugin(&mut self, name: &str, roles: Roles) -> Result<(), Errors> {
        let fail = |message: String| Err(ConfigError::in_flag("--plugin", message).into());
        let is_http = |listener: &Listener| matches!(listener.traffic, Traffic::Http { .. });
        let http = self.config.listeners.iter().any(is_http);
        let tcp = !self.config.listeners.iter().all(is_http);
        match roles {
            Roles { balancer: true, .. } | Roles { steer: true, .. } => {}
            Roles { route: true, .. } if http => {}
            Roles { connection: true, .. } if tcp => {}
            Roles { route: true, .. } => {
                return fail(format!("`{name}` works on HTTP only, and nothing listens for HTTP"));
            }
            Roles { connection: true, .. } => {
                return fail(format!("`{name}` works on TCP only, and nothing listens for TCP"));
            }
            _ => return fail(format!("`{name}` exports no hook, so it has nothing to do")),
        }
        if roles.balancer {
            if let Some(other) = self.config.clusters.values().find_map(|cluster| cluster.balancer.as_ref()) {
                return fail(format!("`{other}` and `{name}` are both balancers; use one, or a config file"));
            }
            for cluster in self.config.clusters.values_mut() {
                cluster.balancer = Some(name.to_owned());
            }
        }
        for listener in &mut self.config.listeners {
            if roles.steer {
                listener.steer = Some(name.to_owned());
            }
            match &mut listener.traffic {
                Traffic::Http { routes, .. } if roles.route => {
                    routes.iter_mut().for_each(|route| route.plugins.push(name.to_owned()));
                }
                Traffic::Tcp { plugins, .. } if roles.connection => plugins.push(name.to_owned()),
                _ => {}
            }
        }
        self.unplaced_plugins.retain(|unplaced| unplaced != name);
        Ok(())
    }
}

fn loopback(port: u16) -> Binding {
    Binding::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
