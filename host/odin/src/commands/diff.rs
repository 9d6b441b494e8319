//! `odin diff FILE`: what a reload would change. Must never send the file anywhere: it is checked and compared here.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use super::{lines, print};
use crate::config::{self, Config, Location};
use crate::diff;
use crate::{client, watch};

/// Prints what makes of the running config, or of another file's, that of `file`.
pub(crate) async fn diff(file: &Path, against: Option<&Path>, socket: Option<PathBuf>) -> anyhow::Result<()> {
    print(&compare(file, against, socket).await?)
}

async fn compare(file: &Path, against: Option<&Path>, socket: Option<PathBuf>) -> anyhow::Result<String> {
    let (config, _) = config::load(file)?;
    let before = match against {
        Some(other) => serde_json::to_value(config::load(other)?.0)?,
        None => running(&client::socket(socket.or_else(|| named(&config))).await?).await?,
    };
    Ok(report(before, serde_json::to_value(&config)?))
}

/// Where the file itself says that its Odin takes orders.
fn named(config: &Config) -> Option<PathBuf> {
    match &config.admin_socket {
        Location::At(path) => Some(path.clone()),
        Location::Default | Location::Off => None,
    }
}

fn report(mut before: Value, mut after: Value) -> String {
    resolve_paths(&mut before);
    resolve_paths(&mut after);
    lines(&diff::diff(&before, &after))
}

async fn running(socket: &Path) -> anyhow::Result<Value> {
    let answer = client::good(client::get(socket, "/config").await?)?;
    serde_json::from_str(&answer).context("the answer to /config is no JSON; is this Odin?")
}

/// One file may be named by many paths: as seen from where Odin was started, and as seen from here.
fn resolve_paths(config: &mut Value) {
    let plugins = config.get_mut("plugins").and_then(Value::as_object_mut);
    for plugin in plugins.into_iter().flat_map(|plugins| plugins.values_mut()) {
        if let Some(Value::String(path)) = plugin.get_mut("path") {
            *path = watch::absolute(Path::new(&path)).display().to_string();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::tests::answering;

    #[test]
    fn a_file_is_the_same_by_another_path() {
        let config = |path: &str| json!({ "plugins": { "lb": { "path": path } } });
        assert_eq!(report(config("/etc/../etc/x"), config("/etc/x")), "no changes\n");
        let here = std::env::current_dir().unwrap().canonicalize().unwrap().join("x");
        assert_eq!(report(config("x"), config(here.to_str().unwrap())), "no changes\n");
        assert_eq!(report(config("/etc/x"), config("/etc/y")), "~ plugin lb: path /etc/x -> /etc/y\n");
    }

    #[tokio::test]
    async fn a_file_is_compared_with_what_runs_or_with_another_file() {
        let folder = std::env::temp_dir().join(format!("odin-compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (old, new) = (folder.join("old.toml"), folder.join("new.toml"));
        let text = "[[listeners]]\naddress = '127.0.0.1:1'\ncluster = 'a'\n[clusters.a]\nendpoints = ['a:1']\n";
        std::fs::write(&old, text).unwrap();
        std::fs::write(&new, text.replace("'a:1'", "'a:1', 'b:1'")).unwrap();
        let running = serde_json::to_string(&config::load(&old).unwrap().0).unwrap();
        let asks = |status, body| {
            let new = new.clone();
            async move { compare(&new, None, Some(answering(status, body))).await }
        };
        assert_eq!(asks(200, &running).await.unwrap(), "+ endpoint a b:1\n");
        assert_eq!(compare(&new, Some(&old), None).await.unwrap(), "+ endpoint a b:1\n");
        assert_eq!(asks(503, "draining\n").await.unwrap_err().to_string(), "draining");
        assert!(asks(200, "<html>").await.unwrap_err().to_string().ends_with("is no JSON; is this Odin?"));
        std::fs::write(&new, text.replace("cluster = 'a'", "cluster = 'b'")).unwrap();
        let error = compare(&new, Some(&old), None).await.unwrap_err().to_string();
        assert!(error.ends_with("no cluster is named `b`; defined: a"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_may_say_where_to_ask() {
        let with = |admin_socket| named(&Config { admin_socket, ..Config::default() });
        assert_eq!(with(Location::At("/a.sock".into())), Some("/a.sock".into()));
        assert_eq!(with(Location::Default), None);
        assert_eq!(with(Location::Off), None);
    }
}
