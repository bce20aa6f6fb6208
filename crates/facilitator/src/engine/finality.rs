//! How deep a payment must be, and what becomes of one whose block a reorg takes out of the chain.
//!
//! What was posted is looked at again until its block is final. That is cheap: the hash of its block is compared with the chain's block
//! of that height, and receipts are read only where the two differ. A node that does not answer, or does not have the block, says
//! nothing: only another block in its place, and the authorization unused or used elsewhere, un-settles a payment.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use alloy_primitives::B256;
use gate::Fault;
use ledger::{BlockRef, Record, State, Step};
use protocol::Network;

use super::node::{Block, BlockAt, ChainReceipt, Node, NodeFault};
use super::reconcile::{BooksJournal, Mined, Receipts, Times};
use super::settle::{Engine, Landed, Pace, Submitter, settled};
use super::token::moved;

/// Which block stays for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalAt {
    /// The one behind which there are so many.
    Blocks(u64),
    /// The one that nodes call `safe`.
    Safe,
    /// The one that nodes call `finalized`.
    Finalized,
}

/// How deep a payment must be on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finality {
    /// In how many blocks, its own and those on top of it, it is settled.
    pub confirmations: u64,
    /// Where nothing changes any more.
    pub last: FinalAt,
}

impl Default for Finality {
    fn default() -> Self {
        Self { confirmations: 1, last: FinalAt::Blocks(12) }
    }
}

impl Finality {
    /// Whether what is in a block is settled, with this one as the newest.
    pub(super) const fn is_deep(self, block: u64, latest: u64) -> bool {
        latest.saturating_add(1) >= block.saturating_add(self.confirmations)
    }
}

impl<N: Node, L: Submitter, P: Pace> Engine<N, L, P> {
    /// The newest block that is final. `None` while there is none, or the node does not say.
    pub(super) async fn last_block(&self, latest: &Block) -> Result<Option<Block>, NodeFault> {
        let last = match self.finality.last {
            FinalAt::Blocks(blocks) => match latest.number.checked_sub(blocks) {
                Some(number) => Some(self.node.under(latest.place(), number).await?),
                None => None,
            },
            FinalAt::Safe => self.node.block(BlockAt::Safe).await.ok(),
            FinalAt::Finalized => self.node.block(BlockAt::Finalized).await.ok(),
        };
        // Nodes behind one URL are not all at the same height, nor on the same branch.
        let Some(last) = last.filter(|last| last.number <= latest.number) else { return Ok(None) };
        let counted = matches!(self.finality.last, FinalAt::Blocks(_));
        Ok((counted || self.carries(latest.place(), last.place()).await?).then_some(last))
    }

    /// Whether what a receipt is of is settled by now.
    pub(super) async fn is_deep_now(&self, receipt: &ChainReceipt) -> Result<bool, NodeFault> {
        if self.finality.confirmations <= 1 {
            return Ok(true);
        }
        let head = self.node.block(BlockAt::Latest).await?;
        // As many blocks on another branch are none on top of it.
        Ok(self.finality.is_deep(receipt.block, head.number) && self.carries(head.place(), receipt.place()).await?)
    }

    /// Whether a block is `head`, or one that it stands on. What is above it nobody can say.
    pub(super) async fn carries(&self, head: BlockRef, block: BlockRef) -> Result<bool, NodeFault> {
        match block.number.cmp(&head.number) {
            Ordering::Less => Ok(self.node.under(head, block.number).await?.hash == block.hash),
            Ordering::Equal => Ok(head == block),
            Ordering::Greater => Err(NodeFault),
        }
    }

    /// Looks again at every block that is not final and that posted payments or mined chain_txs of ours are in. Payments that a reorg
    /// took out are un-settled, and the others are noted where they are now. Returns how many that were.
    ///
    /// # Errors
    /// The journal's [`Fault`]; a node's silence only leaves things as they are.
    pub(super) async fn look_back<J: BooksJournal>(&self, journal: &J, network: Network) -> Result<usize, Fault> {
        let mut blocks = journal.unfinal(network).await?;
        if blocks.is_empty() {
            return Ok(0);
        }
        let Ok(times) = self.times().await else { return Ok(0) };
        // Of what is above its newest block a node says nothing.
        let head = times.head.place();
        blocks.retain(|block| block.number <= head.number);
        let Ok(left) = self.left(&blocks, head).await else { return Ok(0) };
        let mut undone = 0usize;
        for block in &left {
            undone = undone.saturating_add(self.look_into(journal, network, *block, times).await?);
        }
        blocks.retain(|block| block.number <= times.final_block && !left.contains(block));
        // What stays for ever is not concluded from what was found before: the last word on a block is read by itself.
        let mut last = Vec::new();
        for block in blocks {
            match self.carries(head, block).await {
                Ok(true) => last.push(block),
                Ok(false) => undone = undone.saturating_add(self.look_into(journal, network, block, times).await?),
                Err(NodeFault) => break,
            }
        }
        if !last.is_empty() {
            journal.finalize(network, last).await?;
        }
        Ok(undone)
    }

