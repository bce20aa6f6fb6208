//! The methods that change nothing.

use alloy_primitives::{B256, keccak256};
use serde_json::{Value, json};

use super::Refusal;
use super::params::{At, Params, Parsed};
use super::print::{self, hex};
use crate::chain::{Asked, BASE_FEE, BLOCK_GAS, Block, Chain, TIP};
use crate::genesis::ACCOUNTS;
use crate::world::View;

const VERSION: &str = concat!("pontage-devnet/", env!("CARGO_PKG_VERSION"));

/// Geth's limit.
const FEE_HISTORY_MAX: u64 = 1024;

/// `None` when the method is none of these.
pub(super) fn call(chain: &Chain, now_s: u64, method: &str, params: &Params<'_>) -> Option<Parsed<Value>> {
    Some(match method {
        "web3_clientVersion" => Ok(json!(VERSION)),
        "web3_sha3" => params.bytes(0).map(|bytes| json!(keccak256(bytes))),
        "net_version" => Ok(json!(chain.chain_id().to_string())),
        "eth_chainId" => Ok(hex(chain.chain_id())),
        "eth_accounts" => Ok(json!(ACCOUNTS)),
        "eth_syncing" => Ok(json!(false)),
        "eth_gasPrice" => Ok(hex(BASE_FEE.saturating_add(TIP))),
        "eth_maxPriorityFeePerGas" => Ok(hex(TIP)),
        "eth_feeHistory" => fee_history(chain, params),
        "anvil_getAutomine" => Ok(json!(chain.mining() == crate::Mining::AtOnce)),
        "txpool_status" => {
            let (pending, queued) = chain.waiting_counts();
            Ok(json!({"pending": hex(pending), "queued": hex(queued)}))
        }
        _ => return of_state(chain, now_s, method, params).or_else(|| of_blocks(chain, method, params)),
    })
}

fn of_state(chain: &Chain, now_s: u64, method: &str, params: &Params<'_>) -> Option<Parsed<Value>> {
    Some(match method {
        "eth_getBalance" => of_account(chain, params, 1, |view, params| Ok(hex(view.info(params.address(0)?).balance))),
        "eth_getCode" => of_account(chain, params, 1, |view, params| {
            let code = view.info(params.address(0)?).code;
            Ok(code.map_or(json!("0x"), |code| json!(code.original_bytes())))
        }),
        "eth_getStorageAt" => of_account(chain, params, 2, |view, params| {
            let slot = view.slot(params.address(0)?, params.quantity(1)?);
            Ok(json!(B256::from(slot)))
        }),
        "eth_getTransactionCount" if params.at(1) == Ok(At::Pending) => {
            params.address(0).map(|account| hex(chain.pending_sequence(account)))
        }
        "eth_getTransactionCount" => {
            of_account(chain, params, 1, |view, params| Ok(hex(view.info(params.address(0)?).nonce)))
        }
        "eth_call" => run(chain, now_s, params),
        "eth_estimateGas" => estimate(chain, now_s, params),
        _ => return None,
    })
}

fn of_blocks(chain: &Chain, method: &str, params: &Params<'_>) -> Option<Parsed<Value>> {
    Some(match method {
        "eth_blockNumber" => Ok(hex(chain.head().number)),
        "eth_getBlockByNumber" => params.at(0).map(|at| print_block(block(chain, at), params)),
        "eth_getBlockByHash" => params.hash(0).map(|hash| print_block(chain.block_by_hash(hash), params)),
        "eth_getBlockReceipts" => params.at(0).map(|at| {
            let receipts = |block: &Block| block.chain_txs.iter().map(|mined| print::receipt(block, mined)).collect();
            block(chain, at).map_or(Value::Null, receipts)
        }),
        "eth_getTransactionByHash" => params.hash(0).map(|hash| match (chain.mined(hash), chain.waiting(hash)) {
            (Some((block, mined)), _) => {
                let index = block.chain_txs.iter().position(|other| other.chain_tx.hash == hash);
                print::chain_tx(&mined.chain_tx, index.map(|index| (block, index)))
            }
            (None, Some(waiting)) => print::chain_tx(waiting, None),
            (None, None) => Value::Null,
        }),
        "eth_getTransactionReceipt" => {
            let receipt = |hash| chain.mined(hash).map_or(Value::Null, |(block, mined)| print::receipt(block, mined));
            params.hash(0).map(receipt)
        }
        "eth_getLogs" => logs(chain, params),
        _ => return None,
    })
}

