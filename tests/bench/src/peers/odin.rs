//! Odin: one worker, no access log, and no admin listener unless the case is about more.
//!
//! It must not use a setting that a user could not use.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{ForOdin, Setup};
use crate::case::{Shape, Steering, Variant};
use crate::options::repository;

/// The plugins that do what the processors of Envoy's ExternalProcessor SDK do.
pub(super) const PROCESSORS: [&str; 6] = ["trivial", "timer", "digest", "decorated", "echo", "ctx"];

pub(super) fn find() -> Option<PathBuf> {
    let built = env::var_os("ODIN_BIN").map_or_else(|| repository().join("target/release/odin"), PathBuf::from);
    built.canonicalize().ok().filter(|file| file.is_file())
}

/// The admin socket of the Odin with the admin pages on this port.
pub(crate) fn admin_socket(port: u16) -> PathBuf {
    env::temp_dir().join(format!("odin-bench-{port}.sock"))
}

pub(super) fn config(setup: &Setup) -> Result<String> {
    let Setup { upstream, odin: ForOdin { workers, steering, admin, http2_upstream }, .. } = *setup;
    let addresses: Vec<String> = setup.addresses().collect();
    let socket = admin.map_or("off".to_owned(), |port| admin_socket(port).display().to_string());
    let admin = admin.map_or("off".to_owned(), |port| format!("127.0.0.1:{port}"));
    let steering = match steering {
        Steering::Auto => "auto",
        Steering::Bpf => "bpf",
        Steering::Bind => "bind",
    };
    let protocol = match setup.shape {
        Shape::TlsBulk => "tls",
        shape if shape.is_tcp() => "tcp",
        _ => "http",
    };
    let dir = setup.dir.display();
    let tls = match setup.shape {
        Shape::Https => {
            format!("tls = {{ certificates = [{{ cert = \"{dir}/bench.pem\", key = \"{dir}/bench.key\" }}] }}\n")
        }
        _ => String::new(),
    };
    let upstream_protocol = if http2_upstream { "protocol = \"http2\"\n" } else { "" };
    let plugins = plugins(setup.variant);
    let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    let used = if names.is_empty() { String::new() } else { format!("plugins = {names:?}") };
    let declared = plugins.iter().map(Plugin::section).collect::<Result<String>>()?;
    Ok(format!(
        r#"workers = {workers}
admin = "{admin}"
admin-socket = "{socket}"
steering = "{steering}"
[access-log]
enabled = false
[[listeners]]
name = "bench"
address = {addresses:?}
protocol = "{protocol}"
cluster = "origin"
{tls}{used}
[clusters.origin]
endpoints = ["127.0.0.1:{upstream}"]
{upstream_protocol}{declared}"#
    ))
}

/// A plugin of the route.
struct Plugin {
    name: String,
    /// The file, without its ending.
    wasm: &'static str,
    /// Lines of its section beside the path.
    settings: &'static str,
}

/// The plugins of the route, in its order.
fn plugins(variant: Variant) -> Vec<Plugin> {
    let plugin = |wasm, settings| Plugin { name: String::from(wasm), wasm, settings };
    match variant {
        // Odin adds the forwarding fields always: there is nothing to turn on.
        Variant::Bare | Variant::Forwarded => Vec::new(),
        Variant::Plugin => vec![plugin("headers", "")],
        Variant::Chain => (0..10).map(|n| Plugin { name: format!("headers{n}"), ..plugin("headers", "") }).collect(),
        Variant::Fresh => vec![plugin("headers", "isolation = \"fresh\"\n")],
        Variant::Digest => PROCESSORS.map(|wasm| plugin(wasm, "")).into_iter().collect(),
        Variant::Pass => vec![plugin("pass", "")],
    }
}

impl Plugin {
    fn section(&self) -> Result<String> {
        let Plugin { name, wasm, settings } = self;
        let file = repository().join(format!("plugins/target/wasm32-unknown-unknown/release/{wasm}.wasm"));
        if !file.is_file() {
            bail!("{} is not there: `make guests`", file.display());
        }
        Ok(format!("[plugins.{name}]\npath = {:?}\n{settings}", file.display().to_string()))
    }
}
