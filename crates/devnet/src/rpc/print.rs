//! How blocks, chain_txs, receipts and logs are printed.

use alloy_primitives::{Address, B64, B256};
use serde_json::{Value, json};

use crate::chain::{BASE_FEE, BLOCK_GAS, Block, EMPTY_ROOT, Found, Mined, NO_OMMERS, NO_REQUESTS, logs_of};
use crate::chain_tx::{ChainTx, Layout};

pub(super) fn hex(number: impl std::fmt::LowerHex) -> Value {
    Value::String(format!("{number:#x}"))
}

/// With the chain_txs in full, or their hashes alone.
pub(super) fn block(block: &Block, in_full: bool) -> Value {
    let one = |(index, mined): (usize, &Mined)| {
        if in_full { chain_tx(&mined.chain_tx, Some((block, index))) } else { json!(mined.chain_tx.hash) }
    };
    let chain_txs: Vec<Value> = block.chain_txs.iter().enumerate().map(one).collect();
    json!({
        "number": hex(block.number),
        "hash": block.hash,
        "parentHash": block.parent,
        "sha3Uncles": NO_OMMERS,
        "miner": Address::ZERO,
        "stateRoot": B256::ZERO,
        "transactionsRoot": block.chain_txs_root,
        "receiptsRoot": block.receipts_root,
        "logsBloom": block.bloom,
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "gasLimit": hex(BLOCK_GAS),
        "gasUsed": hex(block.gas_used),
        "timestamp": hex(block.time_s),
        "extraData": "0x",
        "mixHash": B256::ZERO,
        "nonce": B64::ZERO,
        "baseFeePerGas": hex(BASE_FEE),
        "withdrawals": [],
        "withdrawalsRoot": EMPTY_ROOT,
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": B256::ZERO,
        "requestsHash": NO_REQUESTS,
        "size": hex(block.size_bytes),
        "uncles": [],
        "transactions": chain_txs,
    })
}

/// `None` for the place prints one that waits.
pub(super) fn chain_tx(chain_tx: &ChainTx, place: Option<(&Block, usize)>) -> Value {
    let mined_at = place.map(|(block, index)| &block.chain_txs[index].receipt);
    let mut printed = json!({
        "hash": chain_tx.hash,
        "type": hex(chain_tx.layout as u8),
        "chainId": hex(chain_tx.chain_id),
        "from": chain_tx.from,
        "to": chain_tx.to,
        "nonce": hex(chain_tx.sequence),
        "gas": hex(chain_tx.gas_limit),
        "gasPrice": hex(mined_at.map_or(chain_tx.fee_max, |receipt| receipt.gas_price)),
        "value": hex(chain_tx.value),
        "input": chain_tx.data,
        "v": hex(chain_tx.v),
        "r": hex(chain_tx.r),
        "s": hex(chain_tx.s),
        "blockHash": place.map(|(block, _)| block.hash),
        "blockNumber": place.map(|(block, _)| hex(block.number)),
        "transactionIndex": place.map(|(_, index)| hex(index)),
    });
    if chain_tx.layout != Layout::Legacy {
        let entry = |item: &revm::context_interface::transaction::AccessListItem| json!({"address": item.address, "storageKeys": item.storage_keys});
        printed["accessList"] = chain_tx.access_list.iter().map(entry).collect();
        printed["yParity"] = hex(chain_tx.v);
    }
    if chain_tx.layout == Layout::DynamicFee {
        printed["maxFeePerGas"] = hex(chain_tx.fee_max);
        printed["maxPriorityFeePerGas"] = hex(chain_tx.tip_max);
    }
    printed
}

pub(super) fn receipt(block: &Block, mined: &Mined) -> Value {
    let Mined { chain_tx, receipt } = mined;
    let index = block.chain_txs.iter().position(|other| other.chain_tx.hash == chain_tx.hash);
    let logs: Vec<Value> =
        logs_of(block).filter(|(.., mined, _, _)| mined.chain_tx.hash == chain_tx.hash).map(log).collect();
    json!({
        "transactionHash": chain_tx.hash,
        "transactionIndex": index.map(hex),
        "blockHash": block.hash,
        "blockNumber": hex(block.number),
        "from": chain_tx.from,
        "to": chain_tx.to,
        "type": hex(chain_tx.layout as u8),
        "status": hex(u8::from(receipt.success)),
        "gasUsed": hex(receipt.gas_used),
        "cumulativeGasUsed": hex(receipt.gas_used_so_far),
        "effectiveGasPrice": hex(receipt.gas_price),
        "contractAddress": receipt.created,
        "logs": logs,
        "logsBloom": receipt.bloom,
    })
}

pub(super) fn log((block, index, mined, place, log): Found<'_>) -> Value {
    json!({
        "address": log.address,
        "topics": log.topics(),
        "data": log.data.data,
        "blockHash": block.hash,
        "blockNumber": hex(block.number),
        "blockTimestamp": hex(block.time_s),
        "transactionHash": mined.chain_tx.hash,
        "transactionIndex": hex(index),
        "logIndex": hex(place),
        "removed": false,
    })
}
