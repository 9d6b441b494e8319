//! How this process compiles plugins: in a child process of itself, and where the results are kept from one start to the
//! next. The folder is the first of these that the environment names:
//!
//! | folder | for |
//! |---|---|
//! | `$CACHE_DIRECTORY` | a service of systemd with `CacheDirectory=` |
//! | `$XDG_CACHE_HOME/odin`, `$HOME/.cache/odin` | everybody else |
//!
//! The runtime uses it only if nobody but this user can write it, and says so in the log otherwise.

use std::path::PathBuf;

use odin_runtime::{Compile, CompileLimits};

use crate::config::{Config, Location};

/// The first argument of a process that only compiles. No command of the command line: nobody types it.
pub(crate) const SUBCOMMAND: &str = "compile-plugin-for-odin";

/// How the plugins of this config are compiled.
pub(crate) fn compile(config: &Config) -> Compile {
    let cache = match &config.compile_cache {
        Location::Default => default_folder(),
        Location::Off => None,
        Location::At(path) => Some(path.clone()),
    };
    Compile::Child(CompileLimits {
        subcommand: SUBCOMMAND,
        cpu: config.compile_timeout,
        memory_bytes: config.compile_memory,
        cache,
    })
}

fn default_folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    named("CACHE_DIRECTORY")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("odin")))
        .or_else(|| Some(named("HOME")?.join(".cache/odin")))
}
