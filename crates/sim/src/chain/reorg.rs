//! Reorgs: the newest blocks are replaced by others.

use std::collections::BTreeSet;
use std::rc::Rc;

use alloy_primitives::{Address, B256};
use facilitator::engine::ChainReceipt;

use super::abi::TransferWith;
use super::{Block, Chain, Deed, Mining, Moved, Raw};
use crate::chance::Chance;

/// What reorgs have taken out of the chain. Somebody may have seen it there.
#[derive(Clone, Default)]
pub(crate) struct Undone {
    pub(crate) blocks: Vec<Block>,
    pub(crate) receipts: Vec<ChainReceipt>,
    pub(crate) moved: Vec<Moved>,
    /// What others sent and may land once more, as the same chain_txs.
    pub(super) deeds: Vec<(B256, Deed)>,
}

impl Undone {
    /// Payers of whom something was true in blocks that a reorg took out: a transfer of ours failed there, or somebody else did something.
    pub(crate) fn payers(&self) -> BTreeSet<Address> {
        self.blocks.iter().flat_map(|block| self.payers_in(block)).collect()
    }

    fn payers_in(&self, block: &Block) -> Vec<Address> {
        // In this block: what failed here may have gone through in another one that was taken out.
        let moved = |hash: B256, call: &TransferWith| {
            let mut here = self.moved.iter().filter(|moved| moved.block_hash == block.hash);
            here.any(|moved| (moved.chain_tx, moved.from, moved.nonce) == (hash, call.from, call.nonce))
        };
        let failed = |raw: &Raw| {
            let calls = raw.carried().into_iter().filter(|call| !moved(raw.hash, call));
            calls.map(|call| call.from).collect::<Vec<_>>()
        };
        let ours = block.ours.iter().flat_map(failed);
        let others = block.deeds.iter().map(|(_, deed)| match deed {
            Deed::Land { data, .. } => data.from,
            Deed::Cancel { payer, .. } | Deed::Spend { payer, .. } | Deed::Fund { payer, .. } => *payer,
            Deed::Block { payer } => *payer,
        });
        ours.chain(others).collect()
    }
}

impl Chain {
    /// Replaces so many of the newest blocks, and adds one. What was in them goes back to those who wait, or is lost; it may land
    /// in another order, and with others before it.
    pub(crate) fn reorg(&mut self, depth: usize, now_s: u64, mining: Mining, chance: &mut Chance) {
        self.before = None;
        self.before = Some(Rc::new(self.clone()));
        let left = self.blocks.split_off(self.blocks.len().saturating_sub(depth));
        let height = self.height();
        self.forks += 1;
        self.receipts.retain(|_, receipt| {
            let stays = receipt.block <= height;
            if !stays {
                self.undone.receipts.push(receipt.clone());
            }
            stays
        });
        self.logs.retain(|log| log.block <= height);
        let (stay, out) = self.moved.drain(..).partition(|moved| moved.block <= height);
        self.moved = stay;
        self.undone.moved.extend::<Vec<Moved>>(out);
        let receipts = &self.receipts;
        self.gas.retain(|hash, _| receipts.contains_key(hash));
        let token = Rc::clone(&self.latest().token);
        for block in &left {
            for raw in &block.ours {
                if chance.one_in(2) {
                    self.pool.add(Raw::clone(raw), token.sequence(raw.signer));
                }
            }
            let again = block.deeds.iter().filter(|_| chance.one_in(2)).cloned();
            self.undone.deeds.extend(again);
        }
        let times: Vec<u64> = left.iter().map(|block| block.time_s).collect();
        self.undone.blocks.extend(left);
        for time_s in times {
            self.mine(time_s, mining, chance);
        }
        self.mine(now_s, mining, chance);
    }

    /// Whether an authorization has moved money in this chain, or in blocks that a reorg took out.
    pub(crate) fn has_moved(&self, payer: Address, nonce: B256) -> bool {
        let is_it = |moved: &&Moved| moved.from == payer && moved.nonce == nonce;
        self.moved_by(payer, nonce).is_some() || self.undone.moved.iter().any(|moved| is_it(&moved))
    }

    /// Whether a block is in the chain.
    pub(crate) fn has_block(&self, number: u64, hash: B256) -> bool {
        let at = usize::try_from(number).ok().and_then(|place| self.blocks.get(place));
        at.is_some_and(|block| block.hash == hash)
    }
}
