//! `pontage sandbox`: a chain, a gate, a demo API and a funded wallet in one process, and one paid call.

mod demo;
mod model;
mod story;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use alloy_primitives::{Address, address};
use anyhow::{Context as _, anyhow, ensure};
use devnet::Devnet;
use protocol::{Key, Signer as _};
use serde_json::{Value, json};

use crate::run::{self, Mode, Options};
use crate::{pay, say};

use model::Model;

/// Keys of the public mnemonic "test test … junk": worth nothing anywhere. Who settles, and who pays.
pub(super) const SETTLER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
pub(super) const PAYER_KEY: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
/// Who is paid. Nobody here needs its key.
const PAYEE: Address = address!("209693Bc6afc0C5328bA36FaF03C514EF312287C");
const FUNDS_ATOMIC: u128 = 10_000_000;
/// What every account of `pontage devnet` has: a thousand dollars.
const DEVNET_FUNDS_ATOMIC: u128 = 1_000_000_000;
/// The call that is paid for.
const PAID: &str = "/api/ask?question=What+is+pontage%3F";
/// The services and their prices.
const SERVICES: [(&str, &str); 4] =
    [("/api/ask", "0.001"), ("/api/og", "0.002"), ("/api/fetch-summarize", "0.005"), ("/api/embed", "0.0005")];

/// What the caller of the sandbox asked for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SandboxArgs {
    /// End after the paid call.
    #[arg(long)]
    once: bool,
    /// Let a model answer /api/ask: the base of an OpenAI-compatible API, up to and without `/chat/completions`. The key is
    /// read from OPENAI_API_KEY or OPENROUTER_API_KEY. Without it a stand-in answers, and nothing leaves this machine.
    #[arg(long)]
    openai_url: Option<String>,
    /// Which model.
    #[arg(long, default_value = "gpt-4o-mini")]
    openai_model: String,
}

/// How the chain alone is started.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DevnetArgs {
    /// Where JSON-RPC is answered. Every account is open there: keep it on this machine.
    #[arg(long, default_value = "127.0.0.1:8545")]
    listen: SocketAddr,
    /// A block every so many seconds; 0 makes one for each transaction.
    #[arg(long, default_value_t = 0)]
    block_time_s: u64,
    /// The chain's EIP-155 id. The default is Base Sepolia's, whose USDC payers know.
    #[arg(long, default_value_t = protocol::Network::BASE_SEPOLIA.chain_id)]
    chain_id: u64,
    /// Start with no test USDC in any wallet, and say only where it listens.
    #[arg(long)]
    bare: bool,
}

/// `pontage devnet`.
pub(crate) fn devnet(args: &DevnetArgs) -> anyhow::Result<()> {
    let mining = match args.block_time_s {
        0 => devnet::Mining::AtOnce,
        seconds => devnet::Mining::EverySeconds(seconds),
    };
    let options = devnet::Options { chain_id: args.chain_id, mining, listen: args.listen };
    let chain = Devnet::start(options).with_context(|| format!("--listen {}", args.listen))?;
    say(&format!("Listening on {}", chain.address()))?;
    if !args.bare {
        for account in devnet::ACCOUNTS {
            chain.mint(account, DEVNET_FUNDS_ATOMIC).context("the test USDC cannot be minted")?;
        }
        say(&story::devnet(&chain, args.chain_id))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = run::Signals::new()?;
        while let run::Told::Reload = signals.next().await {}
        Ok(())
    })
}

/// Everything that runs.
struct Running {
    chain: Devnet,
    api: SocketAddr,
    gate: SocketAddr,
}

