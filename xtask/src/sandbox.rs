//! `cargo xtask sandbox`: a chain, a gate, a demo API and a funded wallet on this machine, and one paid call.

mod demo;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use xtask::chain::{Anvil, AnvilOptions, KEYS, TestKey};

use demo::Demo;

/// Who settles, who pays: public test keys, worth nothing anywhere.
const SETTLER: &TestKey = &KEYS[1];
const PAYER: &TestKey = &KEYS[2];
/// Who is paid. Nobody here needs its key.
const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
const FUNDS_ATOMIC: u128 = 10_000_000;
const PAID_PATH: &str = "/paid/weather";

/// What the caller of the sandbox asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// End after the paid call.
    pub(crate) once: bool,
    /// Print one JSON object in place of words.
    pub(crate) json: bool,
}

/// The gate's process. Ended when dropped.
struct Gate {
    child: Child,
    url: String,
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs the sandbox.
pub(crate) fn run(root: &Path, options: Options) -> Result<()> {
    let say = |line: &str| {
        if !options.json {
            println!("{line}");
        }
    };
    let (stop, stopped) = mpsc::channel();
    ctrlc::set_handler(move || stop.send(()).unwrap_or_default())?;

    say("building pontage …");
    let binary = build(root)?;
    xtask::peers::npm(root).context("the local chain is an npm package")?;
    let chain = Anvil::start(root, &AnvilOptions::default())?;
    chain.plant_token()?;
    chain.mint(PAYER.address, FUNDS_ATOMIC)?;
    let demo = Demo::start()?;
    let folder = tempfile::tempdir()?;
    let gate = start_gate(&binary, folder.path(), chain.rpc_url(), &demo.url())?;
    say(&format!(
        "chain   {}  (Base Sepolia's id, on this machine, test USDC)\nAPI     {}  (the demo API, unprotected)\ngate    {}  (pontage in front of it)\n",
        chain.rpc_url(),
        demo.url(),
        gate.url
    ));

    let before = balances(&chain)?;
    let url = format!("{}{PAID_PATH}", gate.url);
    let exchange = pay(&binary, &url)?;
    let after = balances(&chain)?;
    ensure!(exchange["answer"]["receipt"]["success"] == true, "the call was not settled: {exchange}");
    ensure!(after.1 > before.1, "the money did not move");
    if options.json {
        let whole = json!({
            "chain": chain.rpc_url(), "api": demo.url(), "gate": gate.url, "url": url, "exchange": exchange,
            "balances_atomic": {
                "before": { "payer": before.0.to_string(), "payee": before.1.to_string() },
                "after": { "payer": after.0.to_string(), "payee": after.1.to_string() },
            },
        });
        println!("{}", serde_json::to_string_pretty(&whole)?);
    } else {
        print!("{}", story(&url, &exchange, before, after));
    }
    if options.once {
        return Ok(());
    }
    say(&commands(&gate.url, &chain));
    // Either way it ends: told to, or nobody is left to tell.
    stopped.recv().ok();
    say("\nstopping");
    Ok(())
}

fn build(root: &Path) -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--package", "pontage", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "pontage does not build");
    let text = String::from_utf8(output.stdout)?;
    let built = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = built.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    executable.context("cargo names the binary that it built")
}

fn start_gate(binary: &Path, folder: &Path, rpc_url: &str, api: &str) -> Result<Gate> {
    let config = folder.join("pontage.yaml");
    std::fs::write(
        &config,
        format!(
            "version: 1\nlisten: 127.0.0.1:0\nprovider_address: \"{PAYEE}\"\nproxy: {{ target: \"{api}\" }}\n\
             routes:\n  - {{ path: /health, free: true }}\n  - {{ path: /paid/*, price: \"0.01\" }}\n\
             networks:\n  eip155:84532: {{ rpc_urls: [\"{rpc_url}\"] }}\n\
             facilitator: {{ signer: {{ env: PONTAGE_SIGNER_KEY }} }}\n"
        ),
    )?;
    let log = folder.join("pontage.log");
    let mut child = Command::new(binary)
        .args(["dev", "--config"])
        .arg(&config)
        .env("PONTAGE_SIGNER_KEY", SETTLER.secret)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log)?)
        .spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("a pipe")?;
    let mut gate = Gate { child, url: String::new() };
    BufReader::new(stdout).read_line(&mut line)?;
    let Some(at) = line.find("http://") else {
        bail!("the gate did not start:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
    };
    gate.url = line[at..].split_whitespace().next().unwrap_or_default().to_owned();
    Ok(gate)
}

