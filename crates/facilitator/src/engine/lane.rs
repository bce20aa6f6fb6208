//! A lane: one signing key, one gap-free sequence. It lives on a thread of its own.

use alloy_primitives::{Address, B256};
use gate::{Fault, FaultKind};
use ledger::{Hold, HoldId};
use protocol::{MoneyState, Network, Signer};

use super::chain_tx::ChainTx;
use super::node::{BlockAt, Fees, Node, NodeFault, Sent};
use super::price::{FeeCaps, Price};
use super::token::{MULTICALL3, batch_data, transfer_data};

/// Holds that may not be submitted: they have ended. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub Vec<HoldId>);

/// What a lane needs of the journal.
pub trait LaneJournal {
    /// Marks holds submitted and keeps their signed bytes, in one step: all or nothing. Durable when it returns. A chain_tx with
    /// the sequence of an earlier one for the same holds, or for none, takes its place, also when they have ended.
    fn submit(&self, batch: Vec<ChainTx>) -> impl Future<Output = Result<Result<(), Rejected>, Fault>>;

    /// The chain_txs of a signer from a sequence on, in order; of several with one sequence the newest.
    fn chain_txs_from(
        &self,
        network: Network,
        signer: Address,
        sequence: u64,
    ) -> impl Future<Output = Result<Vec<ChainTx>, Fault>>;

    /// The latest `validBefore` of those of these holds that have not ended; `None` when all have.
    fn valid_before_s(&self, holds: Vec<HoldId>) -> impl Future<Output = Result<Option<u64>, Fault>>;

    /// The most that mined chain_txs have cost one of these holds, in wei. Members of a batch share its cost.
    fn spent_wei(&self, holds: Vec<HoldId>) -> impl Future<Output = Result<u128, Fault>>;
}

/// How many chain_txs are sent in one request; nodes cap their batches.
const SEND_MAX: usize = 50;

/// The lane over its ports.
#[derive(Debug)]
pub struct Lane<N, J, S> {
    network: Network,
    node: N,
    journal: J,
    signer: S,
    next: u64,
    fees: Fees,
    caps: FeeCaps,
    head: Head,
    outstanding: usize,
}

/// How a lane is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneState {
    /// How many of its chain_txs are not in a block, as last seen.
    pub outstanding: usize,
    /// Whether the oldest of them has not moved for a while.
    pub stuck: bool,
    /// Whether gas cost more than may be bid when the last work was signed.
    pub too_dear: bool,
}

/// Holds of one chain_tx, and what it bids.
struct Group<'h> {
    holds: Vec<&'h Hold>,
    price: Price,
}

/// The oldest chain_tx that is not in a block, and for how many looks it has been that.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    sequence: u64,
    looks: u32,
    bids: u32,
}

/// After more looks than this at a head that does not move, it is outbid: the node may have lost sight of it. Each further time
/// it takes twice as many.
const STUCK_AFTER_LOOKS: u32 = 3;
/// How often it is outbid without a reason that can be seen: with an eighth more each time it costs at most 2.6 times its first
/// bid. When gas costs more than it bids, it is outbid however often that was.
const BIDS_MAX: u32 = 8;

impl<N: Node, J: LaneJournal, S: Signer> Lane<N, J, S> {
    /// Sends again whatever the journal holds beyond the chain, then takes up the sequence behind it. The same bytes go out:
    /// a new sequence is never given while an old one may still be on its way.
    ///
    /// # Errors
    /// A [`Fault`] when the node or the journal does not answer.
    pub async fn start(network: Network, node: N, journal: J, signer: S, caps: FeeCaps) -> Result<Self, Fault> {
        let unreachable = |NodeFault| Fault::untouched(FaultKind::Node);
        let fees = node.fees().await.map_err(unreachable)?;
        let mined = node.sequence(signer.address(), BlockAt::Latest).await.map_err(unreachable)?;
        let (head, outstanding) = (Head::default(), 0);
        let mut lane = Self { network, node, journal, signer, next: mined, fees, caps, head, outstanding };
        let outstanding = lane.journal.chain_txs_from(network, lane.signer.address(), mined).await?;
        if let Some(last) = outstanding.last() {
            lane.next = last.sequence.saturating_add(1).max(mined);
            lane.outstanding = outstanding.len();
            lane.send_all(&outstanding).await.map_err(unreachable)?;
        }
        Ok(lane)
    }

    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> LaneState {
        let stuck = self.head.looks > STUCK_AFTER_LOOKS || self.head.bids > 0;
        LaneState { outstanding: self.outstanding, stuck, too_dear: self.caps.price(self.fees, 0).is_none() }
    }

