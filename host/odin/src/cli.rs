//! The command line: what a person types becomes a [`Start`], from a config file or from flags alone.
//! Must never listen, load a plugin or print: `main` does.

mod start;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use odin_steer::Binding;

use crate::config::{self, Choice, Endpoint, Grant, Location, LogFormat, SteeringMode};

pub(crate) use start::{HTTP_CLUSTER, Roles, Start};

const EXAMPLES: &str = "\
Examples:
  odin --plugin lb_rr.wasm
      Two demo backends behind HTTP on 127.0.0.1:8080 and TCP on 127.0.0.1:7000; the plugin picks one for each request.
  odin --plugin lb_rr.wasm --target 10.0.0.1:80 --target 10.0.0.2:80,weight=3
      The same with your own backends.
  odin --listen 0.0.0.0:80 --target web.internal:8080 --plugin headers.wasm --plugin lb_rr.wasm
      HTTP only, on another address, through two plugins in this order.
  odin --plugin limit.wasm --grant log,shared
      A plugin that writes log lines and remembers across requests: both must be granted.
  odin --tcp 0.0.0.0:5001-5999 --target db.internal:5432
      TCP on a thousand ports; with the capabilities of configs/odin.service, one socket for each thread serves them.
  odin check odin.toml && odin -f odin.toml
      A config file, checked first. It is read again when it changes; Ctrl-C finishes what runs, then exits.
  odin diff new.toml && mv new.toml odin.toml
      What a change will do, line by line, before the running Odin takes it up.
  odin plugin swap lb_rr lb_random.wasm
      Another plugin in the place of one that serves, while it serves.
  odin upgrade
      The binary was replaced: the new one takes over from the running one, and no connection is lost.";

/// A programmable TCP and HTTP proxy: WebAssembly plugins decide, Odin moves the bytes.
#[derive(Clone, Debug, Parser)]
#[command(name = "odin", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// What Odin does instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a config file and its plugins; exit with 1 and every error when they are not good
    Check {
        /// The config: .toml, .yaml, .yml or .json
        file: PathBuf,
    },
    /// Show what a reload with this config would change: one line for each thing that goes (-), changes (~) or comes (+)
    Diff {
        /// The new config: .toml, .yaml, .yml or .json; it is checked first
        file: PathBuf,
        /// Compare with this config [default: what runs]
        #[arg(long, value_name = "FILE", conflicts_with = "socket")]
        against: Option<PathBuf>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Let the running Odin read its config again, and show what has changed
    Reload {
        #[command(flatten)]
        asked: Asked,
    },
    /// Change the plugins of the running Odin
    #[command(disable_help_subcommand = true)]
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Let the running Odin start the binary that is installed now and hand over to it; no connection is lost
    Upgrade {
        #[command(flatten)]
        asked: Asked,
    },
    /// Ask the running Odin how connections come to its workers
    #[command(disable_help_subcommand = true)]
    Steer {
        #[command(subcommand)]
        command: Steer,
    },
    /// Print the JSON Schema of the config, for editors and for checks without Odin
    Schema {
        /// Print a config with every key instead, as TOML
        #[arg(long)]
        example: bool,
        /// Print the reference page instead
        #[arg(long, conflicts_with = "example")]
        markdown: bool,
    },
    /// Serve a backend that answers with what it was asked, as JSON: for trying plugins out
    Echo {
        /// Where to listen
        #[arg(value_name = "IP:PORT", value_parser = config::socket_address, default_value = "127.0.0.1:9100")]
        address: SocketAddr,
    },
}

/// Which running Odin a command is for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Asked {
    /// The admin socket of the running Odin [default: that of the only one that runs here]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// What to do with a plugin.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Put this file in the place of a plugin that serves; if it does not load, the old one serves on
    Swap {
        /// The name of the plugin in the config; of `--plugin lb_rr.wasm` it is lb_rr
        name: String,
        /// The new .wasm file
        file: PathBuf,
        #[command(flatten)]
        asked: Asked,
    },
}

/// What to ask about steering.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Steer {
    /// List every address with how it is served, and how many connections it has had
    Status {
        #[command(flatten)]
        asked: Asked,
        /// Print what Odin answers as it is
        #[arg(long)]
        json: bool,
    },
}

