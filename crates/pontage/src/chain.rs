//! The embedded facilitator: one lane thread and one reconciler thread for each network, and the way to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use anyhow::{Context as _, anyhow, bail};
use facilitator::engine::{
    self, BlockAt, BooksJournal as _, Engine, FinalAt, Finality, Head, Lane, Live, Node, Pace, Purse, Submitter,
    TabTerms,
};
use facilitator::rpc::HttpNode;
use gate::{Fault, FaultKind};
use ledger::Hold;
use protocol::{Key, MoneyState, Network, Signer};
use store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::config::{NetworkConfig, TabConfig};
use crate::host::now_ms;
use crate::metrics::Way;
use crate::plan::{Plan, SETTLE_BUDGET_MS};
use crate::run::Lifeline;

/// How long a node may take for one request.
pub(crate) const NODE_TIMEOUT_MS: u64 = 5_000;
/// How many groups of holds may wait for a lane.
const LANE_QUEUE_MAX: usize = 1_024;
/// How many groups one journal step and one request to the node may carry.
const LANE_BATCH_MAX: usize = 64;
/// How often chain_txs that the chain does not have yet are sent again.
const REBROADCAST_MS: u64 = 2_000;
/// How often unfinished holds are looked at.
const RECONCILE_MS: u64 = 1_000;
/// How often it is looked whether the settlement key can pay for gas.
const PURSE_MS: u64 = 5_000;
/// How often it is looked whether the tab is to be settled.
const TAB_MS: u64 = 500;
/// What is left of an authorization's validity when it is submitted at the latest: four times what a settlement may take.
pub(crate) const TAB_MARGIN_MS: u64 = 4 * SETTLE_BUDGET_MS;

/// One network, checked at start: where its node is, who signs, and the way to its lane.
#[derive(Clone, Debug)]
pub(crate) struct ChainLink {
    network: Network,
    node: HttpNode,
    lane: LaneLink,
    signer: Address,
    live: Live,
    head: Head,
    finality: Finality,
    tab: TabTerms,
    /// What the settlement key had when it was last looked at.
    purse: Arc<Mutex<Option<Purse>>>,
    /// Whose caps are the tab's.
    plan: watch::Receiver<Arc<Plan>>,
}

/// A group of holds on its way to the lane, and where the answer goes.
type Order = (Vec<Hold>, oneshot::Sender<Result<B256, Fault>>);

/// The way to a lane's thread.
#[derive(Clone, Debug)]
pub(crate) struct LaneLink {
    queue: mpsc::Sender<Order>,
    /// Whether the settlement key can pay for gas. Without, nothing paid is served: nobody could settle it.
    funded: Arc<AtomicBool>,
}

impl LaneLink {
    fn is_funded(&self) -> bool {
        self.funded.load(Ordering::Relaxed)
    }

    /// A lane that takes no more work would leave a run unpaid.
    pub(crate) fn takes_work(&self) -> bool {
        self.is_funded() && self.queue.capacity() > 0 && !self.queue.is_closed()
    }
}

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

impl Submitter for LaneLink {
    async fn submit(&self, holds: &[Hold]) -> Result<B256, Fault> {
        let fault = Fault { kind: FaultKind::Settlement, money: MoneyState::Held };
        let (reply, answer) = oneshot::channel();
        let submitted = async {
            self.queue.send((holds.to_vec(), reply)).await.map_err(|_| fault)?;
            answer.await.map_err(|_| fault)?
        };
        // A lane that is late may still submit it; the reconciler will find the chain_tx in the journal.
        tokio::time::timeout(Duration::from_millis(SETTLE_BUDGET_MS), submitted).await.unwrap_or(Err(fault))
    }
}

impl ChainLink {
    pub(crate) const fn network(&self) -> Network {
        self.network
    }

    /// The keys that settle here.
    pub(crate) fn signers(&self) -> Vec<Address> {
        vec![self.signer]
    }

    /// The engine for the calling thread.
    pub(crate) fn engine(&self) -> Engine<HttpNode, LaneLink, Watch> {
        Engine {
            node: self.node.clone(),
            submitter: self.lane.clone(),
            pace: Watch::start(),
            signer: self.signer,
            live: self.live.clone(),
            head: self.head.clone(),
            finality: self.finality,
            budget_ms: SETTLE_BUDGET_MS,
        }
    }

