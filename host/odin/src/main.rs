//! The binary: reads flags and config, starts the data path, serves the admin pages, obeys signals.
//!
//! Everything here runs on the main thread; no request ever waits for it.

mod admin;
mod assemble;
mod cli;
mod config;
mod demo;
mod logging;
mod odin;
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
        Some(Command::Check { file }) => match cli::check(&file) {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(errors) => fail(&errors),
        },
        None => match serve(cli.run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format_args!("{error:#}")),
        },
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("odin: {error}");
    ExitCode::FAILURE
}

fn serve(run: cli::Run) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(signals::run(run))
}
