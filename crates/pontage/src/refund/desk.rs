//! Who gives money back: takes refunds into the books, pays them from the wallet, and looks after those that are on their way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alloy_primitives::{B256, hex};
use anyhow::{Context as _, anyhow};
use facilitator::engine::{BlockAt, Node as _, RefundJournal as _, is_on_chain, paid_by_hand, pay_data};
use facilitator::rpc::Nodes;
use gate::{Fault, Journal as _};
use ledger::{
    BlockRef, HoldId, Record, Refund, RefundId, RefundRefusal, RefundState, Signed, State, left_to_refund,
    refund_micros, refundable, request_refund,
};
use protocol::{AssetInfo, Key, Network, Payer, Signer as _, parse_decimal};
use serde_json::{Value, json};
use store::{Handle, Store};
use tracing::{error, info, warn};

use crate::chain::LaneEngine;
use crate::config::Config;
use crate::ledger::Assets;
use crate::link::Link;
use crate::owner::Command;
use crate::pass;

/// How long a command waits until its refunds have moved.
const WAIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it is waited for a payment to be found final.
const FINAL_WAIT: Duration = Duration::from_secs(3);
/// How often refunds that have not moved are looked at.
const MIND_EVERY: Duration = Duration::from_secs(3);
/// Younger than any block: of what has moved nothing is looked at again.
const NO_BLOCK: u64 = 1 << 62;
/// How many payments one command gives back at most; the next goes on with the others.
const DUE_MAX: usize = 200;

/// What is asked for of one payment, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Its id.
    pub(crate) payment: String,
    /// In the asset itself; whatever is left without.
    pub(crate) amount: Option<String>,
    /// Tells equal amounts apart.
    pub(crate) key: String,
    /// Whether somebody pays it by hand.
    pub(crate) by_hand: bool,
    /// The chain_tx in which somebody has.
    pub(crate) settled_by: Option<String>,
}