/// There is no block in the making: `pending` is the latest.
fn block(chain: &Chain, at: At) -> Option<&Block> {
    match at {
        At::Latest | At::Pending => Some(chain.head()),
        At::Number(number) => chain.block(number),
        At::Hash(hash) => chain.block_by_hash(hash),
    }
}

fn print_block(block: Option<&Block>, params: &Params<'_>) -> Value {
    let in_full = params.value(1).as_bool().unwrap_or_default();
    block.map_or(Value::Null, |block| print::block(block, in_full))
}

fn view(chain: &Chain, at: At) -> Parsed<View<'_>> {
    let number = block(chain, at).ok_or_else(|| Refusal::server("header not found: the block does not exist"))?.number;
    let gone = || {
        let oldest = chain.oldest_kept();
        Refusal::server(format!(
            "the state of block {number} is not kept any more; the oldest that is kept is {oldest}"
        ))
    };
    chain.view(number).ok_or_else(gone)
}

fn of_account(
    chain: &Chain,
    params: &Params<'_>,
    block: usize,
    read: impl Fn(View<'_>, &Params<'_>) -> Parsed<Value>,
) -> Parsed<Value> {
    read(view(chain, params.at(block)?)?, params)
}

/// A caller that counts on state overrides would read wrong answers if they were passed over.
fn no_overrides(params: &Params<'_>) -> Parsed<()> {
    match params.maybe(2) {
        Some(_) => Err(Refusal::params("parameter 3", "is for state overrides, which are not supported")),
        None => Ok(()),
    }
}

/// The time of the block in the making, when that is what is meant.
fn next_s(chain: &Chain, at: At, now_s: u64) -> Option<u64> {
    (at == At::Pending).then(|| chain.next_time_s(now_s))
}

fn run(chain: &Chain, now_s: u64, params: &Params<'_>) -> Parsed<Value> {
    let (ask, at) = (params.ask(0)?, params.at(1)?);
    no_overrides(params)?;
    match chain.ask(view(chain, at)?, next_s(chain, at, now_s), ask) {
        Asked::Returned { output, .. } => Ok(json!(output)),
        other => Err(Refusal::asked(other)),
    }
}

fn estimate(chain: &Chain, now_s: u64, params: &Params<'_>) -> Parsed<Value> {
    let (ask, at) = (params.ask(0)?, params.at(1)?);
    no_overrides(params)?;
    chain.estimate(view(chain, at)?, next_s(chain, at, now_s), ask).map(hex).map_err(Refusal::asked)
}

fn logs(chain: &Chain, params: &Params<'_>) -> Parsed<Value> {
    let (filter, from, to, hash) = params.filter(0)?;
    let number = |at: At| match at {
        At::Latest | At::Pending => Ok(chain.head().number),
        At::Number(number) => Ok(number),
        At::Hash(_) => Err(Refusal::params("parameter 1", "names a block by number or tag, or by `blockHash`")),
    };
    let (from, to) = match hash {
        Some(hash) => {
            let block = chain.block_by_hash(hash).ok_or_else(|| Refusal::server("unknown block"))?;
            (block.number, block.number)
        }
        None => (number(from)?, number(to)?),
    };
    if from > to && from <= chain.head().number {
        return Err(Refusal::params("parameter 1", "begins after it ends: `fromBlock` is greater than `toBlock`"));
    }
    Ok(chain.logs(&filter, from, to).map(print::log).collect())
}

/// The reward of every percentile is the tip that [`TIP`] names: nothing here competes for room.
fn fee_history(chain: &Chain, params: &Params<'_>) -> Parsed<Value> {
    let (count, at) = (params.number(0)?.clamp(1, FEE_HISTORY_MAX), params.at(1)?);
    let percentiles = params.value(2).as_array().map_or(0, Vec::len);
    if percentiles > 100 {
        return Err(Refusal::params("parameter 3", "has at most 100 percentiles"));
    }
    let newest = block(chain, at).ok_or_else(|| Refusal::server("header not found: the block does not exist"))?.number;
    let oldest = newest.saturating_add(1).saturating_sub(count);
    let blocks: Vec<&Block> = (oldest..=newest).filter_map(|number| chain.block(number)).collect();
    // A share of a block, not money.
    let ratios: Vec<f64> = blocks.iter().map(|block| block.gas_used as f64 / BLOCK_GAS as f64).collect();
    let mut history = json!({
        "oldestBlock": hex(oldest),
        "baseFeePerGas": vec![hex(BASE_FEE); blocks.len().saturating_add(1)],
        "gasUsedRatio": ratios,
    });
    if percentiles > 0 {
        history["reward"] = json!(vec![vec![hex(TIP); percentiles]; blocks.len()]);
    }
    Ok(history)
}
