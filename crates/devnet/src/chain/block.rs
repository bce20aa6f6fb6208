//! Blocks and receipts.

use alloy_primitives::{Address, B64, B256, Bloom, Bytes, Log, U256, b256, keccak256};
use alloy_rlp::{Encodable, Header};

use super::{BASE_FEE, BLOCK_GAS};
use crate::chain_tx::ChainTx;

/// The ommers of every block: keccak of an empty RLP list.
pub(crate) const NO_OMMERS: B256 = b256!("0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
/// The root of an empty Merkle-Patricia tree.
pub(crate) const EMPTY_ROOT: B256 = b256!("0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
/// EIP-7685: no requests.
pub(crate) const NO_REQUESTS: B256 = b256!("0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

/// A block. It is never changed.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) parent: B256,
    pub(crate) time_s: u64,
    pub(crate) gas_used: u64,
    pub(crate) bloom: Bloom,
    pub(crate) chain_txs_root: B256,
    pub(crate) receipts_root: B256,
    pub(crate) size_bytes: usize,
    pub(crate) chain_txs: Vec<Mined>,
}

/// A chain_tx in a block.
#[derive(Debug)]
pub(crate) struct Mined {
    pub(crate) chain_tx: ChainTx,
    pub(crate) receipt: Receipt,
}

/// What the EVM says of a chain_tx that it ran.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) gas_used: u64,
    pub(crate) logs: Vec<Log>,
    pub(crate) created: Option<Address>,
}

/// What came of a chain_tx.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) success: bool,
    pub(crate) gas_used: u64,
    pub(crate) gas_used_so_far: u64,
    pub(crate) gas_price: u128,
    pub(crate) logs: Vec<Log>,
    /// The place of its first log among the block's.
    pub(crate) first_log: usize,
    pub(crate) bloom: Bloom,
    pub(crate) created: Option<Address>,
}

impl Receipt {
    pub(super) fn new(chain_tx: &ChainTx, outcome: Outcome, gas_used_so_far: u64, first_log: usize) -> Self {
        let Outcome { success, gas_used, logs, created } = outcome;
        let gas_price = BASE_FEE.saturating_add(chain_tx.tip(BASE_FEE).unwrap_or_default());
        let bloom = logs.iter().collect();
        Self { success, gas_used, gas_used_so_far, gas_price, logs, first_log, bloom, created }
    }
}

impl Block {
    /// Closes a block over what was mined.
    pub(super) fn seal(number: u64, parent: B256, time_s: u64, chain_txs: Vec<Mined>) -> Self {
        let mut bloom = Bloom::default();
        let (mut hashes, mut outcomes, mut size_bytes) = (Vec::new(), Vec::new(), 0_usize);
        for Mined { chain_tx, receipt } in &chain_txs {
            bloom.accrue_bloom(&receipt.bloom);
            hashes.extend_from_slice(chain_tx.hash.as_slice());
            outcomes.push(u8::from(receipt.success));
            receipt.gas_used.encode(&mut outcomes);
            outcomes.extend_from_slice(receipt.bloom.as_slice());
            size_bytes = size_bytes.saturating_add(chain_tx.size_bytes);
        }
        let root = |list: &[u8]| if list.is_empty() { EMPTY_ROOT } else { keccak256(list) };
        let mut block = Self {
            number,
            hash: B256::ZERO,
            parent,
            time_s,
            gas_used: chain_txs.last().map_or(0, |mined| mined.receipt.gas_used_so_far),
            bloom,
            chain_txs_root: root(&hashes),
            receipts_root: root(&outcomes),
            size_bytes,
            chain_txs,
        };
        let header = block.header();
        block.size_bytes = block.size_bytes.saturating_add(header.len());
        block.hash = keccak256(header);
        block
    }

    /// The header as a public chain at Prague encodes it.
    fn header(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        self.parent.encode(&mut fields);
        NO_OMMERS.encode(&mut fields);
        Address::ZERO.encode(&mut fields);
        B256::ZERO.encode(&mut fields);
        self.chain_txs_root.encode(&mut fields);
        self.receipts_root.encode(&mut fields);
        self.bloom.encode(&mut fields);
        U256::ZERO.encode(&mut fields);
        self.number.encode(&mut fields);
        BLOCK_GAS.encode(&mut fields);
        self.gas_used.encode(&mut fields);
        self.time_s.encode(&mut fields);
        Bytes::new().encode(&mut fields);
        B256::ZERO.encode(&mut fields);
        B64::ZERO.encode(&mut fields);
        BASE_FEE.encode(&mut fields);
        EMPTY_ROOT.encode(&mut fields);
        0_u64.encode(&mut fields);
        0_u64.encode(&mut fields);
        B256::ZERO.encode(&mut fields);
        NO_REQUESTS.encode(&mut fields);
        let mut header = Vec::new();
        Header { list: true, payload_length: fields.len() }.encode(&mut header);
        header.extend_from_slice(&fields);
        header
    }
}