    /// Signs, journals and sends a chain_tx for each group of holds, and answers in the same order. Does not wait for receipts.
    /// A hold that has ended is left out of its group; a group that would cost more than it may is not sent. Whatever the node says
    /// after the journal has taken it, the chain_tx counts as on its way: the hash is returned.
    pub async fn submit(&mut self, groups: &[Vec<Hold>]) -> Vec<Result<B256, Fault>> {
        self.look_at_fees().await;
        let fault = |kind| Fault { kind, money: MoneyState::Held };
        let mut groups = self.priced(groups).await;
        let batch = loop {
            let Some(batch) = self.sign(&groups).await else {
                return groups.iter().map(|_| Err(fault(FaultKind::Settlement))).collect();
            };
            match self.journal.submit(batch.clone()).await {
                Ok(Ok(())) => break batch,
                Ok(Err(Rejected(rejected))) => {
                    let count = |groups: &[Group<'_>]| groups.iter().map(|group| group.holds.len()).sum::<usize>();
                    let before = count(&groups);
                    groups.iter_mut().for_each(|group| group.holds.retain(|hold| !rejected.contains(&hold.id)));
                    // A journal that rejects nothing that we sent would keep us here for ever.
                    if count(&groups) == before {
                        return groups.iter().map(|_| Err(fault(FaultKind::Journal))).collect();
                    }
                }
                Err(error) => return groups.iter().map(|_| Err(fault(error.kind))).collect(),
            }
        };
        if let Some(last) = batch.last() {
            self.next = last.sequence.saturating_add(1);
            self.outstanding = self.outstanding.saturating_add(batch.len());
            // Not taken or not heard: `rebroadcast` repeats the same bytes until the chain has them.
            let sent = self.send_all(&batch).await.unwrap_or_default();
            if sent.contains(&Sent::SequenceUsed) {
                // Another program signs with this key. What went out with a sequence of its is submitted again by the reconciler.
                self.follow_chain().await.ok();
            }
        }
        let mut sent = batch.into_iter();
        let hash = |group: &Group<'_>| match group.holds.is_empty() {
            true => Err(fault(FaultKind::Settlement)),
            false => sent.next().map(|tx| tx.hash).ok_or(fault(FaultKind::Invariant)),
        };
        groups.iter().map(hash).collect()
    }

    async fn look_at_fees(&mut self) {
        if let Ok(fees) = self.node.fees().await {
            self.fees = fees;
        }
    }

