//! JSON-RPC over HTTP to chain nodes. What a node says in words is logged here and goes no further.

mod health;
mod nodes;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U64, U128, U256, hex};
use ledger::BlockRef;
use serde_json::{Value, json};
use tracing::{debug, warn};

use crate::engine::{Block, BlockAt, CallResult, ChainReceipt, EthCall, Fees, Log, Node, NodeFault, Sent};
use crate::point::{self, Act};
use health::Health;

pub use health::NodeHealth;
pub use nodes::{Identity, Nodes, NodesTerms};

/// The largest answer that is read.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;

/// A node by its URL. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpNode {
    client: reqwest::Client,
    url: String,
    /// For one request.
    timeout: Duration,
    health: Arc<Health>,
}

impl fmt::Debug for HttpNode {
    /// Without the URL, which may hold an access key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpNode(***)")
    }
}

/// What a node answered to one call of a batch.
enum Answer {
    Result(Value),
    Error { code: i64, message: String },
}

impl HttpNode {
    /// A node that is given `timeout_ms` for every request.
    ///
    /// # Errors
    /// [`NodeFault`] when no HTTP client can be made (no TLS roots).
    pub fn new(url: &str, timeout_ms: u64) -> Result<Self, NodeFault> {
        Self::in_list(url, timeout_ms, 0)
    }

    /// The node at this place of its network's list, by which the log calls it.
    fn in_list(url: &str, timeout_ms: u64, place: usize) -> Result<Self, NodeFault> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).tcp_nodelay(true).build();
        let client = client.map_err(|error| {
            warn!(%error, "no HTTP client for the chain node");
            NodeFault
        })?;
        let timeout = Duration::from_millis(timeout_ms);
        Ok(Self { client, url: url.to_owned(), timeout, health: Arc::new(Health::new(place)) })
    }

    /// The same node, which is given until then.
    fn until(&self, end: Instant) -> Self {
        Self { timeout: end.saturating_duration_since(Instant::now()), ..self.clone() }
    }

    /// Sends a batch, and notes whether the node answers.
    async fn batch(&self, calls: Vec<(&str, Value)>) -> Result<Vec<Answer>, NodeFault> {
        let answers = self.exchange(calls).await;
        // One that is over its limit answers, and says nothing (EIP-1474).
        let limited = |answer: &Answer| matches!(answer, Answer::Error { code: -32005, .. });
        self.health.note(answers.as_ref().is_ok_and(|answers| !answers.iter().all(limited)));
        answers
    }

    /// Sends a batch and sorts the answers by id. Every call has one, or the whole batch is a fault.
    async fn exchange(&self, calls: Vec<(&str, Value)>) -> Result<Vec<Answer>, NodeFault> {
        let count = calls.len();
        let method = calls.first().map_or("", |(method, _)| method);
        let fault = |what: &str| {
            // Of one that is known to be down once more is no news.
            if self.health.is_down() {
                debug!(endpoint = self.health.name(), method, what, "the chain node failed");
            } else {
                warn!(endpoint = self.health.name(), method, what, "the chain node failed");
            }
            NodeFault
        };
        let one = |(id, (method, params)): (usize, (&str, Value))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let body = Value::Array(calls.into_iter().enumerate().map(one).collect()).to_string();
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let request = request.timeout(self.timeout);
        let mut response = request.send().await.map_err(|error| fault(&words(error)))?;
        if !response.status().is_success() {
            return Err(fault(response.status().as_str()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| fault(&words(error)))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_MAX_BYTES {
                return Err(fault("answer too large"));
            }
        }
        let answers: Value = serde_json::from_slice(&bytes).map_err(|_| fault("not JSON"))?;
        let mut sorted: Vec<Option<Answer>> = (0..count).map(|_| None).collect();
        for answer in answers.as_array().ok_or_else(|| fault("not a batch"))? {
            let id = answer.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
            let slot = id.and_then(|id| sorted.get_mut(id)).ok_or_else(|| fault("unknown id"))?;
            *slot = Some(match answer.get("error").filter(|error| !error.is_null()) {
                Some(error) => Answer::Error {
                    code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
                    message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
                },
                None => Answer::Result(answer.get("result").cloned().unwrap_or_default()),
            });
        }
        sorted.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| fault("missing answers"))
    }

    /// Logs of one contract in a range of blocks, both ends included. Each place of `topics` lists what it may hold; an empty place
    /// holds anything. Nodes bound the range: a few thousand blocks are taken by most.
    ///
    /// # Errors
    /// [`NodeFault`] when the node does not answer, or not for so many blocks or logs.
    pub async fn logs_between(
        &self,
        contract: Address,
        topics: &[Vec<B256>],
        from_block: u64,
        to_block: u64,
    ) -> Result<Vec<Log>, NodeFault> {
        let logs = self.one("eth_getLogs", filter(contract, topics, from_block, to_block)).await?;
        self.fitting(&logs, contract, topics, from_block, to_block)
    }

    /// Reads logs. One that was not asked for would be taken for one that was.
    fn fitting(
        &self,
        logs: &Value,
        contract: Address,
        topics: &[Vec<B256>],
        from_block: u64,
        to_block: u64,
    ) -> Result<Vec<Log>, NodeFault> {
        let logs: Vec<Log> = logs.as_array().ok_or(NodeFault)?.iter().map(log).collect::<Result<_, _>>()?;
        let fits = |log: &Log| {
            let mut places = topics.iter().enumerate().filter(|(_, place)| !place.is_empty());
            log.address == contract
                && (from_block..=to_block).contains(&log.block)
                && places.all(|(at, place)| log.topics.get(at).is_some_and(|topic| place.contains(topic)))
        };
        if !logs.iter().all(fits) {
            warn!(endpoint = self.health.name(), "the chain node has logs that were not asked for");
            return Err(NodeFault);
        }
        Ok(logs)
    }

    /// Asks what can be asked by height alone, in one request that looks at the block of `head`'s height before and after it: what is
    /// said in between is of `head`'s branch, or nothing is.
    async fn one_under(&self, head: BlockRef, method: &str, params: Value) -> Result<Value, NodeFault> {
        let look = || ("eth_getBlockByNumber", json!([height(head.number), false]));
        let answers = self.batch(vec![look(), (method, params), look()]).await?;
        let has = |answer: &Answer| matches!(answer, Answer::Result(block) if hash(&block["hash"]) == Ok(head.hash));
        match answers.as_slice() {
            [before, Answer::Result(value), after] if has(before) && has(after) => Ok(value.clone()),
            [_, Answer::Error { code, message }, _] => {
                warn!(endpoint = self.health.name(), method, code, words = short(message), "the chain node refused");
                Err(NodeFault)
            }
            _ => {
                debug!(endpoint = self.health.name(), method, block = head.number, "the chain node has another block");
                Err(NodeFault)
            }
        }
    }

    /// The height of the node's newest block.
    async fn newest(&self) -> Result<u64, NodeFault> {
        let number = quantity(&self.one("eth_blockNumber", json!([])).await?)?;
        self.health.saw(number);
        Ok(number)
    }

    async fn one(&self, method: &str, params: Value) -> Result<Value, NodeFault> {
        match self.batch(vec![(method, params)]).await?.pop() {
            Some(Answer::Result(value)) => Ok(value),
            Some(Answer::Error { code, message }) => {
                warn!(endpoint = self.health.name(), method, code, words = short(&message), "the chain node refused");
                Err(NodeFault)
            }
            None => Err(NodeFault),
        }
    }
}

