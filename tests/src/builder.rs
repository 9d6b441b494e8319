//! Says what Odin is to be started with, and writes the config file that says the same.
//!
//! Without [`Builder::with_config`] there is an HTTP listener `web` with the cluster `web`, and a TCP listener `tcp` with
//! the cluster `tcp` when it has a target. Every port is 0.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Target;
use crate::backend::Protocol;
use crate::entry::PluginEntry;
use crate::odin::Odin;
use crate::paths;
use crate::program::{Finished, Launch, Program};

/// What Odin is to be started with.
#[derive(Clone, Default)]
pub struct Builder {
    workers: Option<usize>,
    top: String,
    listener: String,
    cluster: String,
    sections: String,
    targets: Vec<String>,
    tcp_targets: Vec<String>,
    balancer: Option<String>,
    route_plugins: Vec<String>,
    tcp_plugins: Vec<String>,
    /// Only requests below this path meet the plugins.
    plugins_under: Option<String>,
    plugins: Vec<PluginEntry>,
    config: Option<(String, String)>,
    file: Option<PathBuf>,
    arguments: Vec<String>,
    launch: Launch,
}

impl Builder {
    /// How many workers; 1 unless said otherwise.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = Some(workers);
        self
    }

    /// One more endpoint of the cluster `web`.
    pub fn target(mut self, target: &impl Target) -> Builder {
        self.targets.push(format!("\"{}\"", target.address()));
        self
    }

    /// One more endpoint of the cluster `web`, with a weight.
    pub fn weighted_target(mut self, target: &impl Target, weight: u32) -> Builder {
        self.targets.push(format!("{{ address = \"{}\", weight = {weight} }}", target.address()));
        self
    }

    /// One more endpoint of the cluster `tcp`.
    pub fn tcp_target(mut self, target: &impl Target) -> Builder {
        self.tcp_targets.push(format!("\"{}\"", target.address()));
        self
    }

    /// What the cluster `web` speaks; HTTP/1.1 unless said otherwise.
    pub fn upstream(self, protocol: Protocol) -> Builder {
        self.in_cluster(&format!("protocol = \"{}\"", protocol.name()))
    }

    /// The plugin that picks the endpoints of every cluster.
    pub fn balancer(mut self, plugin: impl Into<PluginEntry>) -> Builder {
        let plugin = plugin.into();
        self.balancer = Some(plugin.name.clone());
        self.plugins.push(plugin);
        self
    }

    /// One more plugin on the route of the listener `web`.
    pub fn plugin(mut self, plugin: impl Into<PluginEntry>) -> Builder {
        let plugin = plugin.into();
        self.route_plugins.push(format!("\"{}\"", plugin.name));
        self.plugins.push(plugin);
        self
    }

    /// Only requests below this path meet the plugins; all others go to the same cluster without them.
    pub fn only_under(mut self, path: &str) -> Builder {
        self.plugins_under = Some(path.to_string());
        self
    }

    /// One more plugin on the listener `tcp`.
    pub fn tcp_plugin(mut self, plugin: impl Into<PluginEntry>) -> Builder {
        let plugin = plugin.into();
        self.tcp_plugins.push(format!("\"{}\"", plugin.name));
        self.plugins.push(plugin);
        self
    }

    /// One more cluster, which no route names.
    pub fn cluster(self, name: &str, target: &impl Target) -> Builder {
        self.section(&format!("[clusters.{name}]\nendpoints = [\"{}\"]", target.address()))
    }

    /// An access log in JSON that names these values of the context: see [`Odin::logged`].
    pub fn logging(self, context: &[&str]) -> Builder {
        self.section(&format!("[access-log]\nformat = \"json\"\ncontext = {context:?}"))
    }

    /// A plugin file and its section, used by what [`Builder::with_config`] or [`Builder::section`] says.
    pub fn plugin_file(mut self, plugin: impl Into<PluginEntry>) -> Builder {
        self.plugins.push(plugin.into());
        self
    }

    /// One more line at the top of the config.
    pub fn top(mut self, line: &str) -> Builder {
        writeln!(self.top, "{line}").expect("a string takes any text");
        self
    }

    /// One more line in the listener `web`.
    pub fn in_listener(mut self, line: &str) -> Builder {
        writeln!(self.listener, "{line}").expect("a string takes any text");
        self
    }

    /// One more line in the cluster `web`.
    pub fn in_cluster(mut self, line: &str) -> Builder {
        writeln!(self.cluster, "{line}").expect("a string takes any text");
        self
    }

    /// More sections, such as `[timeouts]`.
    pub fn section(mut self, text: &str) -> Builder {
        writeln!(self.sections, "{text}").expect("a string takes any text");
        self
    }

    /// The whole config, as TOML; targets and other lines are not used then.
    pub fn with_config(self, toml: impl Into<String>) -> Builder {
        self.with_config_named("odin.toml", toml)
    }

    /// The whole config under a file name whose ending says the syntax.
    pub fn with_config_named(mut self, name: &str, text: impl Into<String>) -> Builder {
        self.config = Some((name.to_string(), text.into()));
        self
    }

    /// Starts with a config file that is there already.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.file = Some(path.into());
        self
    }

    /// One more argument on the command line.
    pub fn argument(mut self, argument: &str) -> Builder {
        self.arguments.push(argument.to_string());
        self
    }

    /// Started by another command, which becomes Odin: `setpriv --inh-caps=-all`.
    pub fn started_by(mut self, command: &str) -> Builder {
        self.launch.by = command.split(' ').map(str::to_string).collect();
        self
    }

    /// Started as another user, with these capabilities as a service manager gives them.
    pub fn started_as(self, user: &str, capabilities: &[&str]) -> Builder {
        let set: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
        let sets = ["inh-caps", "ambient-caps", "bounding-set"].map(|kind| format!("--{kind}=-all{set}")).join(" ");
        self.started_by(&format!("setpriv --reuid={user} --regid={user} --init-groups --no-new-privs {sets}"))
    }

    /// Started from this file, which the test may replace.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Builder {
        self.launch.binary = Some(path.into());
        self
    }

    /// One more variable of the environment.
    pub fn environment(mut self, name: &str, value: impl ToString) -> Builder {
        self.launch.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// With this socket, as systemd passes on what it listens on.
    pub fn activated_by(mut self, socket: impl Into<OwnedFd>) -> Builder {
        self.launch.stdin = Some(Arc::new(socket.into()));
        let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\"";
        self.launch.by = ["sh", "-c", script].map(str::to_string).to_vec();
        self
    }

    /// Without any capability, whoever runs the test.
    pub fn without_capabilities(self) -> Builder {
        self.started_by("setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all")
    }

    /// The config as it will be written.
    pub fn toml(&self) -> String {
        let mut text = format!("workers = {}\nadmin = \"127.0.0.1:0\"\n{}", self.workers.unwrap_or(1), self.top);
        let endpoints = self.targets.join(", ");
        let plugins = self.route_plugins.join(", ");
        let balancer = self.balancer.as_ref().map(|name| format!("balancer = \"{name}\"\n")).unwrap_or_default();
        if !self.targets.is_empty() {
            text += &format!("[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{}", self.listener);
            text += &match &self.plugins_under {
                None => format!("cluster = \"web\"\nplugins = [{plugins}]\n"),
                Some(path) => format!(
                    "[[listeners.routes]]\npath = \"{path}\"\ncluster = \"web\"\nplugins = [{plugins}]\n\
                     [[listeners.routes]]\ncluster = \"web\"\n"
                ),
            };
        }
        if !self.tcp_targets.is_empty() {
            text += &format!(
                "[[listeners]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\ncluster = \"tcp\"\nplugins = [{}]\n",
                self.tcp_plugins.join(", ")
            );
        }
        if !self.targets.is_empty() {
            text += &format!("[clusters.web]\nendpoints = [{endpoints}]\n{balancer}{}", self.cluster);
        }
        if !self.tcp_targets.is_empty() {
            text += &format!("[clusters.tcp]\nendpoints = [{}]\n{balancer}", self.tcp_targets.join(", "));
        }
        text + &self.plugin_sections() + &self.sections
    }

    fn plugin_sections(&self) -> String {
        self.plugins.iter().map(PluginEntry::section).collect()
    }

    /// Writes config and plugins into a folder of their own.
    fn write(&self) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // For an Odin that becomes another user.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("the test's own folder");
        for plugin in &self.plugins {
            if let Some(wasm) = &plugin.wasm {
                std::fs::write(folder.path().join(format!("{}.wasm", plugin.name)), wasm).expect("a file is written");
            }
        }
        let (name, text) = match &self.config {
            Some((name, text)) if name.ends_with(".toml") => (name.as_str(), text.clone() + &self.plugin_sections()),
            Some((name, text)) => (name.as_str(), text.clone()),
            None => ("odin.toml", self.toml()),
        };
        let file = self.file.clone().unwrap_or_else(|| folder.path().join(name));
        if self.file.is_none() {
            std::fs::write(&file, text).expect("a file is written");
        }
        (folder, file)
    }

    fn spawn(&self, folder: &Path, file: &Path) -> Program {
        let mut launch = self.launch.clone();
        if launch.binary.is_none() && launch.by.iter().any(|argument| argument.starts_with("--reuid")) {
            // Others may not get to where it was built.
            let copy = folder.join("odin");
            std::fs::copy(paths::odin(), &copy).expect("the binary can be copied");
            launch.binary = Some(copy);
        }
        Program::launch(&launch, self.command_line(file))
    }

    fn command_line(&self, file: &Path) -> Vec<String> {
        let mut arguments = vec!["-f".to_string(), file.display().to_string()];
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    /// Starts Odin and waits until it is ready.
    pub async fn start(self) -> Odin {
        let (folder, file) = self.write();
        let program = self.spawn(folder.path(), &file);
        Odin::ready(program, folder, file).await
    }

    /// Starts Odin, which must refuse and exit with a failure; answers what it said.
    pub async fn refuses_to_start(self) -> Finished {
        let (folder, file) = self.write();
        let finished = self.spawn(folder.path(), &file).finished().await;
        assert!(!finished.success(), "Odin was to refuse: {finished:?}");
        finished
    }

    /// `odin check` on the config.
    pub async fn check(self) -> Finished {
        let (_folder, file) = self.write();
        Program::spawn(["check".to_string(), file.display().to_string()]).finished().await
    }
}
