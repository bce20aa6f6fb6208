//! pontage: one binary that stands in front of an HTTP API and charges the programs that use it.

mod accounts;
mod admin;
mod backup;
mod cache;
mod chain;
mod cli;
mod config;
mod forget;
mod front;
mod heartbeat;
mod host;
mod init;
mod ledger;
mod limits;
mod link;
mod log;
mod maintenance;
mod metrics;
mod nodes;
mod operation;
mod operator;
mod owner;
mod pass;
mod pay;
mod plan;
mod price;
mod problem;
mod receipt;
mod refund;
mod reload;
mod remote;
mod run;
mod sandbox;
mod service;
mod signer;
mod source;
mod telemetry;
mod trace;
mod turns;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}

/// Prints one line on standard output.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