    /// Which of these blocks, the lowest first, `head` does not stand on. Where it stands on one of those that were found in one chain
    /// before, it stands on all of them that are lower: a block names the one before it.
    async fn left(&self, blocks: &[BlockRef], head: BlockRef) -> Result<Vec<BlockRef>, NodeFault> {
        let known = self.live.checked();
        let (mut left, mut found, mut beneath) = (Vec::new(), BTreeMap::new(), false);
        for block in blocks.iter().rev() {
            let is_known = known.get(&block.number) == Some(&block.hash);
            if (is_known && beneath) || self.carries(head, *block).await? {
                beneath |= is_known;
                found.insert(block.number, block.hash);
            } else {
                left.push(*block);
            }
        }
        self.live.check(found);
        Ok(left)
    }

    /// What became of everything that was in a block which is not in the chain any more.
    async fn look_into<J: BooksJournal>(
        &self,
        journal: &J,
        network: Network,
        block: BlockRef,
        times: Times,
    ) -> Result<usize, Fault> {
        let (mut receipts, mut steps) = (Receipts::new(), Vec::new());
        for record in journal.posted_in(network, block).await? {
            match self.undone(&record, block, times, &mut receipts).await {
                Ok(Some(step)) => steps.push((record.hold.id, step)),
                Ok(None) => {}
                Err(NodeFault) => break,
            }
        }
        let undone = steps.len();
        journal.advance_all(steps).await?;
        let (mut elsewhere, mut out) = (Vec::new(), Vec::new());
        for chain_tx in journal.mined_in(network, block).await? {
            match self.receipt(chain_tx, &mut receipts).await {
                Ok(Some(receipt)) if receipt.block_hash != block.hash => elsewhere.extend(Mined::of(&receipt)),
                Ok(Some(_)) => {}
                Ok(None) => out.push(chain_tx),
                Err(NodeFault) => break,
            }
        }
        if !elsewhere.is_empty() {
            journal.mined(elsewhere).await?;
        }
        if !out.is_empty() {
            journal.unmine(out).await?;
        }
        Ok(undone)
    }

    /// What became of one payment. `None` where nothing can be said.
    async fn undone(
        &self,
        record: &Record,
        block: BlockRef,
        times: Times,
        receipts: &mut Receipts,
    ) -> Result<Option<Step>, NodeFault> {
        let State::Posted(posted) = record.state else { return Ok(None) };
        let hold = &record.hold;
        let unsettle = Some(Step::Unsettle(block.hash));
        match self.receipt(posted.chain_tx, receipts).await? {
            // A part of the node that has not heard of the reorg, or has heard of another one.
            Some(receipt) if receipt.block_hash == block.hash => return Ok(None),
            Some(receipt) if !self.carries(times.head.place(), receipt.place()).await? => return Ok(None),
            Some(receipt) if moved(&receipt, &hold.authorization) => {
                return Ok(Some(Step::Post(settled(hold, &receipt))));
            }
            Some(_) | None => {}
        }
        Ok(match self.landed(hold, times.head.place()).await? {
            Landed::Not | Landed::Gone => unsettle,
            Landed::Paid(settled) | Landed::Foreign(settled) if settled.chain_tx == posted.chain_tx => None,
            // By another chain_tx: it is posted once more when that is deep enough.
            Landed::Paid(_) | Landed::Foreign(_) => unsettle,
            Landed::Shallow(chain_tx) => unsettle.filter(|_| chain_tx != posted.chain_tx),
            Landed::Unlogged => None,
        })
    }

    /// Whether `head` does not stand on a block that was read once.
    pub(super) async fn has_left(&self, block: BlockRef, head: BlockRef) -> Result<bool, NodeFault> {
        // Nobody has read it where nothing is read before a payment is taken.
        if block.hash == B256::ZERO { Ok(false) } else { self.carries(head, block).await.map(|carries| !carries) }
    }
}