/// Why nothing is given back for a payment: a word for programs, and words for people.
#[derive(Debug)]
struct Refused(&'static str, String);

impl From<RefundRefusal> for Refused {
    fn from(refusal: RefundRefusal) -> Self {
        Self(refusal.code(), refusal.to_string())
    }
}

/// Either is said to whoever asked; a fault of ours ends the command.
enum Stop {
    Refused(Refused),
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn refused<T>(code: &'static str, words: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(Refused(code, words.into())))
}

/// How a network is read, and who sends to it.
struct Way {
    node: Nodes,
    /// Nothing where others settle.
    engine: Option<LaneEngine>,
}

/// The journal, the wallet and the chains.
pub(crate) struct Desk {
    journal: Handle,
    ways: BTreeMap<Network, Way>,
    tokens: Vec<AssetInfo>,
    assets: Assets,
    key: Option<Key>,
    cap_micros: u64,
}

/// The key of the wallet that refunds are paid from. `None` where they are paid by hand.
pub(crate) fn wallet(config: &Config) -> anyhow::Result<Option<Key>> {
    let Some(source) = &config.refunds.signer else { return Ok(None) };
    let secret = source.read().context("refunds.signer")?;
    let key = Key::from_hex(secret.expose()).map_err(|error| anyhow!("refunds.signer: {source} {error}"))?;
    info!(wallet = %key.address(), "refunds wallet");
    Ok(Some(key))
}

impl Desk {
    /// `readers` are the nodes of networks on which nobody of `links` settles.
    pub(crate) fn new(
        config: &Config,
        key: Option<Key>,
        store: &Store,
        links: &[Link],
        readers: Vec<(Network, Nodes)>,
    ) -> anyhow::Result<Self> {
        let mut ways: BTreeMap<Network, Way> =
            readers.into_iter().map(|(network, node)| (network, Way { node, engine: None })).collect();
        for link in links {
            let way = match link {
                Link::Lane(link) => {
                    let engine = link.engine();
                    Some(Way { node: engine.node.clone(), engine: Some(engine) })
                }
                Link::Remote(link) => link.node().map(|node| Way { node, engine: None }),
            };
            ways.extend(way.map(|way| (link.network(), way)));
        }
        let tokens = config.networks.iter().flat_map(|network| network.tokens.clone()).collect();
        let cap_micros = config.refunds.daily_cap_micros;
        Ok(Self { journal: store.handle()?, ways, tokens, assets: Assets::new(config), key, cap_micros })
    }

    /// Does what a command asks for, and says what came of it.
    pub(crate) async fn run(&self, command: &Command) -> anyhow::Result<Value> {
        let (asks, left) = match command {
            Command::Refund(ask) => (vec![ask.clone()], 0),
            Command::RevokePass(payment) => return pass::revoke(&self.journal, *payment).await,
            Command::RefundDue { by_hand } => {
                let owed = self.journal.owed_back()?;
                let ask = |payment: &HoldId| Ask {
                    payment: payment.to_string(),
                    amount: None,
                    key: String::new(),
                    by_hand: *by_hand,
                    settled_by: None,
                };
                (owed.iter().take(DUE_MAX).map(ask).collect(), owed.len().saturating_sub(DUE_MAX))
            }
        };
        let (mut ids, mut refusals) = (Vec::new(), Vec::new());
        // What was asked for before and has not moved is owed as well.
        match command {
            Command::Refund(_) | Command::RevokePass(_) => {}
            Command::RefundDue { by_hand: true } => ids.extend(self.journal.awaited_refunds()?),
            Command::RefundDue { by_hand: false } => {
                for network in self.ways.keys() {
                    ids.extend(self.journal.open_refunds(*network, NO_BLOCK).await?);
                }
            }
        }
        for ask in asks {
            match self.enter(&ask).await {
                Ok(id) => ids.push(id),
                Err(Stop::Refused(Refused(code, words))) => {
                    refusals.push(json!({ "payment": ask.payment, "code": code, "message": words }));
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        self.wait_for(&ids).await?;
        let mut refunds = Vec::new();
        for id in ids {
            if let Some((refund, _)) = self.journal.refund(id).await? {
                refunds.push(self.told(&refund));
            }
        }
        Ok(json!({ "refunds": refunds, "refused": refusals, "left": left }))
    }

    /// Looks after refunds that have not moved, and those that a reorg may take back. Does not end.
    pub(crate) async fn mind(&self) {
        loop {
            tokio::time::sleep(MIND_EVERY).await;
            for (network, way) in &self.ways {
                let Some(engine) = way.engine.as_ref().filter(|engine| engine.submitter.takes_work()) else { continue };
                match engine.mind_refunds(&self.journal, *network, self.cap_micros).await {
                    Ok(changed) => changed.iter().for_each(log),
                    Err(fault) => error!(%network, %fault, "refunds were not looked after; they will be"),
                }
            }
        }
    }

    /// Looks at refunds until they have moved, cannot, or the wait is over.
    async fn wait_for(&self, ids: &[RefundId]) -> Result<(), Fault> {
        let end = Instant::now() + WAIT;
        let mut left = ids.to_vec();
        while !left.is_empty() && Instant::now() < end {
            let mut going = Vec::new();
            for id in left {
                if self.look(id).await? {
                    going.push(id);
                }
            }
            left = going;
            if !left.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Whether a further look at a refund may show something else.
    async fn look(&self, id: RefundId) -> Result<bool, Fault> {
        let Some((refund, _)) = self.journal.refund(id).await? else { return Ok(false) };
        let way = self.ways.get(&refund.asset.network).and_then(|way| way.engine.as_ref());
        let Some(engine) = way.filter(|_| refund.signed.is_some()) else { return Ok(false) };
        if matches!(refund.state, RefundState::Refunded { .. }) || !engine.submitter.takes_work() {
            return Ok(false);
        }
        let after = engine.pay_refund(&self.journal, id, self.cap_micros).await?;
        if let Some(after) = after.filter(|after| *after != refund) {
            log(&after);
        }
        let after = after.map(|after| (after.state, after.problem));
        Ok(matches!(after, Some((RefundState::Due | RefundState::Submitted(_), None))))
    }

    /// Takes what is asked for into the books, once.
    async fn enter(&self, ask: &Ask) -> Result<RefundId, Stop> {
        let mut record = self.payment(&ask.payment).await?;
        // Where the journal was taken a moment ago, the reconciler is about to look whether it is final.
        let end = Instant::now() + FINAL_WAIT;
        while may_become_final(&record) && Instant::now() < end {
            tokio::time::sleep(LOOK_EVERY).await;
            record = self.payment(&ask.payment).await?;
        }
        let refunds = self.journal.refunds_of(record.hold.id)?;
        let asset = record.hold.authorization.key.asset;
        let token = self.tokens.iter().find(|token| token.asset == asset);
        let Some(token) = token else {
            return refused("unknown_asset", format!("{} is not in the configuration", asset.address));
        };
        let asked = match &ask.amount {
            Some(text) => match parse_decimal(text, token.decimals) {
                Ok(atomic) => Some(atomic),
                Err(_) => {
                    return refused("bad_amount", format!("{text} is not an amount of {}", self.assets.name(asset)));
                }
            },
            None => None,
        };
        let id = RefundId::derive(record.hold.id, asked, &ask.key);
        let by_hand = ask.by_hand || ask.settled_by.is_some();
        if refunds.iter().all(|refund| refund.id != id) {
            let amount_atomic = asked.unwrap_or_else(|| left_to_refund(&record, &refunds));
            self.request(&record, &refunds, (id, amount_atomic), token, by_hand).await?;
        } else if refunds.iter().any(|refund| refund.id == id && refund.signed.is_some() == by_hand) {
            return Err(Stop::Refused(RefundRefusal::OtherWay.into()));
        }
        if let Some(chain_tx) = &ask.settled_by {
            self.link(id, chain_tx).await?;
        }
        Ok(id)
    }

    async fn payment(&self, id: &str) -> Result<Record, Stop> {
        let bytes = hex::decode(id).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let Some(bytes) = bytes else {
            return refused("bad_id", format!("{id} is no payment's id: it has 32 hex digits"));
        };
        match self.journal.payment(HoldId(bytes)).await? {
            Some(record) => Ok(record),
            None => refused("unknown_payment", format!("no payment has the id {id}")),
        }
    }

    /// Checks what the books cannot know, signs, and writes.
    async fn request(
        &self,
        record: &Record,
        refunds: &[Refund],
        (id, amount_atomic): (RefundId, u128),
        token: &AssetInfo,
        by_hand: bool,
    ) -> Result<(), Stop> {
        let authorization = &record.hold.authorization;
        let way = self.ways.get(&token.asset.network);
        // Whoever pays by hand may have done it already, after the payment.
        let seen = match record.state {
            State::Posted(settled) => BlockRef { number: settled.block, hash: B256::ZERO },
            _ => record.hold.seen,
        };
        let mut refund = Refund {
            id,
            payment: record.hold.id,
            asset: token.asset,
            to: authorization.key.payer,
            amount_atomic,
            micros: refund_micros(record, amount_atomic),
            own_due: false,
            signed: None,
            seen,
            at_ms: 0,
            day: None,
            state: RefundState::Due,
            problem: None,
        };
        refundable(record).map_err(|refusal| Stop::Refused(refusal.into()))?;
        if let Err(refusal) = request_refund(record, refunds, self.journal.bought(record)?.as_ref(), refund) {
            return Err(Stop::Refused(self.amounts(refusal, token)));
        }
        if let Some(way) = way {
            match is_on_chain(&way.node, record).await {
                Ok(true) => {}
                Ok(false) => {
                    return refused(
                        "not_on_chain",
                        "the chain does not have the payment: `pontage reconcile` says what it has",
                    );
                }
                Err(_) => return unreachable(),
            }
        }
        if !by_hand {
            let Some(key) = &self.key else {
                return refused(
                    "no_signer",
                    "there is no refunds.signer to pay it: configure one, or ask with --unsigned",
                );
            };
            let Some(Way { node, engine: Some(_) }) = way else {
                return refused("no_settlement_key", "there is no facilitator.signer to send it: ask with --unsigned");
            };
            let Ok(block) = node.block(BlockAt::Latest).await else { return unreachable() };
            refund.seen = BlockRef { number: block.number, hash: block.hash };
            let wallet = Payer(key.address());
            let digest = Refund::fields(id, authorization, wallet, amount_atomic).digest(token);
            refund.signed = Some(Signed { wallet, signature: key.sign(digest).await? });
        }
        match self.journal.request_refund(refund).await? {
            Ok(_) => {
                info!(refund = %id, payment = %record.hold.id, amount_atomic, "a refund was asked for");
                Ok(())
            }
            Err(refusal) => Err(Stop::Refused(self.amounts(refusal, token))),
        }
    }

    /// Links what somebody has paid by hand to its refund.
    async fn link(&self, id: RefundId, chain_tx: &str) -> Result<(), Stop> {
        let Ok(chain_tx) = chain_tx.parse::<B256>() else {
            return refused(
                "bad_transaction",
                format!("{chain_tx} is no transaction's hash: it is 0x and 64 hex digits"),
            );
        };
        let Some((refund, _)) = self.journal.refund(id).await? else { return Ok(()) };
        if let RefundState::Refunded { chain_tx: known, .. } = refund.state {
            return if known == chain_tx {
                Ok(())
            } else {
                refused("refunded_already", format!("this refund was paid in {known}"))
            };
        }
        let Some(way) = self.ways.get(&refund.asset.network) else { return unreachable() };
        let Ok(found) = paid_by_hand(&way.node, &refund, chain_tx).await else { return unreachable() };
        let amount = self.assets.amount(refund.amount());
        let Some((block, times)) = found else {
            let words = format!(
                "{chain_tx} is not in a block after the payment with a transfer of exactly {amount} to {}",
                refund.to
            );
            return refused("no_such_transfer", words);
        };
        match self.journal.paid_by_hand(id, (chain_tx, block), times).await? {
            Some(refund) => log(&refund),
            None => {
                return refused(
                    "taken",
                    format!("the transfers of {amount} in {chain_tx} are linked to other refunds"),
                );
            }
        }
        Ok(())
    }

    fn amounts(&self, refusal: RefundRefusal, token: &AssetInfo) -> Refused {
        match refusal {
            RefundRefusal::TooMuch { left_atomic } => {
                let left = self.assets.amount(protocol::Amount::new(left_atomic, token.asset));
                Refused(refusal.code(), format!("{left} of this payment are left to give back"))
            }
            RefundRefusal::Used { left_atomic } => {
                let left = self.assets.amount(protocol::Amount::new(left_atomic, token.asset));
                Refused(
                    refusal.code(),
                    format!("{left} can be given back: the rest of what the payment bought was used"),
                )
            }
            RefundRefusal::NotPaid(_) | RefundRefusal::NotFinal | RefundRefusal::Zero | RefundRefusal::OtherWay => {
                refusal.into()
            }
        }
    }

    /// A refund, for whoever asked.
    fn told(&self, refund: &Refund) -> Value {
        let (state, chain_tx, block) = match refund.state {
            RefundState::Due if refund.signed.is_none() => ("awaiting", None, None),
            RefundState::Due => ("due", None, None),
            RefundState::Submitted(chain_tx) => ("submitted", Some(chain_tx), None),
            RefundState::Refunded { chain_tx, block } => ("refunded", Some(chain_tx), Some(block)),
        };
        let unsigned = (state == "awaiting").then(|| {
            let (token, chain_id) = (refund.asset.address, refund.asset.network.chain_id);
            json!({
                "to": token.to_string(),
                "data": pay_data(refund.to.0, refund.amount_atomic).to_string(),
                "value": "0",
                "chainId": chain_id,
                "uri": format!("ethereum:{token}@{chain_id}/transfer?address={}&uint256={}", refund.to, refund.amount_atomic),
            })
        });
        json!({
            "refund": refund.id.to_string(),
            "payment": refund.payment.to_string(),
            "network": refund.asset.network.to_string(),
            "asset": refund.asset.address.to_string(),
            "to": refund.to.to_string(),
            "amount_atomic": refund.amount_atomic.to_string(),
            "amount": self.assets.plain(refund.amount_atomic, refund.asset),
            "amount_words": self.assets.amount(refund.amount()),
            "wallet": refund.signed.map(|signed| signed.wallet.to_string()),
            "state": state,
            "problem": refund.problem.map(ledger::RefundProblem::code),
            "chain_tx": chain_tx.map(|hash| hash.to_string()),
            "block": block,
            "unsigned": unsigned,
        })
    }
}

fn unreachable<T>() -> Result<T, Stop> {
    refused("chain_unavailable", "the chain cannot be read now (the cause is in the log): ask again")
}

/// Whether a posted payment may become final without a further step of anybody's.
fn may_become_final(record: &Record) -> bool {
    matches!(record.state, State::Posted(settled) if !record.is_final && !settled.block_hash.is_zero())
}

fn log(refund: &Refund) {
    let (refund_id, payment, to, amount_atomic) = (refund.id, refund.payment, refund.to, refund.amount_atomic);
    match (refund.state, refund.problem) {
        (RefundState::Refunded { chain_tx, block }, _) => {
            info!(refund = %refund_id, %payment, %to, amount_atomic, %chain_tx, block, "money was given back");
        }
        (RefundState::Submitted(chain_tx), _) => {
            info!(refund = %refund_id, %payment, %chain_tx, "a refund is on its way")
        }
        (RefundState::Due, Some(problem)) => {
            warn!(refund = %refund_id, %payment, problem = problem.code(), "a refund stays due");
        }
        (RefundState::Due, None) => {}
    }
}
