//! The command line: what a person types becomes a [`Start`], from a config file or from flags alone.
//! Must never listen, load a plugin or print: `main` does.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{
    self, Cluster, Config, ConfigError, Endpoint, EndpointAddress, Errors, Grant, Listener, LogFormat, Plugin, Route,
    Traffic, UpstreamProtocol,
};

/// The cluster of the HTTP listener when flags alone make the config.
pub(crate) const HTTP_CLUSTER: &str = "web";
/// The cluster of the TCP listener when flags alone make the config.
pub(crate) const TCP_CLUSTER: &str = "tcp";

const EXAMPLES: &str = "\
Examples:
  odin --plugin lb_rr.wasm
      Two demo backends behind HTTP on 127.0.0.1:8080 and TCP on 127.0.0.1:7000; the plugin picks one for each request.
  odin --plugin lb_rr.wasm --target 10.0.0.1:80 --target 10.0.0.2:80,weight=3
      The same with your own backends.
  odin --listen 0.0.0.0:80 --target web.internal:8080 --plugin headers.wasm --plugin lb_rr.wasm
      HTTP only, on another address, through two plugins in this order.
  odin --plugin limit.wasm --grant log,shared
      A plugin that writes log lines and remembers across requests: both must be granted.
  odin check odin.toml && odin -f odin.toml
      A config file, checked first. `kill -HUP` reads it again; Ctrl-C finishes what runs, then exits.";

/// A programmable TCP and HTTP proxy: WebAssembly plugins decide, Odin moves the bytes.
#[derive(Clone, Debug, Parser)]
#[command(name = "odin", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// What Odin does instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a config file and its plugins; exit with 1 and every error when they are not good
    Check {
        /// The config: .toml, .yaml, .yml or .json
        file: PathBuf,
    },
    /// Serve a backend that answers with what it was asked, as JSON: for trying plugins out
    Echo {
        /// Where to listen
        #[arg(value_name = "IP:PORT", value_parser = config::socket_address, default_value = "127.0.0.1:9100")]
        address: SocketAddr,
    },
}

/// The flags of serving.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Run {
    /// Read the config from a file: .toml, .yaml, .yml or .json
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with_all = ["plugin", "grant", "listen", "tcp", "target"])]
    pub(crate) file: Option<PathBuf>,

    /// Use a plugin (repeatable, in this order); one that exports a balancer picks the targets
    #[arg(short, long, value_name = "WASM")]
    pub(crate) plugin: Vec<PathBuf>,

    /// Let the plugins of --plugin use log, clock, random, config, metrics or shared (repeatable) [default: none]
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',', value_parser = Grant::parse, requires = "plugin")]
    pub(crate) grant: Vec<Grant>,

    /// Serve HTTP here; without --tcp, only HTTP [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "IP:PORT", value_parser = config::socket_address)]
    pub(crate) listen: Option<SocketAddr>,

    /// Relay TCP here; without --listen, only TCP [default: 127.0.0.1:7000]
    #[arg(long, value_name = "IP:PORT", value_parser = config::socket_address)]
    pub(crate) tcp: Option<SocketAddr>,

    /// Send traffic to this backend (repeatable) [default: two demo backends]
    #[arg(short, long, value_name = "HOST:PORT[,weight=N]", value_parser = target)]
    pub(crate) target: Vec<Endpoint>,

    /// Serve the admin pages here, or `off` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "IP:PORT|off", value_parser = admin)]
    pub(crate) admin: Option<Admin>,

    /// How log lines are written [default: text]
    #[arg(long, value_name = "text|json", value_enum, hide_possible_values = true)]
    pub(crate) log_format: Option<LogFormat>,

    /// Threads [default: one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) workers: Option<u64>,
}

/// The value of `--admin`: none for `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admin(pub(crate) Option<SocketAddr>);

/// What to start, and what only the caller can complete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Start {
    /// Complete, but for the two fields below.
    pub(crate) config: Config,
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
}

impl Run {
    /// Makes the config: from the file with `--workers`, `--admin` and `--log-format` on top, or from flags alone.
    pub(crate) fn start(&self) -> Result<Start, Errors> {
        let mut start = match &self.file {
            Some(file) => Start {
                config: config::load(file)?,
                file: Some(file.clone()),
                demo_clusters: Vec::new(),
                unplaced_plugins: Vec::new(),
            },
            None => self.start_from_flags()?,
        };
        let config = &mut start.config;
        if let Some(Admin(address)) = self.admin {
            config.admin = address;
        }
        if let Some(format) = self.log_format {
            config.access_log.format = format;
        }
        if let Some(workers) = self.workers {
            config.workers = usize::try_from(workers).ok();
        }
        match config
            .listeners
            .iter()
            .find(|listener| listener.address.port() != 0 && Some(listener.address) == config.admin)
        {
            None => Ok(start),
            Some(listener) => {
                let message =
                    format!("{} is the address of the listener `{}`; choose another", listener.address, listener.name);
                Err(ConfigError::in_flag("--admin", message).into())
            }
        }
    }

