//! What a seed holds: routes and prices, payers and what they sign, who calls when, and which faults strike.

mod draw;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, address};
use facilitator::engine::TabTerms;
use gate::{Snapshot, secret_digest};
use ledger::Exposure;
use protocol::exact::Fields;
use protocol::{AssetInfo, Network, Signature};

use crate::audit::Terms;
use crate::chain::abi::TransferWith;
use crate::chain::{Chain, Deed, Mining};
use crate::keys;
use crate::world::BEGIN_S;

pub(crate) const PAYEE: Address = address!("209693Bc6afc0C5328bA36FaF03C514EF312287C");
/// Where payers send their money when they empty their wallets.
pub(crate) const ELSEWHERE: Address = address!("00000000000000000000000000000000000000ee");
/// Who lands authorizations that are not his.
pub(crate) const STRANGER: Address = address!("00000000000000000000000000000000000000bb");

/// How often things fail, of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) node_lost_per_mille: u64,
    pub(crate) node_answer_per_mille: u64,
    pub(crate) late_per_mille: u64,
    pub(crate) twice_per_mille: u64,
    pub(crate) stuck_per_mille: u64,
    pub(crate) read_per_mille: u64,
    pub(crate) before_commit_per_mille: u64,
    pub(crate) after_commit_per_mille: u64,
    pub(crate) hang_per_mille: u64,
    pub(crate) commit_ms_max: u64,
}

/// From how far behind a node answers, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    Never,
    /// One node that lags, and never goes back.
    OneNode(u64),
    /// Several behind one name: each answer may be of another.
    ManyNodes(u64),
}

/// A signed payment.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) fields: Fields,
    pub(crate) signature: Signature,
    pub(crate) header: String,
    /// `/t` or `/d`.
    pub(crate) route: &'static str,
}

impl Payment {
    pub(crate) fn call(&self) -> TransferWith {
        TransferWith::new(&self.fields, &self.signature)
    }

    /// Lets the chain know the signature.
    pub(crate) fn register(&self, chain: &mut Chain) {
        let call = self.call();
        chain.signed.insert(call.digest_key(), (call.v, call.r, call.s));
    }

    pub(crate) fn key(&self) -> (Address, B256) {
        (self.fields.from, self.fields.nonce)
    }
}

/// The `Idempotency-Key` that a payer uses for several payments.
pub(crate) const SHARED: u8 = 7;

/// One caller's request, and what he does when he is not served.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) payment: usize,
    pub(crate) at_ms: u64,
    pub(crate) url: String,
    /// His `Idempotency-Key`.
    pub(crate) secret: Option<u8>,
    pub(crate) source: u8,
    /// After how long he hangs up.
    pub(crate) patience_ms: u64,
    pub(crate) retries: u64,
    /// Whether he retries also after he was served.
    pub(crate) greedy: bool,
}

impl Request {
    /// What his key becomes in the gate. One of them he uses for everything, the others for one payment each.
    pub(crate) fn digest(&self) -> Option<B256> {
        let own = if self.secret == Some(SHARED) { 0 } else { self.payment };
        self.secret.map(|secret| secret_digest(&[&[secret], own.to_be_bytes().as_slice()].concat()))
    }
}

/// Where in the flow a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Reserve,
    Answer,
    Submit,
    Pend,
    Keep,
    Send,
    Charge,
    EndCharge,
}

/// When a process dies: so many polls after it comes to a moment, or after some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) after_ms: u64,
    pub(crate) moment: Option<Moment>,
    pub(crate) polls: u64,
}

pub(crate) struct Plan {
    pub(crate) faults: Faults,
    pub(crate) stale: Stale,
    pub(crate) mining: Mining,
    pub(crate) block_ms: u64,
    pub(crate) budget_ms: u64,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) tab: TabTerms,
    pub(crate) payers: Vec<u128>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) requests: Vec<Request>,
    pub(crate) deeds: Vec<(u64, Deed)>,
    pub(crate) crashes: Vec<Crash>,
    /// How often, of a thousand, somebody answers our chain_tx with one of his own in the same block.
    pub(crate) rivals_per_mille: u64,
    /// When no miner takes a chain_tx of ours.
    pub(crate) censored: (u64, u64),
    /// How often, of a thousand, a block with something in it is replaced soon.
    pub(crate) reorgs_per_mille: u64,
    /// For how long after a reorg one of two endpoints answers from the branch that was left; the other has our chain_txs already.
    pub(crate) branches_ms: u64,
    /// How many of our keys sign.
    pub(crate) lanes: u8,
    pub(crate) node_away: Vec<(u64, u64)>,
    pub(crate) disk_away: Vec<(u64, u64)>,
    pub(crate) answers_max: usize,
    /// Whether the process is killed and started once more when the faults have ended.
    pub(crate) last_restart: bool,
}

/// The longest that anything signed is valid, counted from the beginning.
pub(crate) const VALID_MAX_S: u64 = 130;

impl Plan {
    pub(crate) fn token(&self) -> Address {
        token().asset.address.0
    }

    pub(crate) fn balances(&self) -> BTreeMap<Address, u128> {
        self.payers.iter().enumerate().map(|(payer, balance)| (keys::payer_address(payer), *balance)).collect()
    }

    pub(crate) fn caps(&self) -> Exposure {
        self.snapshot.caps
    }

    pub(crate) fn audit_terms(&self) -> Terms {
        let caps = self.caps();
        Terms { payee: PAYEE, signers: keys::LANES, caps: [caps.payer_micros, caps.source_micros, caps.gate_micros] }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { caps, verify_local, replay_wait_ms, .. } = *self.snapshot;
        writeln!(f, "{:?}, {:?}, blocks of {} ms, {:?}", self.faults, self.stale, self.block_ms, self.mining)?;
        writeln!(f, "caps {caps:?}, local {verify_local}, waits {replay_wait_ms} ms, budget {} ms", self.budget_ms)?;
        writeln!(f, "{:?}, censored {:?}, node away {:?}", self.tab, self.censored, self.node_away)?;
        writeln!(
            f,
            "reorgs {}, two branches for {} ms, lanes {}",
            self.reorgs_per_mille, self.branches_ms, self.lanes
        )?;
        writeln!(f, "disk away {:?}, rivals {}, payers {:?}", self.disk_away, self.rivals_per_mille, self.payers)?;
        for (place, payment) in self.payments.iter().enumerate() {
            let Fields { from, value, valid_before, nonce, .. } = payment.fields;
            let (nonce, until) = (crate::world::short(nonce), valid_before.saturating_to::<u64>() - BEGIN_S);
            writeln!(f, "payment {place}: {from} {nonce} {value} until {until} s on {}", payment.route)?;
        }
        self.requests.iter().try_for_each(|request| writeln!(f, "{request:?}"))
    }
}

pub(crate) fn token() -> AssetInfo {
    AssetInfo::usdc(Network::BASE_SEPOLIA).expect("the table of tokens has it")
}