impl Node for HttpNode {
    async fn chain_id(&self) -> Result<u64, NodeFault> {
        quantity(&self.one("eth_chainId", json!([])).await?)
    }

    async fn block(&self, at: BlockAt) -> Result<Block, NodeFault> {
        let number = match at {
            BlockAt::Number(number) | BlockAt::Of(BlockRef { number, .. }) => height(number).into(),
            BlockAt::Latest | BlockAt::Safe | BlockAt::Finalized => tag(at),
        };
        let block = block(&self.one("eth_getBlockByNumber", json!([number, false])).await?)?;
        if at == BlockAt::Latest {
            self.health.saw(block.number);
        }
        // A node that answers for another block than it was asked for does not know the one.
        match at {
            BlockAt::Number(number) if number != block.number => Err(NodeFault),
            BlockAt::Of(place) if place != block.place() => Err(NodeFault),
            BlockAt::Number(_) | BlockAt::Of(_) | BlockAt::Latest | BlockAt::Safe | BlockAt::Finalized => Ok(block),
        }
    }

    async fn under(&self, head: BlockRef, number: u64) -> Result<Block, NodeFault> {
        let value = self.one_under(head, "eth_getBlockByNumber", json!([height(number), false])).await?;
        block(&value).and_then(|block| if block.number == number { Ok(block) } else { Err(NodeFault) })
    }

