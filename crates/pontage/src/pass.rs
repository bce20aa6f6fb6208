//! `pontage pass`: passes that are out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use alloy_primitives::hex;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use ledger::HoldId;
use serde_json::{Value, json};
use store::{Handle, OpenFault};

use crate::config::{Config, LogConfig, LogLevel};
use crate::owner::{self, Command};
use crate::run::{self, Mode, Options};
use crate::say;

/// How long a journal is waited for that another process is about to let go of, or about to listen beside.
const OWNER_WAIT: Duration = Duration::from_secs(60);

/// What `pontage pass` is given.
#[derive(Args)]
pub(crate) struct PassArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Take a pass back: it opens nothing from now on. Its money is not given back by that (`pontage refund` does).
    Revoke {
        /// The id of the payment that bought it (32 hex digits; `jti` in the pass).
        payment: String,
        /// The configuration. It names the journal.
        #[arg(short, long, default_value = "pontage.yaml")]
        config: PathBuf,
    },
}

/// Does it, and says by the exit code whether there is such a pass.
pub(crate) fn run(args: &PassArgs, json: bool) -> anyhow::Result<ExitCode> {
    let Act::Revoke { payment, config } = &args.act;
    let Ok(id) = hex::decode_to_array(payment) else { bail!("{payment} is no payment's id: it has 32 hex digits") };
    let _log = crate::log::start(Mode::Dev, &LogConfig { level: LogLevel::Warn, ..LogConfig::default() })?;
    let config = Options::new(Mode::Live).load(config)?;
    if !config.store_path.is_file() {
        bail!("store.path {}: there is no journal. A gate makes it when it first starts", config.store_path.display());
    }
    let answer = done(&config, HoldId(id))?;
    let is_revoked = answer["state"] == "revoked";
    match (json, is_revoked) {
        (true, _) => say(&format!("{answer:#}"))?,
        (false, true) => say(&format!("revoked: the pass of payment {payment} opens nothing any more"))?,
        (false, false) => bail!("no payment with the id {payment} bought a pass"),
    }
    Ok(if is_revoked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Has it done by the process that has the journal, or does it where there is none.
fn done(config: &Config, payment: HoldId) -> anyhow::Result<Value> {
    let end = Instant::now() + OWNER_WAIT;
    loop {
        if let Some(answer) = owner::ask(&config.store_path, &Command::RevokePass(payment))? {
            return Ok(answer);
        }
        match alone(config, payment) {
            // A gate that is starting or stopping, or another command.
            Err(error) if matches!(error.downcast_ref(), Some(OpenFault::Locked)) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(100));
            }
            answer => return answer,
        }
    }
}

fn alone(config: &Config, payment: HoldId) -> anyhow::Result<Value> {
    let store = run::open_store(config, &config.store_path, "gate")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let journal = store.handle()?;
    let answer = runtime.block_on(revoke(&journal, payment))?;
    store.fold().ok();
    Ok(answer)
}

/// Takes a pass back, and says what it is now.
pub(crate) async fn revoke(journal: &Handle, payment: HoldId) -> anyhow::Result<Value> {
    let is_revoked = journal.revoke_pass(payment).await.context("the journal did not take it: ask again")?;
    Ok(json!({ "payment": payment.to_string(), "state": if is_revoked { "revoked" } else { "unknown" } }))
}
