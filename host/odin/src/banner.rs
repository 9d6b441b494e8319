//! What a start tells on standard error. The lines are part of the interface: tests and scripts read them.

use std::fmt;

use crate::admin::Serving;
use crate::life::Odin;
use crate::logging;
use crate::plugin_spec;
use crate::privileges::Dropped;
use crate::sockets::Statuses;

/// Prints a line in one piece: an old and a new process share what they print to.
macro_rules! say {
    ($($words:tt)*) => { crate::banner::print_line(format_args!($($words)*)) };
}
pub(crate) use say;

/// For [`say`].
pub(crate) fn print_line(words: fmt::Arguments<'_>) {
    logging::line(format!("odin: {words}\n").as_bytes());
}

/// Lines for one listener; a range of ports is one, but thousands of single ones may be listed.
const MAX_LINES: usize = 8;

/// What was given up at the start.
pub(crate) fn privileges(dropped: &Dropped) {
    if let Some(user) = &dropped.user {
        say!("running as {user}");
    }
    if dropped.capabilities {
        say!("capabilities dropped");
    }
}

/// What listens where, and what a newcomer may try.
pub(crate) fn print(odin: &Odin, admin: &Serving, demo: bool) {
    let assembly = odin.assembly();
    let mut http = None;
    for listener in &assembly.config.listeners {
        let scheme = match (listener.traffic.protocol(), &listener.tls) {
            ("http", Some(_)) => "https",
            ("tcp", Some(_)) => "tls",
            (protocol, _) => protocol,
        };
        let bindings = odin.with_sockets(|sockets| sockets.bindings(listener, &Statuses::default()));
        let (served, unserved): (Vec<_>, Vec<_>) = bindings.iter().partition(|binding| binding.serving);
        for binding in served.iter().take(MAX_LINES) {
            say!("listening on {scheme}://{} ({})", binding.address, listener.name);
        }
        if served.len() > MAX_LINES {
            say!("... and on {} more ({})", served.len() - MAX_LINES, listener.name);
        }
        for binding in unserved {
            let reason = binding.reason.as_deref().unwrap_or_default();
            say!("NOT listening on {} ({}): {reason}", binding.address, listener.name);
        }
        if scheme == "http" {
            http = http.or_else(|| served.first().map(|binding| binding.address.clone()));
        }
    }
    match odin.with_sockets(|sockets| (sockets.is_steered(), sockets.reason().map(str::to_owned))) {
        (true, _) => {
            let pid = std::process::id();
            say!("steering by bpf: process {pid} has these ports, which ss does not show; `odin steer status` does");
        }
        (false, Some(reason)) => say!("steering by bind: {reason}"),
        (false, None) => {}
    }
    let places = admin.places();
    if let Some(address) = places.tcp {
        let scheme = if assembly.tls.admin().is_some() { "https" } else { "http" };
        say!("admin on {scheme}://{address}");
    }
    if let Some(path) = &places.socket {
        say!("admin socket {}", path.display());
    }
    if let Some(fault) = admin.fault() {
        say!("NO admin socket: {fault}; name a path with `admin-socket`");
    }
    for (name, loaded) in &assembly.plugins {
        let hooks = plugin_spec::hook_names(loaded.plugin.hooks()).join(", ");
        say!("plugin {name} ({hooks}) from {}", loaded.section.path.display());
    }
    if let Some(address) = http
        && demo
    {
        say!("try: curl http://{address}");
        if assembly.plugins.is_empty() {
            say!("no plugin: endpoints are picked by the built-in round robin; add one with --plugin FILE");
        }
    }
    say!("ready");
}
