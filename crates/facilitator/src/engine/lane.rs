//! A lane: one signing key, one gap-free sequence. It lives on a thread of its own.

use alloy_primitives::{Address, B256};
use gate::{Fault, FaultKind};
use ledger::{Hold, HoldId};
use protocol::{MoneyState, Network, Signer};

use super::chain_tx::ChainTx;
use super::node::{BlockAt, Fees, Node, NodeFault};
use super::token::{MULTICALL3, batch_data, transfer_data};

/// Holds that may not be submitted: they have ended. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub Vec<HoldId>);

/// What a lane needs of the journal.
pub trait LaneJournal {
    /// Marks holds submitted and keeps their signed bytes, in one step: all or nothing. Durable when it returns. A chain_tx with
    /// the sequence of an earlier one for the same holds takes its place, also when they have ended.
    fn submit(&self, batch: Vec<ChainTx>) -> impl Future<Output = Result<Result<(), Rejected>, Fault>>;

    /// The chain_txs of a signer from a sequence on, in order; of several with one sequence the newest.
    fn chain_txs_from(
        &self,
        network: Network,
        signer: Address,
        sequence: u64,
    ) -> impl Future<Output = Result<Vec<ChainTx>, Fault>>;
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
    head: Head,
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
    pub async fn start(network: Network, node: N, journal: J, signer: S) -> Result<Self, Fault> {
        let unreachable = |NodeFault| Fault::untouched(FaultKind::Node);
        let fees = node.fees().await.map_err(unreachable)?;
        let mined = node.sequence(signer.address(), BlockAt::Latest).await.map_err(unreachable)?;
        let mut lane = Self { network, node, journal, signer, next: mined, fees, head: Head::default() };
        let outstanding = lane.journal.chain_txs_from(network, lane.signer.address(), mined).await?;
        if let Some(last) = outstanding.last() {
            lane.next = last.sequence.saturating_add(1).max(mined);
            lane.send_all(&outstanding).await.map_err(unreachable)?;
        }
        Ok(lane)
    }

    /// Signs, journals and sends a chain_tx for each group of holds, and answers in the same order. Does not wait for receipts.
    /// A hold that has ended is left out of its group. Whatever the node says after the journal has taken it, the chain_tx
    /// counts as on its way: the hash is returned.
    pub async fn submit(&mut self, groups: &[Vec<Hold>]) -> Vec<Result<B256, Fault>> {
        if let Ok(fees) = self.node.fees().await {
            self.fees = fees;
        }
        let fault = |kind| Fault { kind, money: MoneyState::Held };
        let mut groups: Vec<Vec<&Hold>> = groups.iter().map(|group| group.iter().collect()).collect();
        let batch = loop {
            let Some(batch) = self.sign(&groups).await else {
                return groups.iter().map(|_| Err(fault(FaultKind::Settlement))).collect();
            };
            match self.journal.submit(batch.clone()).await {
                Ok(Ok(())) => break batch,
                Ok(Err(Rejected(rejected))) => {
                    let before: usize = groups.iter().map(Vec::len).sum();
                    groups.iter_mut().for_each(|group| group.retain(|hold| !rejected.contains(&hold.id)));
                    // A journal that rejects nothing that we sent would keep us here for ever.
                    if groups.iter().map(Vec::len).sum::<usize>() == before {
                        return groups.iter().map(|_| Err(fault(FaultKind::Journal))).collect();
                    }
                }
                Err(error) => return groups.iter().map(|_| Err(fault(error.kind))).collect(),
            }
        };
        if let Some(last) = batch.last() {
            self.next = last.sequence.saturating_add(1);
            // Not taken or not heard: `rebroadcast` repeats the same bytes until the chain has them.
            self.send_all(&batch).await.ok();
        }
        let mut sent = batch.into_iter();
        let hash = |group: &Vec<&Hold>| match group.is_empty() {
            true => Err(fault(FaultKind::Settlement)),
            false => sent.next().map(|tx| tx.hash).ok_or(fault(FaultKind::Invariant)),
        };
        groups.iter().map(hash).collect()
    }

