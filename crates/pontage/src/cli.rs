//! The command line. docs/cli.md has what each command promises, and its exit codes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::json;

use crate::run::{Mode, Options};
use crate::{backup, config, init, ledger, operator, pass, pay, receipt, refund, run, sandbox, say, service, signer};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the addresses of facilitators are looked for when no flag names one, in this order.
const FACILITATOR_VARIABLES: [&str; 2] = ["PONTAGE_FACILITATOR_URL", "PAY_GATE_FACILITATOR_URL"];

/// A variable that others read for the same thing. It is not ours, so it is named and not read.
const FOREIGN_VARIABLE: &str = "FACILITATOR_URL";

/// More of them are a mistake of a script.
const MAX_FACILITATORS: usize = 16;

/// Stands in front of an HTTP API and charges the programs that use it.
#[derive(Parser)]
#[command(name = "pontage", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    /// Print JSON for programs in place of words for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused: a mistake in the configuration, or something that a start needs is missing; `ledger audit`, `reconcile`: differences;
     `receipt verify`: invalid
  2  a command line that is not understood; `ledger audit`, `reconcile`: it could not be found out; `refund`: it has not moved yet;
     `receipt verify`: it cannot be said";

#[derive(Subcommand)]
enum Command {
    /// Write a configuration: ask for what it needs, or take it from flags.
    Init(init::InitArgs),
    /// Check a configuration and report every mistake at once. Asks no chain.
    Validate(FileArgs),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Charge for real.
    Start {
        #[command(flatten)]
        gate: GateArgs,
        /// Forward nothing: answer another proxy's questions at /__pay/check.
        #[arg(long)]
        sidecar: bool,
    },
    /// Like start, on Base Sepolia (eip155:84532) alone, with logs for people. Test money only.
    Dev(GateArgs),
    /// Settle payments for other x402 servers: POST /verify and /settle, GET /supported and /discovery.
    Facilitator {
        /// The configuration, which has `service` in it.
        #[arg(short, long, default_value = "facilitator.yaml")]
        config: PathBuf,
        /// Listen on this port, in place of the one in `listen`.
        #[arg(short, long)]
        port: Option<u16>,
    },
    /// Take every payment without a look at it. Moves no money; for tests of clients.
    Mock(GateArgs),
    /// A chain, a gate, four demo services and a funded wallet in this process, and one paid call. Needs nothing else.
    Sandbox(sandbox::SandboxArgs),
    /// Run the sandbox's chain alone: an EVM with test USDC and Multicall3, answering JSON-RPC. Test money only.
    Devnet(sandbox::DevnetArgs),
    /// The books: compare them with the chain, show balances and payments, export rows. Works while a gate runs.
    Ledger(ledger::LedgerArgs),
    /// Lay books, chain and served calls side by side: each payment with its state and what is to be done. Ends as `ledger audit` does.
    Reconcile(ledger::ReconcileArgs),
    /// Give money back for a payment, whole or in part. Asked for twice it moves once. Ends with 1 where it is refused, 2 where it has
    /// not moved yet.
    Refund(refund::RefundArgs),
    /// Use the admin API of a running gate: keys, balances, usage, admins, maintenance. A table on a terminal, JSON elsewhere.
    Admin(operator::AdminArgs),
    /// Copy the journal, also while a gate runs, and check the copy.
    Backup(backup::BackupArgs),
    /// Check a copy of a journal, and put it where the configuration wants its journal. Nothing is written over.
    Restore(backup::BackupArgs),
    /// Passes that are out: take one back.
    Pass(pass::PassArgs),
    /// Receipts of calls: check one without asking anybody.
    Receipt(receipt::ReceiptArgs),
    /// Keep a settlement key in a process of its own, which signs settlements alone, over a local socket.
    Signer(signer::SignerArgs),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page.
    Man {
        /// Write one page for each command into this folder, which must exist.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Print the version.
    Version,
    /// Ask a gate whether it is ready: for containers, which have no other tool to ask with.
    #[command(hide = true)]
    Health {
        /// What is asked.
        #[arg(long, default_value = "http://127.0.0.1:8402/readyz")]
        url: String,
    },
    /// Pay for one call and print the exchange as JSON: the payer of the sandbox.
    #[command(name = "__pay", hide = true)]
    Pay(pay::PayArgs),
}

/// Which configuration.
#[derive(Args)]
struct FileArgs {
    /// The configuration.
    #[arg(short, long, default_value = "pontage.yaml")]
    config: PathBuf,
}

/// What a gate is started with.
#[derive(Args)]
struct GateArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Listen on this port, in place of the one in `listen`.
    #[arg(short, long)]
    port: Option<u16>,
    /// Settle at this facilitator, in place of those in the configuration; once for each. PONTAGE_FACILITATOR_URL and
    /// PAY_GATE_FACILITATOR_URL stand in for it, with commas between.
    #[arg(long, value_name = "URL")]
    facilitator_url: Vec<String>,
}

