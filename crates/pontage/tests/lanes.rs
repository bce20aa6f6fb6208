//! Several signing keys, what they bid for gas, and what becomes of a lane whose head does not move: in the books and on the chain.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "lanes/gas.rs"]
mod gas;
#[path = "kit/kit.rs"]
mod kit;
#[path = "lanes/several.rs"]
mod several;
#[path = "lanes/socket.rs"]
mod socket;
#[path = "lanes/stuck.rs"]
mod stuck;

use std::process::Command;
use std::thread;

use alloy_primitives::U256;
use protocol::Offer;
use protocol::exact::Fields;
use protocol::x402::Version;
use rusqlite::Connection;
use serde_json::{Value, json};
use xtask::chain::{ChainOptions, KEYS, TestKey, USDC};

use kit::{Answer, GateOptions, PAYER, PRICE, Payer, SETTLER, World, cancel, get, killed, start_chain, until};

/// Another key that settles.
const SECOND: &TestKey = &KEYS[7];

/// One signed payment.
struct Paying {
    header: String,
    offer: Offer,
    fields: Fields,
}

impl Paying {
    fn new(world: &World) -> Self {
        Self::until(world, None)
    }

    /// Valid for so many seconds from now.
    fn for_s(world: &World, seconds: u64) -> Self {
        Self::until(world, Some(seconds))
    }

    fn until(world: &World, seconds: Option<u64>) -> Self {
        let offer = Payer::offer(&world.url("/paid/ok"));
        let mut fields = world.payer.fields(&offer);
        if let Some(seconds) = seconds {
            fields.valid_before = fields.valid_before - U256::from(offer.max_timeout_s) + U256::from(seconds);
        }
        let header = world.payer.sign(Version::V2, &offer, &fields);
        Self { header, offer, fields }
    }

    fn get(&self, world: &World, path: &str) -> Answer {
        get(&world.url(path), &[("host", "localhost"), ("payment-signature", &self.header)])
    }

    /// State and reason of its hold.
    fn state(&self, world: &World) -> (String, Option<String>) {
        let claim = world.books().claims().into_iter().find(|claim| claim.nonce == self.fields.nonce.to_string());
        claim.map(|claim| (claim.state, claim.reason)).unwrap_or_default()
    }
}

/// A chain_tx as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signed {
    hash: String,
    signer: String,
    sequence: u64,
    /// For how many holds.
    members: u64,
    fate: Option<String>,
}

/// Every chain_tx of the journal, in the order of their signatures.
fn signed(world: &World) -> Vec<Signed> {
    let db = Connection::open(world.gate.journal()).unwrap();
    let sql = "SELECT lower(hex(hash)), lower(hex(signer)), sequence,
                   (SELECT count(*) FROM bids WHERE chain_tx = hash), fate FROM chain_txs ORDER BY rowid";
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok(Signed {
            hash: format!("0x{}", row.get::<_, String>(0)?),
            signer: format!("0x{}", row.get::<_, String>(1)?),
            sequence: row.get::<_, i64>(2)?.try_into().unwrap(),
            members: row.get::<_, i64>(3)?.try_into().unwrap(),
            fate: row.get(4)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn by(signed: &[Signed], key: &TestKey) -> Vec<Signed> {
    signed.iter().filter(|tx| tx.signer.eq_ignore_ascii_case(key.address)).cloned().collect()
}

/// `facilitator`, with both keys.
fn two_keys(more: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("second.key");
    std::fs::write(&path, SECOND.secret).unwrap();
    let signers = format!("signers: [{{ env: PONTAGE_SIGNER_KEY }}, {{ file: \"{}\" }}]{more}", path.display());
    (folder, signers)
}

/// A chain on which a test says when a block comes.
fn still() -> ChainOptions {
    ChainOptions { mining: false, ..ChainOptions::default() }
}

/// Books, chain and audit agree, and every chain_tx of ours that landed has its gas in the books.
fn in_order(world: &World) {
    world.agree();
    let counted = || {
        let landed = |tx: &Signed| world.chain.succeeded(&tx.hash).unwrap().is_some();
        signed(world).iter().all(|tx| landed(tx) == (tx.fate.as_deref() == Some("mined")))
    };
    until("the gas is in the books", counted);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(["ledger", "audit", "--config"]).arg(world.gate.journal().with_file_name("pontage.yaml"));
    let audit = command.env("PONTAGE_SIGNER_KEY", SETTLER.secret).output().unwrap();
    let said = String::from_utf8_lossy(&audit.stdout);
    assert_eq!(audit.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&audit.stderr));
}

/// The base fee of the next block, in gwei.
fn next_base_fee(world: &World, gwei: u64) {
    let fee = format!("{:#x}", gwei * 1_000_000_000);
    world.chain.rpc("anvil_setNextBlockBaseFeePerGas", json!([fee])).unwrap();
}

/// Sends as somebody, far above what gas costs.
fn send_dear(world: &World, from: &str, to: &str, data: &str, sequence: Option<u64>) -> String {
    world.chain.rpc("anvil_impersonateAccount", json!([from])).unwrap();
    let mut request = json!({
        "from": from, "to": to, "data": data, "gas": "0x30d40",
        "maxPriorityFeePerGas": format!("{:#x}", 20_000_000_000u64), "maxFeePerGas": format!("{:#x}", 400_000_000_000u64),
    });
    if let Some(sequence) = sequence {
        request["nonce"] = format!("{sequence:#x}").into();
    }
    let chain_tx = world.chain.rpc("eth_sendTransaction", json!([request])).unwrap();
    chain_tx.as_str().unwrap().to_owned()
}

/// Whether a call was refused before it was run. What came in just before the gate knew is pending instead.
fn refused(answer: &Answer) -> bool {
    (answer.status, answer.money().as_str()) == (503, "untouched")
}

/// A refusal before anything ran, which says that no money moved. Never a 402.
fn unavailable(answer: &Answer) {
    assert_eq!((answer.status, answer.money().as_str()), (503, "untouched"), "{}", answer.text());
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
}