/// The flags of serving.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Run {
    /// Read the config from a file: .toml, .yaml, .yml or .json
    #[arg(short = 'f', visible_short_alias = 'c', long = "file", visible_alias = "config", value_name = "FILE")]
    #[arg(conflicts_with_all = ["plugin", "grant", "listen", "tcp", "target"])]
    pub(crate) file: Option<PathBuf>,

    /// Use a plugin (repeatable, in this order); one that exports a balancer picks the targets
    #[arg(short, long, value_name = "WASM")]
    pub(crate) plugin: Vec<PathBuf>,

    /// Let the plugins of --plugin use log, clock, random, config, metrics or shared (repeatable) [default: none]
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',', value_parser = Grant::parse, requires = "plugin")]
    pub(crate) grant: Vec<Grant>,

    /// Serve HTTP here; PORT may be a range or `*`, IP a prefix; without --tcp, only HTTP [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "IP:PORT", value_parser = config::binding)]
    pub(crate) listen: Option<Binding>,

    /// Relay TCP here, as with --listen; without --listen, only TCP [default: 127.0.0.1:7000]
    #[arg(long, value_name = "IP:PORT", value_parser = config::binding)]
    pub(crate) tcp: Option<Binding>,

    /// Send traffic to this backend (repeatable) [default: two demo backends]
    #[arg(short, long, value_name = "HOST:PORT[,weight=N]", value_parser = target)]
    pub(crate) target: Vec<Endpoint>,

    /// Serve the admin pages here, or `off` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "IP:PORT|off", value_parser = admin)]
    pub(crate) admin: Option<AdminFlag>,

    /// Take orders over this unix socket, or `off` [default: one in the runtime folder, which the start line tells]
    #[arg(long, value_name = "PATH|off", value_parser = admin_socket)]
    pub(crate) admin_socket: Option<Location>,

    /// How log lines are written [default: text]
    #[arg(long, value_name = "text|json", value_parser = choice::<LogFormat>(), hide_possible_values = true)]
    pub(crate) log_format: Option<LogFormat>,

    /// How connections come to the threads: by a BPF program, by a socket for each port, or what is possible [default: auto; bind without --listen, --tcp and --file]
    #[arg(long, value_name = "auto|bpf|bind", value_parser = choice::<SteeringMode>(), hide_possible_values = true)]
    pub(crate) steering: Option<SteeringMode>,

    /// Threads [default: one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) workers: Option<u64>,
}

/// The value of `--admin`: none for `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdminFlag(pub(crate) Option<SocketAddr>);

/// `HOST:PORT` or `HOST:PORT,weight=N`.
fn target(text: &str) -> Result<Endpoint, String> {
    let (address, weight) = match text.split_once(',') {
        None => (text, 1),
        Some((address, option)) => {
            let weight = option
                .strip_prefix("weight=")
                .ok_or_else(|| format!("`{option}` is not an option of a target; write {address},weight=2"))?;
            let weight = weight.parse().ok().filter(|weight| (1..=65_535).contains(weight));
            (address, weight.ok_or_else(|| format!("`{option}` is not a weight; write a number from 1 to 65535"))?)
        }
    };
    Ok(Endpoint { weight, ..Endpoint::new(config::endpoint_address(address)?) })
}

fn admin(text: &str) -> Result<AdminFlag, String> {
    match text {
        "off" => Ok(AdminFlag(None)),
        address => config::socket_address(address).map(|address| AdminFlag(Some(address))),
    }
}

fn admin_socket(text: &str) -> Result<Location, String> {
    match text {
        "off" => Ok(Location::Off),
        "" => Err("it is empty; name a path".to_owned()),
        path => std::path::absolute(path).map(Location::At).map_err(|error| error.to_string()),
    }
}

/// One of the words that a key of the config takes.
fn choice<T: Choice>() -> impl TypedValueParser<Value = T> {
    let words = PossibleValuesParser::new(T::ALL.iter().map(|(word, ..)| *word));
    words.try_map(|text| T::ALL.iter().find(|(word, ..)| *word == text).map(|(_, choice, _)| *choice).ok_or("no word"))
}

#[cfg(test)]
mod tests;