/// Runs the command of the process.
pub(crate) fn run() -> ExitCode {
    let Cli { json, command } = Cli::parse();
    let outcome = match command {
        Command::Init(args) => init::run(&args, json),
        Command::Validate(args) => return run::validate(&args.config, json).unwrap_or_else(|error| failed(&error)),
        Command::Schema => say(&format!("{:#}", config::schema())),
        Command::Start { gate, sidecar } => start(gate, Mode::Live, sidecar, json),
        Command::Dev(gate) => start(gate, Mode::Dev, false, json),
        Command::Facilitator { config, port } => service::start(&config, port, json),
        Command::Mock(gate) => start(gate, Mode::Mock, false, json),
        Command::Sandbox(args) => sandbox::run(&args, json),
        Command::Devnet(args) => sandbox::devnet(&args),
        Command::Ledger(args) => return ledger::run(args, json),
        Command::Reconcile(args) => return ledger::reconcile(args, json),
        Command::Refund(args) => return refund::run(&args, json).unwrap_or_else(|error| failed(&error)),
        Command::Admin(args) => return operator::run(&args, json).unwrap_or_else(|error| failed(&error)),
        Command::Backup(args) => backup::backup(&args, json),
        Command::Restore(args) => backup::restore(&args, json),
        Command::Pass(args) => return pass::run(&args, json).unwrap_or_else(|error| failed(&error)),
        Command::Receipt(args) => return receipt::run(args, json),
        Command::Signer(args) => signer::run(&args),
        Command::Completions { shell } => completions(shell),
        Command::Man { dir } => man(dir.as_deref()),
        Command::Version => version(json),
        Command::Health { url } => health(&url),
        Command::Pay(args) => pay::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // With nobody to read it, the exit code still says it.
    writeln!(std::io::stderr(), "pontage: {error:#}").ok();
    ExitCode::FAILURE
}

fn start(gate: GateArgs, mode: Mode, sidecar: bool, json: bool) -> anyhow::Result<()> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let facilitator_urls = facilitators(gate.facilitator_url, &env).unwrap_or_else(|wrong| wrong.exit());
    let options = Options { sidecar, port: gate.port, facilitator_urls, json, ..Options::new(mode) };
    run::start(&gate.file.config, options)
}

/// The facilitators of the flags, else of the environment.
fn facilitators(flags: Vec<String>, env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, clap::Error> {
    let written = FACILITATOR_VARIABLES.iter().find_map(|name| Some((*name, env(name)?)));
    let (place, urls) = match written {
        Some((name, value)) if flags.is_empty() => {
            (name, value.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect())
        }
        _ => ("--facilitator-url", flags),
    };
    if urls.len() > MAX_FACILITATORS {
        return Err(usage(format!("{place}: {} facilitators are more than {MAX_FACILITATORS}", urls.len())));
    }
    // The address itself may hold an access key, so what is wrong with it is said without it.
    if let Some(why) = urls.iter().find_map(|url| url_mistake(url)) {
        return Err(usage(format!("{place}: {why}; write one such as https://facilitator.example/base")));
    }
    if urls.is_empty() && env(FOREIGN_VARIABLE).is_some() {
        let [ours, _] = FACILITATOR_VARIABLES;
        writeln!(std::io::stderr(), "pontage: {FOREIGN_VARIABLE} is set and not read; write {ours} if you mean it")
            .ok();
    }
    Ok(urls)
}

/// A command line that is not understood. Nothing of it is repeated.
pub(crate) fn usage(what: String) -> clap::Error {
    Cli::command().error(ErrorKind::ValueValidation, what)
}

/// What is wrong with the address of an HTTP service.
pub(crate) fn url_mistake(url: &str) -> Option<&'static str> {
    let Ok(uri) = url.parse::<http::Uri>() else { return Some("this is not a URL") };
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Some("a URL with a name or password in it is not taken")
        }
        (Some("http" | "https"), Some(authority)) if authority.host().is_empty() => Some("the URL has no host"),
        (Some("http" | "https"), Some(_)) if uri.query().is_some() || url.contains('#') => {
            Some("the URL has a query or a fragment")
        }
        (Some("http" | "https"), Some(_)) => None,
        _ => Some("the URL starts with neither http:// nor https://"),
    }
}