fn pay(binary: &Path, url: &str) -> Result<Value> {
    let output = Command::new(binary).args(["__pay", url]).env("PONTAGE_PAYER_KEY", PAYER.secret).output()?;
    ensure!(output.status.success(), "the payer failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Payer and payee, in atomic units.
fn balances(chain: &Anvil) -> Result<(u128, u128)> {
    Ok((chain.balance(PAYER.address)?, chain.balance(PAYEE)?))
}

fn story(url: &str, exchange: &Value, before: (u128, u128), after: (u128, u128)) -> String {
    let offer = &exchange["challenge"]["accepts"][0];
    let (signed, answer) = (&exchange["signed"], &exchange["answer"]);
    let receipt = &answer["receipt"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let number = |value: &Value| text(value).parse().unwrap_or_default();
    format!(
        "1. The caller asked for\n     GET {url}\n   and was told 402 Payment Required (header PAYMENT-REQUIRED):\n\
         \x20    {} USDC on {} to {}\n\n\
         2. Its wallet signed an authorization (EIP-3009). It moves this and nothing else:\n\
         \x20    from   {}\n     to     {}\n     value  {} atomic units of {} {}\n     valid  until {} (seconds since 1970)\n     nonce  {}\n\n\
         3. It asked again with it (header PAYMENT-SIGNATURE). pontage claimed it in its journal, ran the API once,\n\
         \x20  settled on the chain, and only then released the answer:\n\
         \x20    {} {}\n\n\
         4. The receipt (header PAYMENT-RESPONSE):\n     transaction  {}\n     payer        {}\n\n\
         5. On the chain            before          after\n     payer        {:>12}   {:>12}  USDC\n     payee        {:>12}   {:>12}  USDC\n",
        usdc(number(&offer["amount"])),
        text(&offer["network"]),
        text(&offer["payTo"]),
        text(&signed["from"]),
        text(&signed["to"]),
        text(&signed["value"]),
        text(&signed["domain"]["name"]),
        text(&signed["domain"]["verifyingContract"]),
        text(&signed["validBefore"]),
        text(&signed["nonce"]),
        text(&answer["status"]),
        text(&answer["body"]).trim_end(),
        text(&receipt["transaction"]),
        text(&receipt["payer"]),
        usdc(before.0),
        usdc(after.0),
        usdc(before.1),
        usdc(after.1),
    )
}

fn commands(gate: &str, chain: &Anvil) -> String {
    format!(
        "\nIt stays up. Try it (the keys are public test keys):\n\n\
         \x20 curl -i {gate}/health                    # free\n\
         \x20 curl -i {gate}{PAID_PATH}              # 402 and the price\n\n\
         \x20 # pay with a reference wallet, from the project's folder\n\
         \x20 PAYER_KEY={} node peers/js/pay-fetch.mjs {gate}{PAID_PATH}\n\n\
         \x20 # what the payee has on the chain\n\
         \x20 curl -s -H 'content-type: application/json' {} -d '{}'\n\n\
         Ctrl-C ends it.",
        PAYER.secret,
        chain.rpc_url(),
        json!({
            "jsonrpc": "2.0", "id": 1, "method": "eth_call",
            "params": [{
                "to": xtask::chain::USDC,
                "data": format!("0x70a08231000000000000000000000000{}", PAYEE.trim_start_matches("0x").to_lowercase()),
            }, "latest"],
        }),
    )
}

fn usdc(atomic: u128) -> String {
    format!("{}.{:06}", atomic / 1_000_000, atomic % 1_000_000)
}
