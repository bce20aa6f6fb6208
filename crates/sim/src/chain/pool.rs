//! What waits for a block.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, Header};

use super::MULTICALL3;
use super::abi::{Aggregate, TransferWith};
use crate::keys::LaneKey;

/// A signed chain_tx as it came.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) hash: B256,
    pub(crate) signer: Address,
    pub(crate) sequence: u64,
    pub(crate) tip: u128,
    pub(crate) fee_max: u128,
    pub(crate) to: Address,
    pub(crate) data: Bytes,
}

impl Raw {
    /// Reads EIP-1559 bytes. Of the signature there is only to be read which of our keys made it.
    pub(crate) fn decode(raw: &[u8]) -> Option<Self> {
        let (kind, mut rest) = raw.split_first()?;
        if *kind != 2 || !Header::decode(&mut rest).ok()?.list {
            return None;
        }
        let (_chain, sequence) = (u64::decode(&mut rest).ok()?, u64::decode(&mut rest).ok()?);
        let (tip, fee_max) = (u128::decode(&mut rest).ok()?, u128::decode(&mut rest).ok()?);
        let (_gas, to) = (u64::decode(&mut rest).ok()?, Address::decode(&mut rest).ok()?);
        let (_value, data) = (u8::decode(&mut rest).ok()?, Bytes::decode(&mut rest).ok()?);
        let (_accessed, _v) = (Header::decode_bytes(&mut rest, true).ok()?, u8::decode(&mut rest).ok()?);
        let (_r, s) = (U256::decode(&mut rest).ok()?, U256::decode(&mut rest).ok()?);
        let signer = LaneKey::signer(s.byte(31))?;
        Some(Self { hash: keccak256(raw), signer, sequence, tip, fee_max, to, data })
    }
}

/// Our keys' chain_txs, by key and sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    waiting: BTreeMap<(Address, u64), Raw>,
    /// Chain_txs that no miner takes.
    pub(crate) stuck: BTreeSet<B256>,
}

impl Pool {
    /// Takes a chain_tx; one with a sequence that waits must bid a tenth more.
    pub(crate) fn add(&mut self, raw: Raw, mined: u64) -> bool {
        if raw.sequence < mined {
            return false;
        }
        let place = (raw.signer, raw.sequence);
        if let Some(before) = self.waiting.get(&place) {
            if before.hash == raw.hash {
                return true;
            }
            let more = |bid: u128| bid + bid / 10;
            if raw.tip < more(before.tip) || raw.fee_max < more(before.fee_max) {
                return false;
            }
        }
        self.waiting.insert(place, raw);
        true
    }

    /// The chain_tx that may come next, if a miner would take it.
    pub(crate) fn next(&mut self, signer: Address, sequence: u64, base_fee: u128) -> Option<Raw> {
        let place = (signer, sequence);
        let raw = self.waiting.get(&place).filter(|raw| raw.fee_max >= base_fee && !self.stuck.contains(&raw.hash))?;
        let raw = raw.clone();
        self.waiting.remove(&place);
        Some(raw)
    }

    /// Forgets what can no longer land.
    pub(crate) fn prune(&mut self, mined: impl Fn(Address) -> u64) {
        self.waiting.retain(|(signer, sequence), _| *sequence >= mined(*signer));
    }

    /// Loses one chain_tx from sight.
    pub(crate) fn lose(&mut self, place: usize) {
        if let Some(place) = self.waiting.keys().nth(place).copied() {
            self.waiting.remove(&place);
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
