//! pontage: one binary that stands in front of an HTTP API and charges the programs that use it.

mod chain;
mod cli;
mod config;
mod front;
mod host;
mod init;
mod ledger;
#[cfg_attr(not(test), expect(dead_code, reason = "the front does not ask it yet"))]
mod limits;
mod log;
mod pay;
mod problem;
mod reload;
mod run;
mod sandbox;
mod snapshot;
#[cfg_attr(not(test), expect(dead_code, reason = "the front does not ask it yet"))]
mod source;
#[cfg_attr(not(test), expect(dead_code, reason = "the front does not ask it yet"))]
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
