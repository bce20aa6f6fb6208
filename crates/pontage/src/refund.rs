//! `pontage refund`: money that is given back, from the refunds wallet or by hand.

mod desk;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use serde_json::Value;
use store::OpenFault;
use tokio::task::LocalSet;

pub(crate) use desk::{Ask, Desk, wallet};

use crate::config::{Config, LogConfig, LogLevel};
use crate::nodes;
use crate::owner::{self, Command};
use crate::reload::Reload;
use crate::run::{self, Lifeline, Mode, Options};
use crate::say;

/// How long a journal is waited for that another process is about to let go of, or about to listen beside.
const OWNER_WAIT: Duration = Duration::from_secs(60);

/// What `pontage refund` is given.
#[derive(Args)]
pub(crate) struct RefundArgs {
    /// The payment's id (32 hex digits).
    #[arg(required_unless_present = "due", conflicts_with = "due")]
    payment: Option<String>,
    /// How much, in the asset itself, such as 0.005. Without it: whatever is left to give back.
    #[arg(long, conflicts_with = "due")]
    amount: Option<String>,
    /// Tells two refunds of the same amount apart: without it, asking again for the same is asking for one.
    #[arg(long, default_value = "", conflicts_with = "due")]
    key: String,
    /// Give back everything that is owed.
    #[arg(long)]
    due: bool,
    /// Do not pay it from the wallet: print the transfer for somebody to sign.
    #[arg(long)]
    unsigned: bool,
    /// Somebody has paid it by hand, in this transaction.
    #[arg(long, value_name = "TX", conflicts_with_all = ["due", "unsigned"])]
    settled_by: Option<String>,
    /// The configuration. It names the journal, the networks, the wallet's key and the settlement key.
    #[arg(short, long, default_value = "pontage.yaml")]
    config: PathBuf,
}

/// Gives money back, prints what came of it, and says by the exit code how it went.
pub(crate) fn run(args: &RefundArgs, json: bool) -> anyhow::Result<ExitCode> {
    let _log = crate::log::start(Mode::Dev, &LogConfig { level: LogLevel::Warn, ..LogConfig::default() })?;
    let options = Options::new(Mode::Live);
    let config = options.load(&args.config)?;
    if !config.store_path.is_file() {
        bail!("store.path {}: there is no journal. A gate makes it when it first starts", config.store_path.display());
    }
    let command = match &args.payment {
        Some(payment) => Command::Refund(Ask {
            payment: payment.clone(),
            amount: args.amount.clone(),
            key: args.key.clone(),
            by_hand: args.unsigned,
            settled_by: args.settled_by.clone(),
        }),
        None => Command::RefundDue { by_hand: args.unsigned },
    };
    let answer = done(&args.config, &config, &options, &command)?;
    if json {
        say(&format!("{answer:#}"))?;
    } else {
        print(&answer)?;
    }
    Ok(ExitCode::from(exit_code(&answer)))
}

/// Has it done by the process that has the journal, or does it where there is none.
fn done(path: &Path, config: &Config, options: &Options, command: &Command) -> anyhow::Result<Value> {
    let end = Instant::now() + OWNER_WAIT;
    loop {
        if let Some(answer) = owner::ask(&config.store_path, command)? {
            return Ok(answer);
        }
        match alone(path, config, options, command) {
            // A gate that is starting or stopping, or another command.
            Err(error) if matches!(error.downcast_ref(), Some(OpenFault::Locked)) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(100));
            }
            answer => return answer,
        }
    }
}

/// Takes the journal, does what a start does with what was left in it, and works on one command.
fn alone(path: &Path, config: &Config, options: &Options, command: &Command) -> anyhow::Result<Value> {
    let key = wallet(config)?;
    let store = run::open_store(config, &config.store_path, "gate")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (lifeline, _ended) = Lifeline::new();
    let reload = Reload::new(path, config.clone(), options.clone());
    let (links, readers) = runtime.block_on(async {
        if !config.signers.is_empty() && config.refunds.signer.is_some() {
            let keys = run::settlement_keys(config).await?;
            let links = run::start_chains(config, &keys, &store, &lifeline, &reload.plans()).await?;
            return anyhow::Ok((links, Vec::new()));
        }
        // Others settle, or somebody pays by hand: there is nothing to start, and the chain is only read.
        let mut readers = Vec::new();
        for network in config.networks.iter().filter(|network| !network.rpc_urls.is_empty()) {
            readers.push((network.network, nodes::start(network, &store).await?));
        }
        Ok((Vec::new(), readers))
    })?;
    let desk = Desk::new(config, key, &store, &links, readers)?;
    let answer = LocalSet::new().block_on(&runtime, desk.run(command))?;
    store.fold().ok();
    Ok(answer)
}

/// 1: something is refused. 2: something has not moved yet.
fn exit_code(answer: &Value) -> u8 {
    let list = |name: &str| answer[name].as_array().map_or(&[][..], Vec::as_slice);
    let waits = |refund: &Value| matches!(refund["state"].as_str(), Some("due" | "submitted"));
    if !list("refused").is_empty() {
        1
    } else if list("refunds").iter().any(waits) || answer["left"] != 0 {
        2
    } else {
        0
    }
}

fn print(answer: &Value) -> anyhow::Result<()> {
    let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    for refusal in list("refused") {
        let text = |name: &str| refusal[name].as_str().unwrap_or_default();
        writeln!(std::io::stderr(), "pontage: payment {}: {} ({})", text("payment"), text("message"), text("code"))?;
    }
    for refund in list("refunds") {
        say(&line(&refund))?;
        if refund["unsigned"].is_object() {
            say(&format!("{:#}", refund["unsigned"]))?;
        }
    }
    let left = answer["left"].as_u64().unwrap_or_default();
    if left > 0 {
        say(&format!("{left} more payments are owed back: run the same command again"))?;
    }
    if list("refunds").is_empty() && list("refused").is_empty() {
        say("nothing is owed back")?;
    }
    Ok(())
}

/// One refund in words.
fn line(refund: &Value) -> String {
    let text = |name: &str| refund[name].as_str().unwrap_or_default();
    let (amount, to, chain_tx, wallet) = (text("amount_words"), text("to"), text("chain_tx"), text("wallet"));
    let again = "A running gate sends it when it can; without one run the command again";
    let words = match (text("state"), text("problem")) {
        ("refunded", _) => format!("refunded: {amount} to {to} in {chain_tx} (block {})", refund["block"]),
        ("submitted", _) => format!("submitted: {amount} to {to} in {chain_tx}, in no block yet. {again}"),
        ("awaiting", _) => format!("to be paid by hand: {amount} to {to}. Then run it with --settled-by TX"),
        (_, "wallet_empty") => format!("due: {amount} to {to}; the refunds wallet {wallet} has less: fund it. {again}"),
        (_, "daily_cap") => {
            format!("due: {amount} to {to}; the day's cap (refunds.daily_cap_usd) has no room. {again}")
        }
        (_, "token_refuses") => format!("due: {amount} to {to}; the token refuses the transfer. {again}"),
        (_, _) => format!("due: {amount} to {to}; it could not be sent now. {again}"),
    };
    format!("{words}\nrefund {} of payment {}", text("refund"), text("payment"))
}
