//! `odin check FILE`: whether the config is good, and whether each plugin that it names loads with what it is granted.
//! Must never listen, connect or resolve a name: a check runs where nothing of what the config names is there.

use std::path::Path;

use odin_runtime::{Runtime, RuntimeOptions};

use crate::assemble;
use crate::config::{self, Config, ConfigError, Errors, OnFailure, Places, Section};
use crate::plugin_spec;

/// The line that says that the file is good, below a line for each thing in it that may not be meant so.
pub(crate) fn check(file: &Path) -> Result<String, Errors> {
    let (config, places) = config::load(file)?;
    let warnings = load_plugins(file, &config, &places)?;
    let count = |number: usize, of: &str| format!("{number} {of}{}", if number == 1 { "" } else { "s" });
    Ok(format!(
        "{}{}: ok ({}, {}, {})",
        warnings.concat(),
        file.display(),
        count(config.listeners.len(), "listener"),
        count(config.clusters.len(), "cluster"),
        count(config.plugins.len(), "plugin"),
    ))
}

/// Loads every plugin as a start would: the errors are about those that do not load, the lines about those that do.
fn load_plugins(file: &Path, config: &Config, places: &Places) -> Result<Vec<String>, Errors> {
    if config.plugins.is_empty() {
        return Ok(Vec::new());
    }
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    match Runtime::new(RuntimeOptions::default()) {
        Ok(runtime) => {
            for (name, section) in &config.plugins {
                let line = places.line(&Section::plugin(name));
                match assemble::load_plugin(name, section, &runtime) {
                    Ok(loaded) => warnings.extend(open_door(file, line, name, &loaded)),
                    Err(error) => {
                        let key = format!("plugins.{name}");
                        errors.push(ConfigError::in_file(file, line, key, format!("{error:#}")));
                    }
                }
            }
        }
        Err(error) => errors.push(ConfigError::in_file(file, None, "", error.to_string())),
    }
    Errors::of(errors).map_or(Ok(warnings), Err)
}

/// A plugin that can refuse, and that is passed over when it fails.
fn open_door(file: &Path, line: Option<u32>, name: &str, loaded: &assemble::Loaded) -> Option<String> {
    let open = loaded.section.on_failure == OnFailure::Open && plugin_spec::can_refuse(loaded.plugin.hooks());
    let place = line.map_or_else(|| file.display().to_string(), |line| format!("{}:{line}", file.display()));
    open.then(|| {
        format!(
            "{place}: warning: plugin {name:?} can refuse requests, and with `on-failure = \"open\"` it refuses none while \
             it fails; if it keeps anybody out, remove `on-failure`: the default is \"closed\"\n"
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const START: &str = "[[listeners]]\naddress = '127.0.0.1:1'\ncluster = 'a'\n[clusters.a]\nendpoints = ['a:1']\n";

    #[test]
    fn a_file_is_counted_and_a_plugin_that_does_not_load_is_told_with_its_line() {
        let folder = std::env::temp_dir().join(format!("odin-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("odin.toml");
        let shown = |text: &str| text.replace('@', &format!("{}/", folder.display()));

        std::fs::write(&file, START).unwrap();
        assert_eq!(check(&file).unwrap(), shown("@odin.toml: ok (1 listener, 1 cluster, 0 plugins)"));

        std::fs::write(folder.join("text.wasm"), "no plugin").unwrap();
        std::fs::write(folder.join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
        let plugins = "[plugins.b]\npath = 'core.wasm'\n[plugins.a]\npath = 'text.wasm'\n";
        std::fs::write(&file, format!("{START}{plugins}")).unwrap();
        let errors = check(&file).unwrap_err();
        let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, ["plugins.b", "plugins.a"]);
        let text = errors.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(&shown("@odin.toml:6: plugin \"b\": @core.wasm: ")), "{text}");
        assert!(lines[1].starts_with(&shown("@odin.toml:8: plugin \"a\": @text.wasm: not a W")), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