    async fn calls(&self, calls: &[EthCall], at: BlockAt) -> Result<Vec<CallResult>, NodeFault> {
        let call = |call: &EthCall| {
            let mut request = json!({"from": call.from, "to": call.to, "data": hex::encode_prefixed(&call.data)});
            if let Some(gas_max) = call.gas_max {
                request["gas"] = format!("{gas_max:#x}").into();
            }
            ("eth_call", json!([request, tag(at)]))
        };
        let results = self.batch(calls.iter().map(call).collect()).await?.into_iter().map(|answer| match answer {
            Answer::Result(value) => Ok(CallResult::Returned(bytes(&value)?)),
            // Code 3 is a revert by the JSON-RPC specification of execution clients; others say it in words.
            Answer::Error { code, message } if code == 3 || is_halt(&message) => {
                debug!(code, words = short(&message), "a tried call reverted");
                Ok(CallResult::Reverted)
            }
            Answer::Error { code, message } => {
                warn!(endpoint = self.health.name(), code, words = short(&message), "eth_call failed");
                Err(NodeFault)
            }
        });
        results.collect()
    }

    async fn sequence(&self, account: Address, at: BlockAt) -> Result<u64, NodeFault> {
        quantity(&self.one("eth_getTransactionCount", json!([account, tag(at)])).await?)
    }

    async fn native_balance(&self, account: Address) -> Result<U256, NodeFault> {
        let balance = self.one("eth_getBalance", json!([account, "latest"])).await?;
        balance.as_str().and_then(|text| text.parse().ok()).ok_or(NodeFault)
    }

    async fn fees(&self) -> Result<Fees, NodeFault> {
        let calls = vec![("eth_getBlockByNumber", json!(["latest", false])), ("eth_maxPriorityFeePerGas", json!([]))];
        let answers = self.batch(calls).await?;
        let [Answer::Result(block), tip] = answers.as_slice() else { return Err(NodeFault) };
        // Chains without a priority market do not know the second method: one gwei is a tip that any of them takes. A node that
        // is merely busy knows it, and there a gwei may be a thousand times too much.
        let tip = match tip {
            Answer::Result(value) => wei(value)?,
            Answer::Error { code: -32601 | -32004, .. } => 1_000_000_000,
            Answer::Error { code, message } => {
                warn!(endpoint = self.health.name(), code, words = short(message), "eth_maxPriorityFeePerGas failed");
                return Err(NodeFault);
            }
        };
        Ok(Fees { base: wei(&block["baseFeePerGas"])?, tip })
    }

    async fn send(&self, raw: &[Bytes]) -> Result<Vec<Sent>, NodeFault> {
        let calls = raw.iter().map(|raw| ("eth_sendRawTransaction", json!([hex::encode_prefixed(raw)]))).collect();
        point::before(Act::Send);
        let answers = self.batch(calls).await;
        point::after(Act::Send);
        let sent = answers?.into_iter().map(|answer| match answer {
            Answer::Result(_) => Sent::Accepted,
            Answer::Error { code, message } => {
                let sent = refused(&message);
                match sent {
                    Sent::Accepted | Sent::Known | Sent::SequenceUsed => {
                        debug!(endpoint = self.health.name(), code, words = short(&message), "sent before")
                    }
                    Sent::Underpriced | Sent::NotAccepted => {
                        warn!(
                            endpoint = self.health.name(),
                            code,
                            words = short(&message),
                            "the node refused a chain_tx; it will be sent again"
                        );
                    }
                }
                sent
            }
        });
        Ok(sent.collect())
    }

    async fn receipt(&self, chain_tx: B256) -> Result<Option<ChainReceipt>, NodeFault> {
        let receipt = self.one("eth_getTransactionReceipt", json!([chain_tx])).await?;
        if receipt.is_null() || receipt["blockNumber"].is_null() {
            return Ok(None);
        }
        let logs: Vec<Log> = receipt["logs"].as_array().ok_or(NodeFault)?.iter().map(log).collect::<Result<_, _>>()?;
        let (block, block_hash) = (quantity(&receipt["blockNumber"])?, hash(&receipt["blockHash"])?);
        // What belongs to another chain_tx or to another block is none of this receipt's.
        let named = receipt.get("transactionHash").filter(|hash| !hash.is_null()).map_or(Ok(chain_tx), hash)?;
        if named != chain_tx
            || logs.iter().any(|log| (log.chain_tx, log.block, log.block_hash) != (chain_tx, block, block_hash))
        {
            warn!(endpoint = self.health.name(), %chain_tx, "the chain node has a receipt that does not hang together");
            return Err(NodeFault);
        }
        Ok(Some(ChainReceipt {
            chain_tx,
            block,
            block_hash,
            success: quantity(&receipt["status"])? == 1,
            from: address(&receipt["from"])?,
            fee_wei: fee(&receipt).ok(),
            logs,
        }))
    }

    async fn logs(
        &self,
        contract: Address,
        topics: &[Vec<B256>],
        from_block: u64,
        head: BlockRef,
    ) -> Result<Vec<Log>, NodeFault> {
        let filter = filter(contract, topics, from_block, head.number);
        let logs = self.one_under(head, "eth_getLogs", filter).await?;
        self.fitting(&logs, contract, topics, from_block, head.number)
    }
}

