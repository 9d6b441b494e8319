//! `odin-bench`: what a request, a connection and a gigabyte cost in Odin, nginx, HAProxy and Envoy, side by side.
//!
//! It runs everything in a sandbox of its own (network and process namespace) and must leave nothing behind: no
//! process, no setting, no temporary file unless a run failed and its logs are worth reading.

mod case;
mod certificate;
mod cpu;
mod limits;
mod load;
mod machine;
mod memory;
mod options;
mod origin;
mod peers;
mod plot;
mod plugins;
mod report;
mod results;
mod run;
mod sandbox;
mod stats;
mod steer;
mod sweep;
mod table;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

fn main() -> Result<ExitCode> {
    let options = options::Options::parse();
    match sandbox::Inside::detect()? {
        None => sandbox::enter(&options),
        Some(inside) => {
            let results = run::all(&options, &inside)?;
            report::write(&options, &results)?;
            Ok(if results.any_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}