    /// Checks a network against its node, ends what a crash left open, and starts the lane and the reconciler.
    pub(crate) async fn start(
        config: &NetworkConfig,
        tab: &TabConfig,
        plan: watch::Receiver<Arc<Plan>>,
        key: &Key,
        store: &Store,
        lifeline: &Lifeline,
    ) -> anyhow::Result<Self> {
        let network = config.network;
        let url = config.rpc_urls.first().context("the configuration has one rpc_url for each network")?;
        let node = HttpNode::new(url, NODE_TIMEOUT_MS)?;
        check(config, &node, store).await?;
        let signer = key.address();
        let gas = node.native_balance(signer).await.with_context(|| out_of_reach(network))?;
        info!(%network, %signer, gas_wei = %gas, "settlement key");
        engine::recover(&store.handle()?, network).await?;
        let lane = start_lane(network, node.clone(), key.clone(), store.clone(), lifeline).await?;
        let multicall = engine::has_multicall(&node).await.with_context(|| out_of_reach(network))?;
        if !multicall {
            warn!(%network, "there is no Multicall3: every payment on the tab takes a transaction of its own");
        }
        let tab = TabTerms {
            batch_max: if multicall { tab.batch_max } else { 1 },
            settle_age_ms: tab.settle_age_s.saturating_mul(1_000),
            caps: tab.caps,
            margin_ms: TAB_MARGIN_MS,
        };
        let purse = Arc::default();
        let (live, head) = (Live::default(), Head::default());
        let finality = config.finality;
        let link = Self { network, node, lane, signer, live, head, finality, tab, purse, plan };
        link.look_into_purse(&link.engine()).await;
        link.start_reconciler(store.clone(), lifeline)?;
        Ok(link)
    }

    /// How this way to settle is doing, as far as is known without asking anybody.
    pub(crate) fn way(&self) -> Way {
        let purse = *self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        Way {
            network: self.network.to_string(),
            facilitator: "embedded".to_owned(),
            up: self.lane.takes_work(),
            gas_wei: purse.map(|purse| purse.wei),
        }
    }

    /// Submits everything that is on the tab, and waits for no receipt. Says how many payments were moved, and how many are left.
    pub(crate) async fn settle_tab(&self, store: &Store) -> anyhow::Result<(usize, usize)> {
        let journal = store.handle()?;
        let moved = self.settle_due(&self.engine(), &journal, true).await?;
        Ok((moved, journal.due(self.network, None).await?.len()))
    }

    /// Settles the tab, if it is time or `all` is asked for. Nothing is signed that the key could not pay for.
    async fn settle_due(
        &self,
        engine: &Engine<HttpNode, LaneLink, Watch>,
        journal: &store::Handle,
        all: bool,
    ) -> Result<usize, Fault> {
        if !self.lane.is_funded() {
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
                    link.mind_purse(&engine)
                )
            });
            Ok(())
        };
        lifeline.spawn("reconciler", reconcile).map(drop)
    }
}

impl ChainLink {
    async fn reconcile(&self, engine: &Engine<HttpNode, LaneLink, Watch>, journal: &store::Handle) {
        loop {
            match engine.reconcile(journal, self.network).await {
                Ok(0) => {}
                Ok(resolved) => info!(network = %self.network, resolved, "reconciled with the chain"),
                Err(fault) => error!(network = %self.network, %fault, "reconciliation stopped; it will go on"),
            }
            tokio::time::sleep(Duration::from_millis(RECONCILE_MS)).await;
        }
    }

    /// Notes whether the settlement key can pay for gas, and says so when that changes.
    async fn look_into_purse(&self, engine: &Engine<HttpNode, LaneLink, Watch>) {
        let Ok(Purse { wei, needed_wei }) = engine.purse().await else { return };
        *self.purse.lock().unwrap_or_else(PoisonError::into_inner) = Some(Purse { wei, needed_wei });
        let funded = wei >= needed_wei;
        if self.lane.funded.swap(funded, Ordering::Relaxed) == funded {
            return;
        }
        let (network, signer) = (self.network, self.signer);
        if funded {
            info!(%network, %signer, gas_wei = %wei, "the settlement key can pay for gas again: paid calls are served");
        } else {
            error!(%network, %signer, gas_wei = %wei, %needed_wei,
                "the settlement key cannot pay for gas: fund it. Until then no paid call is served and the tab is not settled");
        }
    }

