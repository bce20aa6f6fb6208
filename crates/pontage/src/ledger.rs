//! `pontage ledger`: the books as an operator reads them, and whether they say what the chain says.
//!
//! Everything here reads the journal and the nodes, and writes nothing; it works while a gate runs.

mod audit;
mod export;
pub(crate) mod print;
mod reconcile;
mod seal;
mod show;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use store::Ledger;

use crate::config::{Config, LogConfig};
use crate::run;
use audit::AuditArgs;
use export::ExportArgs;
use print::Format;
use show::ShowArgs;

pub(crate) use print::Assets;
pub(crate) use reconcile::ReconcileArgs;
pub(crate) use seal::Sealer;

/// What `pontage ledger` is given.
#[derive(Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Recompute the books and compare them with the chain. Ends with 0 when they agree, 1 with differences, 2 when it could not be
    /// found out.
    Audit(AuditArgs),
    /// Show balances and what is on the tab, or the story of one payment.
    Show(ShowArgs),
    /// Print payments or entries as rows.
    Export(ExportArgs),
}

/// What every command of the books takes.
#[derive(Args)]
struct Common {
    /// The configuration. It names the journal, the networks and their nodes.
    #[arg(short, long, default_value = "pontage.yaml")]
    config: PathBuf,
    /// How to print it. `--json` means json.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Common {
    fn load(&self) -> anyhow::Result<Config> {
        run::load(&self.config, run::Mode::Live)
    }
}

impl LedgerArgs {
    fn common(&mut self) -> &mut Common {
        match &mut self.what {
            What::Audit(args) => &mut args.common,
            What::Show(args) => &mut args.common,
            What::Export(args) => &mut args.common,
        }
    }
}

/// Opens the journal of a configuration, at this moment.
fn open(config: &Config) -> anyhow::Result<Ledger> {
    let path = config.store_path.display();
    if !config.store_path.is_file() {
        bail!("store.path {path}: there is no journal. A gate makes it when it first starts");
    }
    Ledger::open(&config.store_path).with_context(|| format!("store.path {path}"))
}

/// Runs a command of the books.
pub(crate) fn run(mut args: LedgerArgs, json: bool) -> ExitCode {
    if json {
        args.common().format = Format::Json;
    }
    let logs = crate::log::start(run::Mode::Dev, &LogConfig::default());
    let (outcome, failed) = match &args.what {
        What::Audit(args) => (logs.and_then(|_log| audit::run(args)), ExitCode::from(2)),
        What::Show(args) => (logs.and_then(|_log| show::run(args)).map(|()| ExitCode::SUCCESS), ExitCode::FAILURE),
        What::Export(args) => (logs.and_then(|_log| export::run(args)).map(|()| ExitCode::SUCCESS), ExitCode::FAILURE),
    };
    ended(outcome, failed)
}

/// Runs `pontage reconcile`.
pub(crate) fn reconcile(mut args: ReconcileArgs, json: bool) -> ExitCode {
    if json {
        args.common.format = Format::Json;
    }
    let logs = crate::log::start(run::Mode::Dev, &LogConfig::default());
    ended(logs.and_then(|_log| reconcile::run(&args)), ExitCode::from(2))
}

fn ended(outcome: anyhow::Result<ExitCode>, failed: ExitCode) -> ExitCode {
    match outcome {
        Ok(code) => code,
        // Whoever reads has enough: `| head`.
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // With nobody to read it, the exit code still says it.
            writeln!(std::io::stderr(), "pontage: {error:#}").ok();
            failed
        }
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