    /// Sends again what the journal holds beyond the chain, and outbids the oldest when it has been stuck for a while. To be called
    /// every few seconds.
    ///
    /// # Errors
    /// A [`Fault`] when the node or the journal does not answer; nothing is lost by it.
    pub async fn rebroadcast(&mut self) -> Result<(), Fault> {
        let unreachable = |NodeFault| Fault { kind: FaultKind::Node, money: MoneyState::Held };
        let mined = self.node.sequence(self.signer.address(), BlockAt::Latest).await.map_err(unreachable)?;
        self.next = self.next.max(mined);
        let outstanding = self.journal.chain_txs_from(self.network, self.signer.address(), mined).await?;
        if let Some(last) = outstanding.last() {
            // A journal step that was reported as failed may have been durable: its sequences are taken.
            self.next = self.next.max(last.sequence.saturating_add(1));
            // The oldest alone: with thousands outstanding, new work must not wait for all of them.
            let oldest = outstanding.get(..SEND_MAX).unwrap_or(&outstanding);
            self.send_all(oldest).await.map_err(unreachable)?;
        }
        if let Some(first) = outstanding.first() {
            self.look_at(first).await?;
        }
        Ok(())
    }

    /// Counts the looks at the head, and outbids it when they are enough. The journal has the new bytes before they are sent; an
    /// authorization moves money once, whichever of them lands.
    async fn look_at(&mut self, head: &ChainTx) -> Result<(), Fault> {
        if self.head.sequence != head.sequence {
            self.head = Head { sequence: head.sequence, ..Head::default() };
        }
        self.head.looks = self.head.looks.saturating_add(1);
        let patience =
            STUCK_AFTER_LOOKS.saturating_mul(1u32.checked_shl(self.head.bids.min(BIDS_MAX)).unwrap_or(u32::MAX));
        if self.head.looks <= patience {
            return Ok(());
        }
        if let Ok(fees) = self.node.fees().await {
            self.fees = fees;
        }
        let too_low = head.fees().is_some_and(|(_, fee_max)| self.fees.base.saturating_add(self.fees.tip) > fee_max);
        if self.head.bids >= BIDS_MAX && !too_low {
            return Ok(());
        }
        let Ok(bid) = head.outbid(&self.signer, self.fees).await else { return Ok(()) };
        if self.journal.submit(vec![bid.clone()]).await?.is_ok() {
            self.head = Head { looks: 0, bids: self.head.bids.saturating_add(1), ..self.head };
            // Not taken or not heard: the next look sends it again.
            self.node.send(&[bid.raw]).await.ok();
        }
        Ok(())
    }

    async fn send_all(&self, chain_txs: &[ChainTx]) -> Result<(), NodeFault> {
        for some in chain_txs.chunks(SEND_MAX) {
            let raw: Vec<_> = some.iter().map(|tx| tx.raw.clone()).collect();
            self.node.send(&raw).await?;
        }
        Ok(())
    }

    /// A chain_tx for each group that is not empty.
    async fn sign(&self, groups: &[Vec<&Hold>]) -> Option<Vec<ChainTx>> {
        let mut batch = Vec::new();
        let mut sequence = self.next;
        for group in groups {
            let call = match group.as_slice() {
                [] => continue,
                [hold] => (hold.authorization.key.asset.address.0, transfer_data(&hold.authorization)),
                members => (MULTICALL3, batch_data(members.iter().map(|hold| &hold.authorization))),
            };
            let ids = group.iter().map(|hold| hold.id).collect();
            let tx = ChainTx::sign(&self.signer, self.network, sequence, self.fees, call, ids).await;
            batch.push(tx.ok()?);
            sequence = sequence.checked_add(1)?;
        }
        Some(batch)
    }
}