    fn start_from_flags(&self) -> Result<Start, Errors> {
        let (http, tcp) = match (self.listen, self.tcp) {
            (None, None) => (Some((Ipv4Addr::LOCALHOST, 8080).into()), Some((Ipv4Addr::LOCALHOST, 7000).into())),
            chosen => chosen,
        };
        if let (Some(http), Some(tcp)) = (http, tcp)
            && http == tcp
            && http.port() != 0
        {
            return Err(
                ConfigError::in_flag("--tcp", format!("{tcp} is the address of --listen; choose another")).into()
            );
        }
        let plugins = self.plugins()?;
        let mut start = Start {
            config: Config::default(),
            file: None,
            demo_clusters: Vec::new(),
            unplaced_plugins: plugins.iter().map(|(name, _)| name.clone()).collect(),
        };
        start.config.plugins = BTreeMap::from_iter(plugins);
        let endpoints = &self.target;
        if let Some(address) = http {
            let route = Route { host: None, path: None, cluster: HTTP_CLUSTER.to_owned(), plugins: Vec::new() };
            start.add(
                "web",
                address,
                Traffic::Http { trust_forwarded: false, routes: vec![route] },
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
    fn add(
        &mut self,
        name: &str,
        address: SocketAddr,
        traffic: Traffic,
        cluster: &'static str,
        endpoints: &[Endpoint],
    ) {
        if endpoints.is_empty() {
            self.demo_clusters.push(cluster);
        }
        let settings = Cluster { endpoints: endpoints.to_vec(), balancer: None, protocol: UpstreamProtocol::Http1 };
        self.config.clusters.insert(cluster.to_owned(), settings);
        self.config.listeners.push(Listener { name: name.to_owned(), address, traffic });
    }

    /// Gives a demo cluster its endpoints.
    pub(crate) fn set_endpoints(&mut self, cluster: &str, addresses: impl IntoIterator<Item = SocketAddr>) {
        if let Some(cluster) = self.config.clusters.get_mut(cluster) {
            let endpoint = |address| Endpoint { address: EndpointAddress::Ip(address), weight: 1 };
            cluster.endpoints = addresses.into_iter().map(endpoint).collect();
        }
    }

    /// Puts a plugin of [`Start::unplaced_plugins`] to its work: in every cluster if it is a balancer, in every HTTP
    /// route and every TCP listener if it has a hook there. An error when there is a second balancer, or nothing to do.
    pub(crate) fn place_plugin(&mut self, name: &str, roles: Roles) -> Result<(), Errors> {
        let fail = |message: String| Err(ConfigError::in_flag("--plugin", message).into());
        let is_http = |listener: &Listener| matches!(listener.traffic, Traffic::Http { .. });
        let http = self.config.listeners.iter().any(is_http);
        let tcp = !self.config.listeners.iter().all(is_http);
        match roles {
            Roles { balancer: true, .. } => {}
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

/// `HOST:PORT` or `HOST:PORT,weight=N`.
fn target(text: &str) -> Result<Endpoint, String> {
    let (address, weight) = match text.split_once(',') {
        None => (text, 1),
        Some((address, option)) => {
            let weight = option
                .strip_prefix("weight=")
                .ok_or_else(|| format!("`{option}` is not an option of a target; write {address},weight=2"))?;
            let weight = weight.parse().ok().filter(|weight| (1..=65_535).contains(weight));
            (address, weight.ok_or_else(|| format!("`{option}` is not a weight; write a number from 1 to 65535"))?)
        }
    };
    Ok(Endpoint { address: config::endpoint_address(address)?, weight })
}

fn admin(text: &str) -> Result<Admin, String> {
    match text {
        "off" => Ok(Admin(None)),
        address => config::socket_address(address).map(|address| Admin(Some(address))),
    }
}

impl ValueEnum for LogFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[LogFormat::Text, LogFormat::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            LogFormat::Text => PossibleValue::new("text"),
            LogFormat::Json => PossibleValue::new("json"),
        })
    }
}

#[cfg(test)]
mod tests;