fn version(json: bool) -> anyhow::Result<()> {
    match json {
        true => say(&json!({ "name": "pontage", "version": VERSION }).to_string()),
        false => say(&format!("pontage {VERSION}")),
    }
}

fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut public(), "pontage", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

fn man(dir: Option<&Path>) -> anyhow::Result<()> {
    if let Some(dir) = dir {
        return clap_mangen::generate_to(public(), dir).with_context(|| format!("--dir {}", dir.display()));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(public()).render(&mut page)?;
    Ok(std::io::stdout().write_all(&page)?)
}

/// The commands that people are told of: scripts for shells would list hidden ones as well.
fn public() -> clap::Command {
    let all = Cli::command();
    clap::Command::new("pontage")
        .version(VERSION)
        .about(all.get_about().cloned().unwrap_or_default())
        .after_help(EXIT_CODES)
        .args(all.get_arguments())
        .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()))
}

fn health(url: &str) -> anyhow::Result<()> {
    let status = pay::get_status(url)?;
    if !(200..300).contains(&status) {
        bail!("{url} answers {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_holds() {
        Cli::command().debug_assert();
        public().debug_assert();
    }

    #[test]
    fn where_facilitators_come_from() {
        let (ours, theirs) = ("PONTAGE_FACILITATOR_URL", "PAY_GATE_FACILITATOR_URL");
        type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Result<&'a [&'a str], &'a str>);
        let rows: &[Row<'_>] = &[
            (&[], &[], Ok(&[])),
            (&["http://a"], &[(ours, "http://b")], Ok(&["http://a"])),
            (&["http://a", "https://b/x"], &[], Ok(&["http://a", "https://b/x"])),
            (&[], &[(ours, "http://b, http://c/,")], Ok(&["http://b", "http://c/"])),
            (&[], &[(theirs, "http://d")], Ok(&["http://d"])),
            (&[], &[(theirs, "http://d"), (ours, "http://b")], Ok(&["http://b"])),
            (&[], &[(FOREIGN_VARIABLE, "http://e")], Ok(&[])),
            (&["ftp://a"], &[], Err("--facilitator-url: the URL starts with neither")),
            (&["a b"], &[], Err("--facilitator-url: this is not a URL")),
            (&["http://me:KEY@a"], &[], Err("a name or password")),
            (&["http://a/?k=KEY"], &[], Err("a query or a fragment")),
            (&[], &[(theirs, "nonsense")], Err("PAY_GATE_FACILITATOR_URL: ")),
        ];
        for (flags, env, expected) in rows {
            let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let flags = flags.iter().map(|url| (*url).to_owned()).collect();
            match (facilitators(flags, &env), expected) {
                (Ok(urls), Ok(expected)) => assert_eq!(urls, *expected),
                (Err(error), Err(words)) => {
                    let said = error.to_string();
                    assert!(said.contains(words) && !said.contains("KEY"), "{said}");
                    assert_eq!(error.exit_code(), 2);
                }
                (got, expected) => panic!("{got:?}, not {expected:?}"),
            }
        }
        let many = vec!["http://a".to_owned(); MAX_FACILITATORS + 1];
        assert!(facilitators(many, &|_| None).is_err());
    }
}
