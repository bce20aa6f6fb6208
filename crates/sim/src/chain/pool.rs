//! What waits for a block.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_rlp::{Decodable, Header};

use super::MULTICALL3;
use super::abi::{Aggregate, TransferWith};

/// A signed chain_tx as it came.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) hash: B256,
    pub(crate) sequence: u64,
    pub(crate) tip: u128,
    pub(crate) fee_max: u128,
    pub(crate) to: Address,
    pub(crate) data: Bytes,
}

impl Raw {
    /// Reads EIP-1559 bytes. The signature is not looked at: there is one key.
    pub(crate) fn decode(raw: &[u8]) -> Option<Self> {
        let (kind, mut rest) = raw.split_first()?;
        if *kind != 2 || !Header::decode(&mut rest).ok()?.list {
            return None;
        }
        let (_chain, sequence) = (u64::decode(&mut rest).ok()?, u64::decode(&mut rest).ok()?);
        let (tip, fee_max) = (u128::decode(&mut rest).ok()?, u128::decode(&mut rest).ok()?);
        let (_gas, to) = (u64::decode(&mut rest).ok()?, Address::decode(&mut rest).ok()?);
        let (_value, data) = (u8::decode(&mut rest).ok()?, Bytes::decode(&mut rest).ok()?);
        Some(Self { hash: keccak256(raw), sequence, tip, fee_max, to, data })
    }
}

/// One key's chain_txs, by sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    waiting: BTreeMap<u64, Raw>,
    /// Chain_txs that no miner takes.
    pub(crate) stuck: BTreeSet<B256>,
}

impl Pool {
    /// Takes a chain_tx; one with a sequence that waits must bid a tenth more.
    pub(crate) fn add(&mut self, raw: Raw, mined: u64) -> bool {
        if raw.sequence < mined {
            return false;
        }
        if let Some(before) = self.waiting.get(&raw.sequence) {
            if before.hash == raw.hash {
                return true;
            }
            let more = |bid: u128| bid + bid / 10;
            if raw.tip < more(before.tip) || raw.fee_max < more(before.fee_max) {
                return false;
            }
        }
        self.waiting.insert(raw.sequence, raw);
        true
    }

    /// The chain_tx that may come next, if a miner would take it.
    pub(crate) fn next(&mut self, sequence: u64, base_fee: u128) -> Option<Raw> {
        let raw =
            self.waiting.get(&sequence).filter(|raw| raw.fee_max >= base_fee && !self.stuck.contains(&raw.hash))?;
        let raw = raw.clone();
        self.waiting.remove(&sequence);
        Some(raw)
    }

    /// Forgets what can no longer land.
    pub(crate) fn prune(&mut self, mined: u64) {
        self.waiting.retain(|sequence, _| *sequence >= mined);
    }

    /// Loses one chain_tx from sight.
    pub(crate) fn lose(&mut self, place: usize) {
        if let Some(sequence) = self.waiting.keys().nth(place).copied() {
            self.waiting.remove(&sequence);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Raw {
    /// The transfers that it asks for.
    pub(crate) fn carried(&self) -> Vec<TransferWith> {
        if self.to != MULTICALL3 {
            return TransferWith::decode(&self.data).into_iter().collect();
        }
        let calls = Aggregate::decode(&self.data).map(|calls| calls.0).unwrap_or_default();
        calls.iter().filter_map(|(_, data)| TransferWith::decode(data)).collect()
    }

    /// What it does, whatever it bids.
    pub(crate) fn payload(&self) -> B256 {
        keccak256([self.to.as_slice(), &self.data].concat())
    }
}
