//! What a config must fulfil beyond its own text before anything is served with it: each plugin loads with what it is
//! granted and has the hooks that it is used for, and the token file is good. `odin check`, a start and a reload ask by
//! this one function, so that none refuses what another one lets pass.
//!
//! Must never listen, connect or resolve a name: a check runs where nothing of what the config names is there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use odin_runtime::{Runtime, RuntimeOptions};

use crate::admin::Token;
use crate::assemble::{self, Assembly, Loaded};
use crate::cli::{Run, Start};
use crate::config::{OnFailure, Places, Section};
use crate::plugin_spec::{self, roles};
use crate::tls::Tls;
use crate::{compile_cache, uses};

/// What was loaded on the way.
#[derive(Default)]
pub(crate) struct Validated {
    pub(crate) plugins: BTreeMap<String, Loaded>,
    pub(crate) tls: Tls,
    pub(crate) token: Option<Token>,
}

/// Everything that is wrong, one fault a line.
#[derive(Debug)]
struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Loads the plugins of a config and looks whether everything fits. A plugin whose settings are those of `before` keeps
/// its slot: its file is not looked at here. The error tells all faults, each with its line.
pub(crate) async fn validate(
    start: &Start,
    before: Option<&Assembly>,
    runtime: &Arc<Runtime>,
) -> anyhow::Result<Validated> {
    let mut faults = Vec::new();
    let token = start.config.admin_token_file.as_deref().map(Token::read).transpose();
    let token = token.unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let tls = Tls::read(&start.config, before.map(|before| &before.tls), &mut faults);
    let mut plugins = BTreeMap::new();
    for (name, loaded) in assemble::load_plugins(&start.config, before, runtime).await {
        match loaded {
            Ok(loaded) => {
                plugins.insert(name, loaded);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let all = plugins.iter().map(|(name, loaded)| (name.as_str(), roles(loaded.plugin.hooks())));
    faults.extend(uses::faults(&start.config, &all.collect()));
    if faults.is_empty() {
        return Ok(Validated { plugins, tls, token });
    }
    // In the order of the file; what is about no section comes first.
    faults.sort_by_key(|fault| fault.downcast_ref().and_then(|section| start.places.line(section)));
    let told = faults.into_iter().map(|fault| format!("{:#}", start.places.locate(fault)));
    Err(Faults(told.collect()).into())
}

/// The line that says that the file is good, below a line for each thing in it that may not be meant so.
pub(crate) async fn check(file: &Path) -> anyhow::Result<String> {
    let run = Run { file: Some(file.to_owned()), ..Run::default() };
    let start = run.start()?;
    let compile = compile_cache::compile(&start.config);
    let runtime = Runtime::new(RuntimeOptions { compile, ..RuntimeOptions::default() })?;
    let validated = validate(&start, None, &runtime).await?;
    let open_doors = validated.plugins.iter().filter_map(|(name, loaded)| open_door(file, &start.places, name, loaded));
    let warnings: String = open_doors.collect();
    let count = |number: usize, of: &str| format!("{number} {of}{}", if number == 1 { "" } else { "s" });
    Ok(format!(
        "{}{}: ok ({}, {}, {})",
        warnings,
        file.display(),
        count(start.config.listeners.len(), "listener"),
        count(start.config.clusters.len(), "cluster"),
        count(start.config.plugins.len(), "plugin"),
    ))
}

/// A plugin that can refuse, and that is passed over when it fails.
fn open_door(file: &Path, places: &Places, name: &str, loaded: &Loaded) -> Option<String> {
    let open = loaded.section.on_failure == OnFailure::Open && plugin_spec::can_refuse(loaded.plugin.hooks());
    let line = places.line(&Section::plugin(name));
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

    #[tokio::test]
    async fn a_file_is_counted_and_a_plugin_that_does_not_load_is_told_with_its_line() {
        let folder = std::env::temp_dir().join(format!("odin-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("odin.toml");
        let shown = |text: &str| text.replace('@', &format!("{}/", folder.display()));

        std::fs::write(&file, START).unwrap();
        assert_eq!(check(&file).await.unwrap(), shown("@odin.toml: ok (1 listener, 1 cluster, 0 plugins)"));

        std::fs::write(folder.join("text.wasm"), "no plugin").unwrap();
        std::fs::write(folder.join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
        let plugins = "[plugins.b]\npath = 'core.wasm'\n[plugins.a]\npath = 'text.wasm'\n";
        std::fs::write(&file, format!("{START}{plugins}")).unwrap();
        let text = check(&file).await.unwrap_err().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(&shown("@odin.toml:6: plugin \"b\": @core.wasm: ")), "{text}");
        assert!(lines[1].starts_with(&shown("@odin.toml:8: plugin \"a\": @text.wasm: not a W")), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
