//! pontage: one binary that stands in front of an HTTP API and charges the programs that use it.

mod chain;
mod config;
mod front;
mod host;
mod init;
mod ledger;
mod link;
mod log;
mod pay;
mod problem;
mod reload;
mod remote;
mod run;
mod sandbox;
mod snapshot;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Stands in front of an HTTP API and charges the programs that use it.
#[derive(Parser)]
#[command(name = "pontage", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a starter configuration.
    Init {
        /// Where to. An existing file is never overwritten.
        #[arg(short, long, default_value = "pontage.yaml")]
        config: PathBuf,
    },
    /// Check a configuration and report every mistake at once. Asks no chain.
    Validate {
        /// The configuration.
        #[arg(short, long, default_value = "pontage.yaml")]
        config: PathBuf,
    },
    /// Charge for real.
    Start {
        /// The configuration.
        #[arg(short, long, default_value = "pontage.yaml")]
        config: PathBuf,
    },
    /// Like start, on Base Sepolia (eip155:84532) alone, with logs for people. Test money only.
    Dev {
        /// The configuration.
        #[arg(short, long, default_value = "pontage.yaml")]
        config: PathBuf,
    },
    /// A chain, a gate, four demo services and a funded wallet in this process, and one paid call. Needs nothing else.
    Sandbox(sandbox::SandboxArgs),
    /// Run the sandbox's chain alone: an EVM with test USDC and Multicall3, answering JSON-RPC. Test money only.
    Devnet(sandbox::DevnetArgs),
    /// The books: compare them with the chain, show balances and payments, export rows. Works while a gate runs.
    Ledger(ledger::LedgerArgs),
    /// Print the version.
    Version,
    /// Pay for one call and print the exchange as JSON: the payer of the sandbox.
    #[command(name = "__pay", hide = true)]
    Pay(pay::PayArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Init { config } => init::write(&config),
        Command::Validate { config } => run::validate(&config),
        Command::Start { config } => run::start(&config, run::Mode::Live),
        Command::Dev { config } => run::start(&config, run::Mode::Dev),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Devnet(args) => sandbox::devnet(&args),
        Command::Ledger(args) => return ledger::run(&args),
        Command::Version => say(concat!("pontage ", env!("CARGO_PKG_VERSION"))),
        Command::Pay(args) => pay::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With nobody to read it, the exit code still says it.
            writeln!(std::io::stderr(), "pontage: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Prints one line on standard output.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