    async fn mind_purse(&self, engine: &Engine<HttpNode, LaneLink, Watch>) {
        loop {
            tokio::time::sleep(Duration::from_millis(PURSE_MS)).await;
            self.look_into_purse(engine).await;
        }
    }

    async fn collect(&self, engine: &Engine<HttpNode, LaneLink, Watch>, journal: &store::Handle) {
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

/// Compares what the configuration says of a network with what its node says.
pub(crate) async fn check(config: &NetworkConfig, node: &HttpNode, store: &Store) -> anyhow::Result<()> {
    let network = config.network;
    let chain_id = node.chain_id().await.with_context(|| out_of_reach(network))?;
    if chain_id != network.chain_id {
        bail!("networks.{network}.rpc_urls[0]: this node is on eip155:{chain_id}, not on {network}");
    }
    let genesis = node.block(BlockAt::Number(0)).await.with_context(|| out_of_reach(network))?;
    if !store.bind_chain(network, genesis.hash.as_slice())? {
        bail!(
            "store.path: this journal was written for another chain with the id {chain_id} (its first block differs). \
             Use another file for another chain"
        );
    }
    if let Some((tag, at)) = match config.finality.last {
        FinalAt::Safe => Some(("safe", BlockAt::Safe)),
        FinalAt::Finalized => Some(("finalized", BlockAt::Finalized)),
        FinalAt::Blocks(_) => None,
    } {
        let named = node.block(at).await;
        named.with_context(|| format!("networks.{network}.finality.final: this node names no block `{tag}`"))?;
    }
    for (at, token) in config.tokens.iter().enumerate() {
        let answer = engine::check_asset(node, token).await.with_context(|| out_of_reach(network))?;
        answer.map_err(|fault| anyhow!("networks.{network}.assets[{at}].{fault}"))?;
    }
    Ok(())
}

fn out_of_reach(network: Network) -> String {
    format!("networks.{network}.rpc_urls[0] (the cause is in the log)")
}

/// Starts the thread that alone signs for a key.
async fn start_lane(
    network: Network,
    node: HttpNode,
    key: Key,
    store: Store,
    lifeline: &Lifeline,
) -> anyhow::Result<LaneLink> {
    let (queue, orders) = mpsc::channel(LANE_QUEUE_MAX);
    let (started, ready) = oneshot::channel();
    let run = move || -> anyhow::Result<()> {
        let journal = store.handle()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            match Lane::start(network, node, journal, key).await {
                Ok(lane) => {
                    started.send(Ok(())).ok();
                    work(lane, orders).await;
                }
                Err(fault) => {
                    started.send(Err(fault)).ok();
                }
            }
        });
        Ok(())
    };
    lifeline.spawn("lane", run)?;
    ready.await.context("the lane's thread ended")?.context("the lane cannot start")?;
    Ok(LaneLink { queue, funded: Arc::new(AtomicBool::new(true)) })
}

/// Signs and sends what is ordered, whatever has come together in one step.
async fn work(mut lane: Lane<HttpNode, store::Handle, Key>, mut orders: mpsc::Receiver<Order>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(REBROADCAST_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            taken = orders.recv_many(&mut batch, LANE_BATCH_MAX) => {
                if taken == 0 {
                    return;
                }
                // Whoever gave up waiting has ordered again, or will: what he ordered first would be paid for twice in gas.
                batch.retain(|(_, reply): &Order| !reply.is_closed());
                let (groups, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                for (answer, reply) in lane.submit(&groups).await.into_iter().zip(replies) {
                    // Whoever asked may have gone; the journal has the chain_tx.
                    reply.send(answer).ok();
                }
            }
            _ = ticks.tick() => {
                if let Err(fault) = lane.rebroadcast().await {
                    warn!(%fault, "settlements on their way could not be looked after; they will be");
                }
            }
        }
    }
}
