//! The embedded facilitator: a lane thread for each key and one reconciler thread for each network, and the way to them.

mod lanes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use anyhow::Context as _;
use facilitator::engine::{
    self, BlockAt, BooksJournal as _, Engine, Finality, Head, LaneJournal as _, Live, Node, Pace, Purse, Signers,
    TabTerms,
};
use facilitator::point::{self, Act};
use facilitator::rpc::Nodes;
use gate::Fault;
use protocol::{Network, Signer};
use store::Store;
use tokio::sync::watch;
use tracing::{error, info, warn};

pub(crate) use lanes::Lanes;

use crate::config::{GasConfig, NetworkConfig, TabConfig};
use crate::host::now_ms;
use crate::metrics::{KeyGas, Way};
use crate::nodes;
use crate::plan::{Plan, SETTLE_BUDGET_MS};
use crate::run::Lifeline;
use crate::signer::SettlementKey;
use lanes::{Coin, LaneLink};

/// How often unfinished holds are looked at.
const RECONCILE_MS: u64 = 1_000;
/// How often it is looked whether the settlement keys can pay for gas.
const PURSE_MS: u64 = 5_000;
/// How often it is looked whether the tab is to be settled.
const TAB_MS: u64 = 500;
/// What is left of an authorization's validity when it is submitted at the latest: four times what a settlement may take.
pub(crate) const TAB_MARGIN_MS: u64 = 4 * SETTLE_BUDGET_MS;

/// One network, checked at start: where its nodes are, who signs, and the way to its lanes.
#[derive(Clone, Debug)]
pub(crate) struct ChainLink {
    network: Network,
    node: Nodes,
    lanes: Lanes,
    signers: Signers,
    gas: GasConfig,
    live: Live,
    head: Head,
    finality: Finality,
    tab: TabTerms,
    /// Whose caps are the tab's.
    plan: watch::Receiver<Arc<Plan>>,
}

/// An engine that sends through our lanes.
pub(crate) type LaneEngine = Engine<Nodes, Lanes, Watch>;

/// A clock that never goes back.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Instant);

impl Watch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Pace for Watch {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

impl ChainLink {
    pub(crate) const fn network(&self) -> Network {
        self.network
    }

    /// The keys that settle here.
    pub(crate) fn signers(&self) -> Vec<Address> {
        self.signers.current().to_vec()
    }

    /// The engine for the calling thread.
    pub(crate) fn engine(&self) -> LaneEngine {
        Engine {
            node: self.node.clone(),
            submitter: self.lanes.clone(),
            pace: Watch::start(),
            signers: self.signers.clone(),
            caps: self.gas.caps,
            live: self.live.clone(),
            head: self.head.clone(),
            finality: self.finality,
            budget_ms: SETTLE_BUDGET_MS,
        }
    }

    /// Checks a network against its nodes, ends what a crash left open, and starts the lanes and the reconciler.
    pub(crate) async fn start(
        config: &NetworkConfig,
        (tab, gas): (&TabConfig, GasConfig),
        plan: watch::Receiver<Arc<Plan>>,
        keys: &[SettlementKey],
        store: &Store,
        lifeline: &Lifeline,
    ) -> anyhow::Result<Self> {
        let network = config.network;
        let node = nodes::start(config, store).await?;
        let signers = signers(config, &node, keys, store).await?;
        point::before(Act::Recover);
        engine::recover(&store.handle()?, network).await?;
        point::after(Act::Recover);
        point::before(Act::Resend);
        let lanes = Lanes::start(network, &node, keys, gas.caps, store, lifeline).await?;
        point::after(Act::Resend);
        let multicall = engine::has_multicall(&node).await.with_context(|| nodes::out_of_reach(config))?;
        if !multicall {
            warn!(%network, "there is no Multicall3: every payment on the tab takes a transaction of its own");
        }
        let tab = TabTerms {
            batch_max: if multicall { tab.batch_max } else { 1 },
            settle_age_ms: tab.settle_age_s.saturating_mul(1_000),
            caps: tab.caps,
            margin_ms: TAB_MARGIN_MS,
        };
        let (live, head) = (Live::default(), Head::default());
        let finality = config.finality;
        let link = Self { network, node, lanes, signers, gas, live, head, finality, tab, plan };
        link.look_into_purses(&link.engine(), &store.handle()?).await;
        link.start_reconciler(store.clone(), lifeline)?;
        Ok(link)
    }

    /// How this way to settle is doing, as far as is known without asking anybody.
    pub(crate) fn way(&self) -> Way {
        let keys = self.lanes.iter().filter_map(|lane| {
            let Coin { wei, payments } = lane.coin()?;
            Some(KeyGas { signer: lane.signer.to_string(), wei, payments })
        });
        Way {
            network: self.network.to_string(),
            facilitator: "embedded".to_owned(),
            up: self.lanes.takes_work() && self.node.answer(),
            nodes: self.node.health(),
            keys: keys.collect(),
            too_dear: self.lanes.is_too_dear(),
        }
    }

    /// Submits everything that is on the tab, and waits for no receipt. Says how many payments were moved, and how many are left.
    pub(crate) async fn settle_tab(&self, store: &Store) -> anyhow::Result<(usize, usize)> {
        let journal = store.handle()?;
        point::before(Act::SettleTab);
        let moved = self.settle_due(&self.engine(), &journal, true).await?;
        point::after(Act::SettleTab);
        Ok((moved, journal.due(self.network, None).await?.len()))
    }