    /// What each group bids. One that may not bid what gas costs is emptied.
    async fn priced<'h>(&self, groups: &'h [Vec<Hold>]) -> Vec<Group<'h>> {
        let mut priced = Vec::new();
        for group in groups {
            let spent = self.spent_wei(group.iter().map(|hold| hold.id).collect()).await;
            let price = spent.ok().and_then(|spent_wei| self.caps.price(self.fees, spent_wei));
            let holds = if price.is_some() { group.iter().collect() } else { Vec::new() };
            priced.push(Group { holds, price: price.unwrap_or_default() });
        }
        priced
    }

    async fn spent_wei(&self, holds: Vec<HoldId>) -> Result<u128, Fault> {
        if self.caps.payment_max == u128::MAX { Ok(0) } else { self.journal.spent_wei(holds).await }
    }

    /// Takes up the sequence behind what is in blocks, and says how many that are.
    async fn follow_chain(&mut self) -> Result<u64, NodeFault> {
        let mined = self.node.sequence(self.signer.address(), BlockAt::Latest).await?;
        self.next = self.next.max(mined);
        Ok(mined)
    }

    /// Sends again what the journal holds beyond the chain, and outbids the oldest when it has been stuck for a while. To be called
    /// every few seconds.
    ///
    /// # Errors
    /// A [`Fault`] when the node or the journal does not answer; nothing is lost by it.
    pub async fn rebroadcast(&mut self) -> Result<(), Fault> {
        let unreachable = |NodeFault| Fault { kind: FaultKind::Node, money: MoneyState::Held };
        let mined = self.follow_chain().await.map_err(unreachable)?;
        let outstanding = self.journal.chain_txs_from(self.network, self.signer.address(), mined).await?;
        self.outstanding = outstanding.len();
        let mut outbid = false;
        if let Some(last) = outstanding.last() {
            // A journal step that was reported as failed may have been durable: its sequences are taken.
            self.next = self.next.max(last.sequence.saturating_add(1));
            // The oldest alone: with thousands outstanding, new work must not wait for all of them.
            let oldest = outstanding.get(..SEND_MAX).unwrap_or(&outstanding);
            let sent = self.send_all(oldest).await.map_err(unreachable)?;
            outbid = sent.first() == Some(&Sent::Underpriced);
        }
        match outstanding.first() {
            Some(first) => self.look_at(first, outbid).await,
            None => {
                self.head = Head::default();
                Ok(())
            }
        }
    }

    /// Counts the looks at the head, and outbids it when they are enough, or when the node has `outbid` it. The journal has the new
    /// bytes before they are sent; an authorization moves money once, whichever of them lands. A head that no longer has anything to
    /// move gives its sequence up instead, so that what comes behind it can land.
    async fn look_at(&mut self, head: &ChainTx, outbid: bool) -> Result<(), Fault> {
        if self.head.sequence != head.sequence {
            self.head = Head { sequence: head.sequence, ..Head::default() };
        }
        self.head.looks = self.head.looks.saturating_add(1);
        if self.head.looks <= STUCK_AFTER_LOOKS && !outbid {
            return Ok(());
        }
        let over = self.is_over(head).await?;
        let patience =
            STUCK_AFTER_LOOKS.saturating_mul(1u32.checked_shl(self.head.bids.min(BIDS_MAX)).unwrap_or(u32::MAX));
        if self.head.looks <= patience && !over && !outbid {
            return Ok(());
        }
        self.look_at_fees().await;
        let Some(bid) = head.price() else { return Ok(()) };
        let too_low = self.fees.base.saturating_add(self.fees.tip) > bid.fee_max;
        if self.head.bids >= BIDS_MAX && !too_low && !over {
            return Ok(());
        }
        let spent_wei = self.spent_wei(head.holds.clone()).await?;
        let Some(price) = self.caps.more(bid, self.fees, spent_wei) else { return Ok(()) };
        let next = match over {
            true => head.no_op(&self.signer, price).await,
            false => head.outbid(&self.signer, price).await,
        };
        let Ok(next) = next else { return Ok(()) };
        if self.journal.submit(vec![next.clone()]).await?.is_ok() {
            self.head = Head { looks: 0, bids: self.head.bids.saturating_add(1), ..self.head };
            // Not taken or not heard: the next look sends it again.
            self.node.send(&[next.raw]).await.ok();
        }
        Ok(())
    }

    /// Whether a chain_tx has nothing left to move: all of its holds have ended, or the newest block is past their validity.
    async fn is_over(&self, chain_tx: &ChainTx) -> Result<bool, Fault> {
        if chain_tx.holds.is_empty() {
            return Ok(false);
        }
        Ok(match self.journal.valid_before_s(chain_tx.holds.clone()).await? {
            None => true,
            Some(until_s) => self.node.block(BlockAt::Latest).await.is_ok_and(|block| until_s <= block.time_s),
        })
    }

    async fn send_all(&self, chain_txs: &[ChainTx]) -> Result<Vec<Sent>, NodeFault> {
        let mut sent = Vec::new();
        for some in chain_txs.chunks(SEND_MAX) {
            let raw: Vec<_> = some.iter().map(|tx| tx.raw.clone()).collect();
            sent.extend(self.node.send(&raw).await?);
        }
        Ok(sent)
    }

    /// A chain_tx for each group that is not empty.
    async fn sign(&self, groups: &[Group<'_>]) -> Option<Vec<ChainTx>> {
        let mut batch = Vec::new();
        let mut sequence = self.next;
        for group in groups {
            let call = match group.holds.as_slice() {
                [] => continue,
                [hold] => (hold.authorization.key.asset.address.0, transfer_data(&hold.authorization)),
                members => (MULTICALL3, batch_data(members.iter().map(|hold| &hold.authorization))),
            };
            let ids = group.holds.iter().map(|hold| hold.id).collect();
            let tx = ChainTx::sign(&self.signer, self.network, sequence, group.price, call, ids).await;
            batch.push(tx.ok()?);
            sequence = sequence.checked_add(1)?;
        }
        Some(batch)
    }
}
