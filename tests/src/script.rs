//! Scripts for the guest `script`: what a plugin does in each of its hooks, in the lines of a test. What lines there are,
//! `tests/guests/script/src/interpreter.rs` says.

use std::collections::BTreeMap;

use crate::entry::PluginEntry;

/// What the plugin does in which hook.
#[derive(Clone, Default)]
pub struct Script {
    hooks: BTreeMap<String, Vec<String>>,
}

impl Script {
    /// Nothing but noting that its hooks were called.
    pub fn new() -> Script {
        Script::default()
    }

    /// What is done in this hook, such as `request-headers`: lines up to the one that decides.
    pub fn on(mut self, hook: &str, lines: &[&str]) -> Script {
        self.hooks.insert(hook.to_string(), lines.iter().map(|line| line.to_string()).collect());
        self
    }

    /// As the value of the request field `x-<name of the plugin>`, for a plugin without a script in its config.
    pub fn field(&self) -> String {
        json(
            self.hooks
                .iter()
                .map(|(hook, lines)| (hook.clone(), lines.clone().into()))
                .collect::<serde_json::Map<_, _>>(),
        )
    }

    /// The guest `script` with this in its config, under this name.
    pub fn plugin(&self, name: &str) -> PluginEntry {
        self.of("script", name)
    }

    /// The guest `script_bodies`, which has no trailer hooks.
    pub fn plugin_of_bodies(&self, name: &str) -> PluginEntry {
        self.of("script_bodies", name)
    }

    /// The guest `script_calls`, which makes outbound calls, too: to this cluster.
    pub fn plugin_of_calls(&self, name: &str, cluster: &str) -> PluginEntry {
        self.of("script_calls", name).calling(cluster)
    }

    fn of(&self, guest: &str, name: &str) -> PluginEntry {
        // JSON's strings and lists are TOML's as well.
        let hook = |(hook, lines): (&String, &Vec<String>)| format!("\"{hook}\" = {}", json(lines.clone()));
        let hooks: Vec<_> = self.hooks.iter().map(hook).collect();
        let config = format!("config = {{ name = \"{name}\", hooks = {{ {} }} }}", hooks.join(", "));
        PluginEntry::new(guest).called(name).with(&config)
    }
}

/// As JSON that can stand in a field: without any control character.
fn json(value: impl Into<serde_json::Value>) -> String {
    value.into().to_string().replace('\u{7f}', "\\u007f")
}