    /// Settles the tab, if it is time or `all` is asked for. Nothing is signed that no key could pay for.
    async fn settle_due(&self, engine: &LaneEngine, journal: &store::Handle, all: bool) -> Result<usize, Fault> {
        if !self.lanes.can_send() {
            return Ok(0);
        }
        let terms = TabTerms { caps: self.plan.borrow().snapshot.caps, ..self.tab };
        engine.settle_tab(journal, self.network, &terms, now_ms(), all).await
    }

    fn start_reconciler(&self, store: Store, lifeline: &Lifeline) -> anyhow::Result<()> {
        let link = self.clone();
        let reconcile = move || -> anyhow::Result<()> {
            let journal = store.handle()?;
            let engine = link.engine();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::join!(
                    link.reconcile(&engine, &journal),
                    link.collect(&engine, &journal),
                    link.mind_purses(&engine, &journal),
                    nodes::mind(&link.node)
                )
            });
            Ok(())
        };
        lifeline.spawn("reconciler", reconcile).map(drop)
    }
}

impl ChainLink {
    async fn reconcile(&self, engine: &LaneEngine, journal: &store::Handle) {
        loop {
            point::before(Act::Reconcile);
            let outcome = engine.reconcile(journal, self.network).await;
            point::after(Act::Reconcile);
            match outcome {
                Ok(0) => {}
                Ok(resolved) => info!(network = %self.network, resolved, "reconciled with the chain"),
                Err(fault) => error!(network = %self.network, %fault, "reconciliation stopped; it will go on"),
            }
            tokio::time::sleep(Duration::from_millis(RECONCILE_MS)).await;
        }
    }

    /// Notes what the settlement keys have and whether they can pay for gas, and says so when that changes.
    async fn look_into_purses(&self, engine: &LaneEngine, journal: &store::Handle) {
        for lane in self.lanes.iter() {
            let Ok(purse) = engine.purse(lane.signer).await else { continue };
            let network = self.network;
            if self.lanes.set_too_dear(purse.too_dear) {
                match purse.too_dear {
                    true => {
                        error!(%network, "gas costs more than facilitator.fees lets pontage bid. Until it is cheaper no paid \
                         call is served and nothing is sent; what is on its way waits")
                    }
                    false => info!(%network, "gas costs no more than may be bid: paid calls are served"),
                }
            }
            self.note_purse(lane, purse, journal);
        }
    }

    fn note_purse(&self, lane: &LaneLink, Purse { wei, needed_wei, .. }: Purse, journal: &store::Handle) {
        let (network, signer) = (self.network, lane.signer);
        let cost = journal.wei_per_payment(network, signer).ok().flatten();
        let payments = cost.and_then(|cost| wei.checked_div(U256::from(cost)));
        let low = |coin: &Coin| coin.payments.is_some_and(|payments| payments < U256::from(self.gas.alarm_payments));
        let coin = Coin { wei, payments };
        let was_low = lane.set_coin(coin).as_ref().is_some_and(low);
        match (was_low, low(&coin)) {
            (false, true) => warn!(%network, %signer, gas_wei = %wei, payments = payments.map(tracing::field::display),
                "the settlement key will soon be out of gas: fund it"),
            (true, false) => info!(%network, %signer, gas_wei = %wei, "the settlement key has enough gas again"),
            (false, false) | (true, true) => {}
        }
        let funded = wei >= needed_wei;
        if !lane.set_funded(funded) {
            return;
        }
        let others = self.lanes.can_send();
        if funded {
            info!(%network, %signer, gas_wei = %wei, "the settlement key can pay for gas again: it takes work");
        } else if others {
            error!(%network, %signer, gas_wei = %wei, %needed_wei,
                "the settlement key cannot pay for gas: fund it. The other keys go on");
        } else {
            error!(%network, %signer, gas_wei = %wei, %needed_wei,
                "the settlement key cannot pay for gas: fund it. Until then no paid call is served and the tab is not settled");
        }
    }

    async fn mind_purses(&self, engine: &LaneEngine, journal: &store::Handle) {
        loop {
            tokio::time::sleep(Duration::from_millis(PURSE_MS)).await;
            self.look_into_purses(engine, journal).await;
        }
    }

    async fn collect(&self, engine: &LaneEngine, journal: &store::Handle) {
        loop {
            match self.settle_due(engine, journal, false).await {
                Ok(0) => {}
                Ok(moved) => info!(network = %self.network, payments = moved, "settling the tab"),
                Err(fault) => error!(network = %self.network, %fault, "the tab was not settled; it will be"),
            }
            tokio::time::sleep(Duration::from_millis(TAB_MS)).await;
        }
    }
}

/// Who signs and who has signed. A key that has signed what is not on the chain yet, and is not there any more to send it again, is
/// warned of.
async fn signers(
    config: &NetworkConfig,
    node: &Nodes,
    keys: &[SettlementKey],
    store: &Store,
) -> anyhow::Result<Signers> {
    let network = config.network;
    let journal = store.handle()?;
    let current: Vec<Address> = keys.iter().map(Signer::address).collect();
    for signer in &current {
        let gas_wei = node.native_balance(*signer).await.with_context(|| nodes::out_of_reach(config))?;
        info!(%network, %signer, %gas_wei, "settlement key");
    }
    let signers = Signers::new(current, journal.signers(network)?);
    for signer in signers.former() {
        let mined = node.sequence(*signer, BlockAt::Latest).await.with_context(|| nodes::out_of_reach(config))?;
        let outstanding = journal.chain_txs_from(network, *signer, mined).await?.len();
        if outstanding > 0 {
            warn!(%network, %signer, outstanding,
                "this key has signed transactions that are not on the chain yet, and is not in facilitator.signers: nobody looks \
                 after them. Put it back until they have landed");
        }
    }
    Ok(signers)
}
