//! One plugin of a config: its file, its section, and what it is granted. Grants nothing that the plugin does not need.

use std::fmt::Write as _;

use crate::paths;

/// What the plugins and test guests import beyond the exchange itself. Those that are not here need nothing.
const NEEDS: [(&str, &[&str]); 5] = [
    ("capabilities", &["log", "clock", "random", "config", "metrics", "shared"]),
    ("flood", &["log"]),
    ("lb_random", &["random"]),
    ("probe", &["log", "clock", "config", "metrics", "shared"]),
    ("steer_probe", &["log", "metrics"]),
];

/// One `[plugins.<name>]` section and the file that belongs to it.
#[derive(Clone)]
pub struct PluginEntry {
    pub(crate) name: String,
    /// The content of `<name>.wasm` beside the config; none to have no file there.
    pub(crate) wasm: Option<Vec<u8>>,
    settings: String,
    grants: Vec<String>,
    clusters: Vec<String>,
    destinations: Vec<String>,
}

impl PluginEntry {
    /// The compiled plugin or test guest of that name, under its own name, with the grants that it needs.
    pub fn new(name: &str) -> PluginEntry {
        let needs = NEEDS.iter().find(|(plugin, _)| *plugin == name).map_or(&[][..], |(_, grants)| grants);
        let entry = PluginEntry::of_bytes(name, paths::plugin_bytes(name));
        needs.iter().fold(entry, |entry, capability| entry.granting(capability))
    }

    /// A plugin with any content.
    pub fn of_bytes(name: &str, wasm: impl Into<Vec<u8>>) -> PluginEntry {
        PluginEntry { wasm: Some(wasm.into()), ..PluginEntry::missing(name) }
    }

    /// A plugin whose file is not there.
    pub fn missing(name: &str) -> PluginEntry {
        let (settings, grants, clusters, destinations) = Default::default();
        PluginEntry { name: name.to_string(), wasm: None, settings, grants, clusters, destinations }
    }

    /// The compiled plugin under another name.
    pub fn called(mut self, name: &str) -> PluginEntry {
        self.name = name.to_string();
        self
    }

    /// One more line of the section, such as `on-failure = "open"`.
    pub fn with(mut self, line: &str) -> PluginEntry {
        writeln!(self.settings, "{line}").expect("a string takes any text");
        self
    }

    /// One more capability.
    pub fn granting(mut self, capability: &str) -> PluginEntry {
        self.grants.push(capability.to_string());
        self
    }

    /// One more cluster that it may call.
    pub fn calling(mut self, cluster: &str) -> PluginEntry {
        self.clusters.push(cluster.to_string());
        self
    }

    /// One more cluster that it may send exchanges and connections to.
    pub fn sending_to(mut self, cluster: &str) -> PluginEntry {
        self.destinations.push(cluster.to_string());
        self
    }

    /// Nothing that it needs.
    pub fn without_grants(mut self) -> PluginEntry {
        self.grants.clear();
        self.clusters.clear();
        self.destinations.clear();
        self
    }

    /// Its section of the config.
    pub(crate) fn section(&self) -> String {
        let mut text = format!("[plugins.{0}]\npath = \"{0}.wasm\"\n{1}", self.name, self.settings);
        for (key, values) in [("grant", &self.grants), ("outbound", &self.clusters), ("clusters", &self.destinations)] {
            if !values.is_empty() {
                writeln!(text, "{key} = {values:?}").expect("a string takes any text");
            }
        }
        text
    }
}

impl From<&str> for PluginEntry {
    fn from(name: &str) -> Self {
        PluginEntry::new(name)
    }
}
