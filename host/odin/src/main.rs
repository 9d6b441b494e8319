//! The binary: reads flags and config, starts the data path, serves the admin pages, obeys signals.
//!
//! Everything here runs on the main thread; no request ever waits for it.

mod admin;
mod assemble;
mod check;
mod cli;
mod config;
mod demo;
mod echo;
mod logging;
mod odin;
mod plugin_metrics;
mod plugin_spec;
mod prometheus;
mod signals;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use tokio::runtime::{Builder, LocalOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Check { file }) => match check::check(&file) {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(errors) => fail(&errors),
        },
        Some(Command::Echo { address }) => done(block_on(echo::serve(address))),
        None => done(block_on(signals::run(cli.run))),
    }
}

fn done(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format_args!("{error:#}")),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("odin: {error}");
    ExitCode::FAILURE
}

fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?.block_on(future)
}
