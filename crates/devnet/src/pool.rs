//! Chain_txs that wait for a block.

use std::collections::{BTreeMap, HashMap, HashSet};

use alloy_primitives::{Address, B256};

use crate::chain_tx::ChainTx;

/// By sender and sequence. One that has a gap before it waits until the gap is filled.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    by_sender: BTreeMap<Address, BTreeMap<u64, Waiting>>,
    by_hash: HashMap<B256, (Address, u64)>,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiting {
    chain_tx: ChainTx,
    /// Among equal bids the first to come is the first to be mined.
    arrival: u64,
}

impl Pool {
    pub(crate) fn get(&self, hash: B256) -> Option<&ChainTx> {
        let (sender, sequence) = self.by_hash.get(&hash)?;
        Some(&self.by_sender.get(sender)?.get(sequence)?.chain_tx)
    }

    /// Takes a chain_tx, also for another of the same sequence that it outbids. False when it does not: a tenth more is asked for,
    /// of both fees.
    pub(crate) fn add(&mut self, chain_tx: ChainTx) -> bool {
        let same = self.by_sender.entry(chain_tx.from).or_default();
        if let Some(Waiting { chain_tx: old, .. }) = same.get(&chain_tx.sequence) {
            let enough = |old: u128| old.saturating_add(old.div_ceil(10).max(1));
            if chain_tx.fee_max < enough(old.fee_max) || chain_tx.tip_max < enough(old.tip_max) {
                return false;
            }
            self.by_hash.remove(&old.hash);
        }
        self.by_hash.insert(chain_tx.hash, (chain_tx.from, chain_tx.sequence));
        same.insert(chain_tx.sequence, Waiting { chain_tx, arrival: self.arrivals });
        self.arrivals += 1;
        true
    }

    pub(crate) fn remove(&mut self, hash: B256) -> Option<ChainTx> {
        let (sender, sequence) = self.by_hash.remove(&hash)?;
        let of_sender = self.by_sender.get_mut(&sender)?;
        let waiting = of_sender.remove(&sequence)?;
        if of_sender.is_empty() {
            self.by_sender.remove(&sender);
        }
        Some(waiting.chain_tx)
    }

    /// The sequence that comes after `next` and all that wait from there on without a gap.
    pub(crate) fn next_sequence(&self, sender: Address, next: u64) -> u64 {
        let waiting = self.by_sender.get(&sender).into_iter().flat_map(|waiting| waiting.range(next..));
        let ready = waiting.zip(next..).take_while(|((sequence, _), wanted)| *sequence == wanted);
        ready.map(|(_, wanted)| wanted.saturating_add(1)).last().unwrap_or(next)
    }

    /// The one that bids most among those whose turn it is, without those of `passed_over`.
    pub(crate) fn best(
        &self,
        base_fee: u128,
        sequence_of: impl Fn(Address) -> u64,
        passed_over: &HashSet<Address>,
    ) -> Option<&ChainTx> {
        let senders = self.by_sender.iter().filter(|(sender, _)| !passed_over.contains(*sender));
        let turns = senders.filter_map(|(sender, waiting)| waiting.get(&sequence_of(*sender)));
        let bids = turns.filter_map(|waiting| Some((waiting.chain_tx.tip(base_fee)?, waiting)));
        let best = bids.max_by_key(|(tip, waiting)| (*tip, std::cmp::Reverse(waiting.arrival)));
        best.map(|(_, waiting)| &waiting.chain_tx)
    }

    /// How many could be mined now, and how many wait for another.
    pub(crate) fn counts(&self, sequence_of: impl Fn(Address) -> u64) -> (u64, u64) {
        let mut counts = (0, 0);
        for (sender, waiting) in &self.by_sender {
            let next = self.next_sequence(*sender, sequence_of(*sender));
            for sequence in waiting.keys() {
                if *sequence < next {
                    counts.0 += 1;
                } else {
                    counts.1 += 1;
                }
            }
        }
        counts
    }
}
