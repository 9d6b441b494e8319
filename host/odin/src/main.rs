//! The binary: reads flags and config, starts the data path, serves the admin pages, obeys signals.
//!
//! Everything here runs on the main thread, but for what takes long with a large config ([`background`]); no request ever
//! waits for either.

mod acme;
mod admin;
mod assemble;
mod background;
mod banner;
mod check;
mod cli;
mod client;
mod commands;
mod compile_cache;
mod config;
mod demo;
mod diff;
mod echo;
mod files;
mod life;
mod logging;
mod memory;
mod plugin_metrics;
mod plugin_spec;
mod privileges;
mod prometheus;
mod resolve;
mod runtime_folder;
mod sockets;
mod steering;
mod systemd;
mod tls;
mod upgrade;
mod uses;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, PluginCommand, Steer};
use tokio::runtime::{Builder, LocalOptions};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(compile_cache::SUBCOMMAND) {
        return odin_runtime::compile_child(&arguments.collect::<Vec<_>>());
    }
    let cli = Cli::parse();
    refuse_huge_pages();
    match cli.command {
        Some(Command::Check { file }) => done(block_on(async {
            println!("{}", check::check(&file).await?);
            Ok(())
        })),
        Some(Command::Diff { file, against, asked }) => {
            done(block_on(commands::diff(&file, against.as_deref(), asked.socket)))
        }
        Some(Command::Reload { asked }) => done(block_on(commands::reload(asked.socket))),
        Some(Command::Plugin { command: PluginCommand::Swap { name, file, asked } }) => {
            done(block_on(commands::swap(&name, &file, asked.socket)))
        }
        Some(Command::Upgrade { asked }) => done(block_on(commands::upgrade(asked.socket))),
        Some(Command::Steer { command: Steer::Status { asked, json } }) => {
            done(block_on(commands::steer_status(asked.socket, json)))
        }
        Some(Command::Schema { example, markdown }) => done(commands::schema(example, markdown)),
        Some(Command::Echo { address }) => done(block_on(echo::serve(address))),
        None => done(block_on(life::run(cli.run))),
    }
}

/// The kernel would fill the holes between small allocations with zeros, two megabytes at a time: a serving process
/// doubles, and grows for minutes. On a kernel that cannot be asked Odin is larger, and works.
fn refuse_huge_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn done(result: anyhow::Result<()>) -> ExitCode {
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format_args!("{error:#}")),
    };
    logging::finish();
    code
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    banner::say!("{error}");
    ExitCode::FAILURE
}

fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let result = runtime.block_on(future);
    // A resolver that does not answer keeps nobody from leaving.
    runtime.shutdown_background();
    result
}