/// Whether the contract itself came to an end that is no answer. Nodes have a code for a revert alone; the rest is words.
fn is_halt(message: &str) -> bool {
    const HALTS: [&str; 8] = [
        "revert",
        "out of gas",
        "outofgas",
        "invalid opcode",
        "invalid jump",
        "stack underflow",
        "stack limit",
        "write protection",
    ];
    let message = message.to_ascii_lowercase();
    HALTS.iter().any(|halt| message.contains(halt))
}

/// What a node means that does not take a chain_tx. There are no codes for it: these are the words of the common execution clients.
fn refused(message: &str) -> Sent {
    const USED: [&str; 4] = ["nonce too low", "nonce is too low", "oldnonce", "invalid nonce; got"];
    const KNOWN: [&str; 3] = ["already", "known transaction", "alreadyknown"];
    const UNDERPRICED: [&str; 4] =
        ["replacement", "could not replace existing", "another transaction with same nonce", "notallowed"];
    let message = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if has(&USED) {
        Sent::SequenceUsed
    } else if has(&UNDERPRICED) {
        Sent::Underpriced
    } else if has(&KNOWN) {
        Sent::Known
    } else {
        Sent::NotAccepted
    }
}

/// The beginning of a node's words: they go into the log, and only so much of them.
fn short(words: &str) -> &str {
    words.char_indices().nth(300).map_or(words, |(end, _)| words.get(..end).unwrap_or_default())
}

/// An error with its causes, for the log. The URL may hold an access key and is left out.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn height(number: u64) -> String {
    format!("{number:#x}")
}

/// How a block is named to a question about its state; one of a known hash by that (EIP-1898), so that no other branch answers.
fn tag(at: BlockAt) -> Value {
    match at {
        BlockAt::Latest => "latest".into(),
        BlockAt::Number(number) => height(number).into(),
        BlockAt::Of(block) => json!({"blockHash": block.hash, "requireCanonical": true}),
        BlockAt::Safe => "safe".into(),
        BlockAt::Finalized => "finalized".into(),
    }
}

fn filter(contract: Address, topics: &[Vec<B256>], from_block: u64, to_block: u64) -> Value {
    let place = |place: &Vec<B256>| if place.is_empty() { Value::Null } else { json!(place) };
    let wanted: Vec<Value> = topics.iter().map(place).collect();
    let (from, to) = (height(from_block), height(to_block));
    json!([{"address": contract, "topics": wanted, "fromBlock": from, "toBlock": to}])
}

fn block(value: &Value) -> Result<Block, NodeFault> {
    Ok(Block {
        number: quantity(&value["number"])?,
        hash: hash(&value["hash"])?,
        time_s: quantity(&value["timestamp"])?,
    })
}

fn log(value: &Value) -> Result<Log, NodeFault> {
    Ok(Log {
        address: address(&value["address"])?,
        topics: value["topics"].as_array().ok_or(NodeFault)?.iter().map(hash).collect::<Result<_, _>>()?,
        data: bytes(&value["data"])?,
        chain_tx: hash(&value["transactionHash"])?,
        block: quantity(&value["blockNumber"])?,
        block_hash: hash(&value["blockHash"])?,
    })
}

fn text(value: &Value) -> Result<&str, NodeFault> {
    value.as_str().ok_or(NodeFault)
}

fn quantity(value: &Value) -> Result<u64, NodeFault> {
    text(value)?.parse::<U64>().map(|number| number.to()).map_err(|_| NodeFault)
}

fn wei(value: &Value) -> Result<u128, NodeFault> {
    text(value)?.parse::<U128>().map(|number| number.to()).map_err(|_| NodeFault)
}

/// Gas used at the price that was taken, and what a rollup of the OP stack asks for the data besides.
fn fee(receipt: &Value) -> Result<u128, NodeFault> {
    let (gas, price) = (wei(&receipt["gasUsed"])?, wei(&receipt["effectiveGasPrice"])?);
    let data = receipt.get("l1Fee").filter(|fee| !fee.is_null()).map_or(Ok(0), wei)?;
    gas.checked_mul(price).and_then(|fee| fee.checked_add(data)).ok_or(NodeFault)
}

fn hash(value: &Value) -> Result<B256, NodeFault> {
    text(value)?.parse().map_err(|_| NodeFault)
}

fn address(value: &Value) -> Result<Address, NodeFault> {
    text(value)?.parse().map_err(|_| NodeFault)
}

fn bytes(value: &Value) -> Result<Bytes, NodeFault> {
    text(value)?.parse().map_err(|_| NodeFault)
}

#[cfg(test)]
mod tests;
