//! The lanes of one network: a thread for each signing key, and the choice of who gets the next work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use anyhow::Context as _;
use facilitator::engine::{FeeCaps, Lane, LaneState, Submitter};
use facilitator::rpc::Nodes;
use gate::{Fault, FaultKind};
use ledger::Hold;
use protocol::{MoneyState, Network, Signer};
use store::Store;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::plan::SETTLE_BUDGET_MS;
use crate::run::Lifeline;
use crate::signer::SettlementKey;

/// How many groups of holds may wait for a lane.
const LANE_QUEUE_MAX: usize = 1_024;
/// How many groups one journal step and one request to the node may carry.
const LANE_BATCH_MAX: usize = 64;
/// How often chain_txs that the chain does not have yet are sent again.
const REBROADCAST_MS: u64 = 2_000;

/// A group of holds on its way to a lane, and where the answer goes.
type Order = (Vec<Hold>, oneshot::Sender<Result<B256, Fault>>);

/// The way to the lanes of a network.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    links: Arc<[LaneLink]>,
    dear: Arc<Dear>,
}

/// Whether gas costs more than may be bid. Then nothing is sent, and nothing paid is served.
#[derive(Debug, Default)]
struct Dear {
    now: AtomicBool,
    /// What the log says.
    said: AtomicBool,
}

/// The way to one lane's thread.
#[derive(Debug)]
pub(super) struct LaneLink {
    pub(super) signer: Address,
    queue: mpsc::Sender<Order>,
    doing: Arc<Doing>,
}

/// How a lane is doing, as others see it.
#[derive(Debug)]
struct Doing {
    /// Whether its key can pay for gas.
    funded: AtomicBool,
    stuck: AtomicBool,
    outstanding: AtomicUsize,
    /// Groups that it was given and has not answered.
    ordered: AtomicUsize,
    coin: Mutex<Option<Coin>>,
    /// Of the network.
    dear: Arc<Dear>,
}

/// What a key had when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coin {
    pub(super) wei: U256,
    /// For how many payments it lasts, at what the last ones cost. `None` before the first.
    pub(super) payments: Option<U256>,
}