/// Runs the sandbox.
pub(crate) fn run(args: &SandboxArgs, json: bool) -> anyhow::Result<()> {
    let model = args.openai_url.as_deref().map(|url| Model::new(url, &args.openai_model)).transpose()?;
    let folder = tempfile::tempdir()?;
    let chain = Devnet::start(devnet::Options::default())?;
    let payer = Key::from_hex(PAYER_KEY)?;
    chain.mint(payer.address(), FUNDS_ATOMIC).context("the test USDC cannot be minted")?;
    let api = demo::start(model)?;
    let config = write_config(folder.path(), &chain.rpc_url(), api)?;

    let (ready, listening) = mpsc::channel();
    let gate = {
        let config = config.clone();
        let listens = move |address| Ok(ready.send(address)?);
        thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || run::serve(&config, Options::new(Mode::Sandbox), listens))?
    };
    let ended = |gate: thread::JoinHandle<anyhow::Result<()>>| gate.join().map_err(|_| anyhow!("the gate panicked"));
    let Ok(address) = listening.recv() else {
        ended(gate)??;
        return Err(anyhow!("the gate ended before it listened"));
    };
    let running = Running { chain, api, gate: address };
    if !json {
        say(&story::head(&running))?;
    }
    let exchange = running.pay(&payer)?;
    say(&if json { serde_json::to_string_pretty(&exchange)? } else { story::tell(&exchange) })?;
    if args.once {
        return Ok(());
    }
    if !json {
        say(&story::commands(&running, &config))?;
    }
    // Ctrl-C is the gate's to hear: it lets calls end and submits what is on the tab.
    ended(gate)?
}

fn write_config(folder: &Path, rpc_url: &str, api: SocketAddr) -> anyhow::Result<std::path::PathBuf> {
    let key = folder.join("settlement.key");
    std::fs::write(&key, SETTLER_KEY)?;
    let routes: String =
        SERVICES.iter().map(|(path, price)| format!("  - {{ path: {path}, price: \"{price}\" }}\n")).collect();
    let path = folder.join("pontage.yaml");
    let text = format!(
        "version: 1\nlisten: 127.0.0.1:0\nprovider_address: \"{PAYEE}\"\nproxy: {{ target: \"http://{api}\" }}\n\
         routes:\n  - {{ path: /health, free: true }}\n{routes}\
         networks:\n  eip155:84532: {{ rpc_urls: [\"{rpc_url}\"] }}\n\
         facilitator: {{ signer: {{ file: settlement.key }} }}\ntab: {{ settle_age_s: 1 }}\n"
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

impl Running {
    fn balances(&self, payer: Address) -> anyhow::Result<(u128, u128)> {
        let of = |account| self.chain.asset_balance(account).and_then(|balance| u128::try_from(balance).ok());
        of(payer).zip(of(PAYEE)).context("the chain has no test USDC")
    }

    /// Makes the paid call and waits until the money has moved.
    fn pay(&self, payer: &Key) -> anyhow::Result<Value> {
        let url = format!("http://{}{PAID}", self.gate);
        let before = self.balances(payer.address())?;
        let exchange = pay::pay_now(&url, FUNDS_ATOMIC, payer)?;
        let status_url = exchange.pointer("/answer/receipt/extra/status_url").and_then(Value::as_str);
        let status_url = format!("http://{}{}", self.gate, status_url.context("the call was not put on the tab")?);
        let mut status = pay::get_json(&status_url)?;
        for _ in 0..600 {
            if status["state"] == "settled" {
                break;
            }
            thread::sleep(Duration::from_millis(50));
            status = pay::get_json(&status_url)?;
        }
        let after = self.balances(payer.address())?;
        ensure!(status["state"] == "settled" && after.1 > before.1, "the payment was not settled: {status}");
        let balances = |(payer, payee): (u128, u128)| json!({ "payer": payer.to_string(), "payee": payee.to_string() });
        Ok(json!({
            "chain": self.chain.rpc_url(),
            "api": format!("http://{}", self.api),
            "gate": format!("http://{}", self.gate),
            "url": url,
            "exchange": exchange,
            "status_url": status_url,
            "status": status,
            "balances_atomic": { "before": balances(before), "after": balances(after) },
        }))
    }
}
