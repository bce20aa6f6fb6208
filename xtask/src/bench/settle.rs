//! How many payments a facilitator settles in a second, on a chain with a block a second, and whether any is lost.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::chain::{Chain, ChainOptions};

use super::load::{self, Ask};
use super::process::{Server, command};
use super::systems::{PAYEE, World, fund};

/// Whoever asks waits for a block, so many ask at once.
const CONNECTIONS: usize = 512;
const WINDOW_S: u32 = 15;
/// More than can be settled in a window.
const PAYMENTS: u64 = 30_000;
const REST_MAX: Duration = Duration::from_secs(60);

/// What a run came to.
pub(super) struct Settling {
    /// Answers that said settled, in a second.
    pub(super) settled_per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// All of the run: books, chain and the audit agree on it.
    pub(super) payments: u64,
}

pub(super) fn settling(world: &World, root: &Path) -> Result<Settling> {
    let chain = Chain::start(root, &ChainOptions { block_time_s: Some(1), ..ChainOptions::default() })?;
    chain.plant_token()?;
    chain.plant_multicall()?;
    fund(&chain, &world.tools)?;
    let (facilitator, config) = world.facilitator("settling", chain.rpc_url())?;
    let file = world.bodies(PAYMENTS)?;
    let ask = Ask { address: &facilitator.address(), path: "/settle", connections: CONNECTIONS, window_s: WINDOW_S };
    let said = load::ask(world, &ask, &load::Load::Bodies(file))?;
    ensure!(said.refused == 0 && said.broken == 0, "settling: {} refused, {} broken off", said.refused, said.broken);
    ensure!(said.requests < PAYMENTS, "settling: payments were sent twice");
    let payments = rest(world, &chain, &facilitator, &config)?;
    ensure!(payments >= said.requests, "settling: {} were said to be settled, {payments} are", said.requests);
    Ok(Settling { settled_per_s: said.rps, p50_ms: said.p50_us / 1e3, p99_ms: said.p99_us / 1e3, payments })
}

/// Waits until everything has ended, and holds the books to the chain.
fn rest(world: &World, chain: &Chain, _running: &Server, config: &Path) -> Result<u64> {
    let begun = Instant::now();
    loop {
        let mut audit = command(&world.tools.pontage, false);
        audit.args(["ledger", "audit", "--format", "json", "--config"]).arg(config);
        let output = audit.output().context("pontage ledger audit")?;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let count = |state: &str| said["states"][state].as_u64().unwrap_or_default();
        let matched = count("matched");
        let paid = u64::try_from(chain.balance(PAYEE)?)? / 100;
        if output.status.success() && paid == matched && count("submitted") + count("running") == 0 {
            return Ok(matched);
        }
        ensure!(begun.elapsed() < REST_MAX, "settling: {paid} were paid, the audit says {}", said["states"]);
        thread::park_timeout(Duration::from_millis(500));
    }
}