impl Lanes {
    /// Starts a lane for each key.
    pub(super) async fn start(
        network: Network,
        node: &Nodes,
        keys: &[SettlementKey],
        caps: FeeCaps,
        store: &Store,
        lifeline: &Lifeline,
    ) -> anyhow::Result<Self> {
        let dear = Arc::<Dear>::default();
        let mut links = Vec::new();
        for key in keys {
            let (node, doing) = (node.clone(), Doing::new(Arc::clone(&dear)));
            links.push(LaneLink::start(network, node, key.clone(), caps, store.clone(), doing, lifeline).await?);
        }
        Ok(Self { links: links.into(), dear })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LaneLink> {
        self.links.iter()
    }

    /// Whether some key can pay for gas, at a price that may be bid.
    pub(super) fn can_send(&self) -> bool {
        !self.is_too_dear() && self.links.iter().any(LaneLink::is_funded)
    }

    /// Without a lane that takes more work a run would go unpaid.
    pub(crate) fn takes_work(&self) -> bool {
        self.can_send() && self.links.iter().any(LaneLink::takes_work)
    }

    pub(super) fn is_too_dear(&self) -> bool {
        self.dear.now.load(Ordering::Relaxed)
    }

    /// Notes whether gas costs too much; whether that is news.
    pub(super) fn set_too_dear(&self, too_dear: bool) -> bool {
        self.dear.now.store(too_dear, Ordering::Relaxed);
        self.dear.said.swap(too_dear, Ordering::Relaxed) != too_dear
    }

    /// The least loaded of those that can pay for gas and are not stuck. Where there is none, what must be settled all the same goes
    /// to one of the others, and waits there.
    fn pick(&self) -> Option<&LaneLink> {
        self.links.iter().min_by_key(|lane| lane.reluctance())
    }
}

impl Submitter for Lanes {
    async fn submit(&self, holds: &[Hold]) -> Result<B256, Fault> {
        let fault = Fault { kind: FaultKind::Settlement, money: MoneyState::Held };
        let lane = self.pick().ok_or(fault)?;
        let _ordered = Ordered::new(&lane.doing);
        let (reply, answer) = oneshot::channel();
        let submitted = async {
            lane.queue.send((holds.to_vec(), reply)).await.map_err(|_| fault)?;
            answer.await.map_err(|_| fault)?
        };
        // A lane that is late may still submit it; the reconciler will find the chain_tx in the journal.
        tokio::time::timeout(Duration::from_millis(SETTLE_BUDGET_MS), submitted).await.unwrap_or(Err(fault))
    }
}

impl LaneLink {
    /// Starts the thread that alone signs for a key.
    async fn start(
        network: Network,
        node: Nodes,
        key: SettlementKey,
        caps: FeeCaps,
        store: Store,
        doing: Doing,
        lifeline: &Lifeline,
    ) -> anyhow::Result<Self> {
        let signer = key.address();
        let (queue, orders) = mpsc::channel(LANE_QUEUE_MAX);
        let (started, ready) = oneshot::channel();
        let doing = Arc::new(doing);
        let told = Arc::clone(&doing);
        let run = move || -> anyhow::Result<()> {
            let journal = store.handle()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                match Lane::start(network, node, journal, key, caps).await {
                    Ok(lane) => {
                        started.send(Ok(())).ok();
                        work(lane, orders, &told).await;
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
        Ok(Self { signer, queue, doing })
    }

    fn is_funded(&self) -> bool {
        self.doing.funded.load(Ordering::Relaxed)
    }

    fn takes_work(&self) -> bool {
        self.is_funded() && self.queue.capacity() > 0 && !self.queue.is_closed()
    }

    /// What speaks against giving it work, the gravest first.
    fn reluctance(&self) -> (bool, bool, usize) {
        let load = self.doing.ordered.load(Ordering::Relaxed) + self.doing.outstanding.load(Ordering::Relaxed);
        (!self.takes_work(), self.doing.stuck.load(Ordering::Relaxed), load)
    }

    /// Notes whether its key can pay for gas; whether that is news.
    pub(super) fn set_funded(&self, funded: bool) -> bool {
        self.doing.funded.swap(funded, Ordering::Relaxed) != funded
    }

    pub(super) fn coin(&self) -> Option<Coin> {
        *self.doing.coin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what its key has; what it had before.
    pub(super) fn set_coin(&self, coin: Coin) -> Option<Coin> {
        self.doing.coin.lock().unwrap_or_else(PoisonError::into_inner).replace(coin)
    }
}

impl Doing {
    fn new(dear: Arc<Dear>) -> Self {
        Self {
            funded: AtomicBool::new(true),
            stuck: AtomicBool::default(),
            outstanding: AtomicUsize::default(),
            ordered: AtomicUsize::default(),
            coin: Mutex::default(),
            dear,
        }
    }

    fn note(&self, state: LaneState) {
        self.stuck.store(state.stuck, Ordering::Relaxed);
        self.outstanding.store(state.outstanding, Ordering::Relaxed);
    }
}

/// One group that a lane has not answered.
struct Ordered<'l>(&'l Doing);

impl<'l> Ordered<'l> {
    fn new(doing: &'l Doing) -> Self {
        doing.ordered.fetch_add(1, Ordering::Relaxed);
        Self(doing)
    }
}

impl Drop for Ordered<'_> {
    fn drop(&mut self) {
        self.0.ordered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Signs and sends what is ordered, whatever has come together in one step.
async fn work(mut lane: Lane<Nodes, store::Handle, SettlementKey>, mut orders: mpsc::Receiver<Order>, doing: &Doing) {
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
                let answers = lane.submit(&groups).await;
                doing.note(lane.state());
                // It has just been looked at. That gas is cheaper again is noted, and said, where the purses are looked into.
                if lane.state().too_dear {
                    doing.dear.now.store(true, Ordering::Relaxed);
                }
                for (answer, reply) in answers.into_iter().zip(replies) {
                    // Whoever asked may have gone; the journal has the chain_tx.
                    reply.send(answer).ok();
                }
            }
            _ = ticks.tick() => {
                if let Err(fault) = lane.rebroadcast().await {
                    warn!(%fault, "settlements on their way could not be looked after; they will be");
                }
                doing.note(lane.state());
            }
        }
    }
}
