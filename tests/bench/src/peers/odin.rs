//! Odin: one worker, no access log, no admin listener.
//!
//! It must not use a setting that a user could not use.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{IDLE_UPSTREAM, MAX_CONNECTIONS, Setup};
use crate::case::Variant;
use crate::options::repository;

pub(super) fn find() -> Option<PathBuf> {
    let built = env::var_os("ODIN_BIN").map_or_else(|| repository().join("target/release/odin"), PathBuf::from);
    built.canonicalize().ok().filter(|file| file.is_file())
}

pub(super) fn config(setup: &Setup) -> Result<String> {
    let Setup { listen, upstream, .. } = setup;
    let protocol = if setup.shape.is_tcp() { "tcp" } else { "http" };
    let (used, declared) = match setup.variant {
        // Odin adds the forwarding fields always: there is nothing to turn on.
        Variant::Bare | Variant::Forwarded => ("", String::new()),
        Variant::Plugin => {
            let wasm = repository().join("plugins/target/wasm32-unknown-unknown/release/headers.wasm");
            if !wasm.is_file() {
                bail!("{} is not there: `make plugins`", wasm.display());
            }
            ("plugins = [\"headers\"]", format!("[plugins.headers]\npath = {:?}\n", wasm.display().to_string()))
        }
    };
    Ok(format!(
        r#"workers = 1
admin = "off"
[access-log]
enabled = false
[limits]
connections = {MAX_CONNECTIONS}
idle-upstream-connections = {IDLE_UPSTREAM}
[[listeners]]
name = "bench"
address = "127.0.0.1:{listen}"
protocol = "{protocol}"
cluster = "origin"
{used}
[clusters.origin]
endpoints = ["127.0.0.1:{upstream}"]
{declared}"#
    ))
}
