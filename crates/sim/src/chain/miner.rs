//! Blocks.

use std::rc::Rc;

use super::{Block, Chain, Raw};
use crate::chance::Chance;
use crate::keys::LANES;

/// How a block is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mining {
    /// How many of our chain_txs a block takes at most.
    pub(crate) ours_max: u64,
    /// How often, of a thousand, a miner leaves the rest for later.
    pub(crate) lazy_per_mille: u64,
    /// How often the pool loses a chain_tx.
    pub(crate) loses_per_mille: u64,
    /// How often a member of a batch fails for want of gas, which another took.
    pub(crate) starves_per_mille: u64,
    /// The highest base fee, in gwei.
    pub(crate) gwei_max: u64,
}

impl Chain {
    /// What one of our keys has waiting.
    fn next_of_ours(&mut self, block: &Block, chance: &mut Chance) -> Option<Raw> {
        let mut lanes = LANES;
        if self.lanes > 1 && chance.one_in(2) {
            lanes.reverse();
        }
        lanes.into_iter().find_map(|lane| self.pool.next(lane, block.token.sequence(lane), block.base_fee))
    }

    /// Makes a block of what waits.
    pub(crate) fn mine(&mut self, now_s: u64, mining: Mining, chance: &mut Chance) {
        let last = self.latest();
        let mut block = Block {
            number: last.number + 1,
            time_s: now_s.max(last.time_s + 1),
            base_fee: last.base_fee,
            token: Rc::clone(&last.token),
            hash: Self::block_hash(last.number + 1, self.forks),
            ours: Vec::new(),
            deeds: Vec::new(),
        };
        if chance.one_in(3) {
            block.base_fee = u128::from(chance.between(1, mining.gwei_max.max(1))) * 1_000_000_000;
        }
        if self.pool.len() > 0 && chance.per_mille(mining.loses_per_mille) {
            self.pool.lose(chance.place(self.pool.len()));
        }
        let mut again = std::mem::take(&mut self.undone.deeds);
        let mut deeds = std::mem::take(&mut self.deeds);
        let mut ours_left = chance.between(mining.ours_max.min(1), mining.ours_max);
        loop {
            if !again.is_empty() && chance.one_in(2) {
                let (chain_tx, deed) = again.remove(0);
                self.perform_as(chain_tx, &deed, &mut block);
                continue;
            }
            let deed_first = !deeds.is_empty() && chance.one_in(2);
            if deed_first {
                let deed = deeds.remove(0);
                self.perform(&deed, &mut block);
                continue;
            }
            let wanted = ours_left > 0 && !chance.per_mille(mining.lazy_per_mille);
            let next = if wanted { self.next_of_ours(&block, chance) } else { None };
            if let Some(raw) = next {
                ours_left -= 1;
                let starved = chance.per_mille(mining.starves_per_mille).then(|| chance.place(5));
                self.include(&raw, &mut block, starved);
            } else if deeds.is_empty() && again.is_empty() {
                break;
            } else {
                ours_left = 0;
            }
        }
        self.pool.prune(|signer| block.token.sequence(signer));
        self.blocks.push(block);
        if let Some(old) = self.blocks.len().checked_sub(super::HISTORY + 1) {
            // What is behind the history is read no more.
            let empty = Rc::default();
            if let Some(old) = self.blocks.get_mut(old) {
                old.token = empty;
            }
        }
    }
}
