//! What the audit reads of a chain. Everything is bounded: a few requests at once, and logs in windows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256, keccak256};
use facilitator::engine::{Block, BlockAt, ChainReceipt, FinalAt, Log, Node, NodeFault};
use facilitator::rpc::Nodes;
use tokio::task::JoinSet;

use crate::config::NetworkConfig;
use crate::nodes;

/// How many blocks one request for logs covers.
const WINDOW_BLOCKS: u64 = 2_000;
/// Down to so many it is halved where the node does not answer: some take fewer blocks, or fewer logs, than others.
const WINDOW_MIN_BLOCKS: u64 = 125;
/// How many requests are in flight at once.
const AT_ONCE: usize = 8;
/// How many nonces one request for logs names.
const NONCES_MAX: usize = 200;
/// How long a node may take for one request.
const TIMEOUT_MS: u64 = 20_000;
/// How long it is waited before a request is repeated.
const PAUSES_MS: [u64; 2] = [250, 1_500];
/// How long, by the chain's clock, a running gate may take to book what is final: chains with many blocks in a second have twelve
/// before it has looked.
const GRACE_S: u64 = 60;

static TRANSFER: LazyLock<B256> = LazyLock::new(|| keccak256("Transfer(address,address,uint256)"));
static USED: LazyLock<B256> = LazyLock::new(|| keccak256("AuthorizationUsed(address,bytes32)"));
static CANCELED: LazyLock<B256> = LazyLock::new(|| keccak256("AuthorizationCanceled(address,bytes32)"));

/// A `Transfer` of a token, and the nonce of the authorization that made it, if one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) token: Address,
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) value: U256,
    pub(super) nonce: Option<B256>,
}

/// A chain_tx in a block, as far as payments go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mined {
    pub(super) chain_tx: B256,
    pub(super) block: u64,
    pub(super) success: bool,
    pub(super) from: Address,
    pub(super) fee_wei: Option<u128>,
    pub(super) moved: Vec<Moved>,
    /// Uses of an authorization: token, authorizer and nonce.
    pub(super) used: BTreeSet<(Address, Address, B256)>,
}

/// What became of an authorization on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) chain_tx: B256,
    pub(super) block: u64,
    pub(super) cancelled: bool,
}

/// Token, authorizer and nonce.
pub(super) type Claim = (Address, Address, B256);

impl Mined {
    /// Finds each use's Transfer: the first of the authorizer's behind the use, or for tokens that emit it before, the last one ahead
    /// of it.
    pub(super) fn read(receipt: &ChainReceipt) -> Self {
        let mut moved: Vec<Moved> = Vec::new();
        let mut used = BTreeSet::new();
        // Uses whose Transfer was not seen yet.
        let mut waiting: Vec<Claim> = Vec::new();
        for log in &receipt.logs {
            match log.topics.as_slice() {
                [event, authorizer, nonce] if event == &*USED => {
                    let claim = (log.address, Address::from_word(*authorizer), *nonce);
                    used.insert(claim);
                    waiting.push(claim);
                }
                [event, from, to] if event == &*TRANSFER && log.data.len() == 32 => {
                    let (token, from, to) = (log.address, Address::from_word(*from), Address::from_word(*to));
                    let at = waiting.iter().rposition(|(asset, authorizer, _)| (*asset, *authorizer) == (token, from));
                    let nonce = at.map(|at| waiting.remove(at).2);
                    moved.push(Moved { token, from, to, value: U256::from_be_slice(&log.data), nonce });
                }
                _ => {}
            }
        }
        for (token, authorizer, nonce) in waiting {
            let free = |moved: &&mut Moved| (moved.token, moved.from, moved.nonce) == (token, authorizer, None);
            if let Some(moved) = moved.iter_mut().rev().find(free) {
                moved.nonce = Some(nonce);
            }
        }
        let (chain_tx, block, success) = (receipt.chain_tx, receipt.block, receipt.success);
        Self { chain_tx, block, success, from: receipt.from, fee_wei: receipt.fee_wei, moved, used }
    }

    /// The Transfer of an authorization.
    pub(super) fn move_of(&self, (token, authorizer, nonce): Claim) -> Option<&Moved> {
        self.moved.iter().find(|moved| (moved.token, moved.from, moved.nonce) == (token, authorizer, Some(nonce)))
    }
}

/// One chain at the time of the audit.
pub(super) struct Chain {
    node: Nodes,
    pub(super) head: u64,
    /// A final block that a running gate has had time to look at; 0 while there is none.
    old_block: u64,
    /// Its time.
    pub(super) old_time_s: u64,
    genesis: B256,
    receipts: BTreeMap<B256, Option<Mined>>,
}

impl Chain {
    /// Asks where the chain stands. Which block is final is as for the reconciler.
    pub(super) async fn connect(config: &NetworkConfig) -> Result<Self, String> {
        let silent = |NodeFault| "its node does not answer".to_owned();
        let node = nodes::open(config, TIMEOUT_MS).map_err(silent)?;
        let first =
            again(|| async { nodes::agreed(config.network, &node.identify().await).transpose().ok_or(NodeFault) });
        let genesis = first.await.map_err(silent)??;
        node.trust(genesis);
        let block = async |at| again(|| async { node.block(at).await }).await.map_err(silent);
        let head = block(BlockAt::Latest).await?;
        let depth = match config.finality.last {
            FinalAt::Blocks(blocks) => blocks,
            FinalAt::Safe => head.number.saturating_sub(block(BlockAt::Safe).await?.number),
            FinalAt::Finalized => head.number.saturating_sub(block(BlockAt::Finalized).await?.number),
        };
        let (mut old_block, mut old_time_s, mut depth) = (0, 0, depth.max(1));
        while let Some(number) = head.number.checked_sub(depth) {
            let old = block(BlockAt::Number(number)).await?;
            if old.time_s.saturating_add(GRACE_S) <= head.time_s {
                (old_block, old_time_s) = (old.number, old.time_s);
                break;
            }
            depth = depth.saturating_mul(2);
        }
        Ok(Self { node, head: head.number, old_block, old_time_s, genesis, receipts: BTreeMap::new() })
    }

    /// Whether the journal was written on this chain.
    pub(super) fn is_of(&self, genesis: Option<B256>) -> bool {
        genesis.is_none_or(|genesis| genesis == self.genesis)
    }

    /// The block stays, and a running gate has had time to look at it.
    pub(super) const fn is_old(&self, block: u64) -> bool {
        block <= self.old_block
    }

    /// A receipt that was read: `None` where the chain has none.
    pub(super) fn receipt(&self, chain_tx: B256) -> Option<&Mined> {
        self.receipts.get(&chain_tx).and_then(Option::as_ref)
    }

    /// Reads the receipts that were not read yet.
    pub(super) async fn read_receipts(&mut self, chain_txs: impl IntoIterator<Item = B256>) -> Result<(), NodeFault> {
        let wanted: BTreeSet<B256> = chain_txs.into_iter().filter(|hash| !self.receipts.contains_key(hash)).collect();
        let node = &self.node;
        let ask = |chain_tx: B256| {
            let node = node.clone();
            async move { Ok((chain_tx, again(|| node.receipt(chain_tx)).await?)) }
        };
        for (chain_tx, receipt) in bounded(wanted.into_iter().map(ask)).await? {
            self.receipts.insert(chain_tx, receipt.as_ref().map(Mined::read));
        }
        Ok(())
    }

    /// When these blocks were made, in milliseconds; those that the node does not tell are left out.
    pub(super) async fn times_ms(&self, blocks: impl Iterator<Item = u64>) -> BTreeMap<u64, u64> {
        let node = &self.node;
        let ask = |number: u64| {
            let node = node.clone();
            async move { Ok((number, again(|| node.block(BlockAt::Number(number))).await.ok())) }
        };
        let asked = bounded(blocks.collect::<BTreeSet<_>>().into_iter().map(ask)).await.unwrap_or_default();
        let time = |(number, block): (u64, Option<Block>)| Some((number, block?.time_s.saturating_mul(1_000)));
        asked.into_iter().filter_map(time).collect()
    }

    /// The chain_txs that moved one of these tokens to one of these payees.
    pub(super) async fn transfers_to(
        &self,
        tokens: &[Address],
        payees: &[Address],
        from_block: u64,
    ) -> Result<BTreeSet<B256>, NodeFault> {
        let payees: Vec<B256> = payees.iter().map(Address::into_word).collect();
        let mut found = BTreeSet::new();
        for token in tokens {
            let logs =
                self.logs(*token, vec![vec![*TRANSFER], Vec::new(), payees.clone()], from_block, self.head).await?;
            found.extend(logs.into_iter().map(|log| log.chain_tx));
        }
        Ok(found)
    }

    /// What became of these authorizations since a block: the first use or cancellation of each.
    pub(super) async fn ends(&self, claims: &[Claim], from_block: u64) -> Result<BTreeMap<Claim, End>, NodeFault> {
        let mut ends = BTreeMap::new();
        for claims in claims.chunks(NONCES_MAX) {
            let distinct =
                |what: fn(&Claim) -> B256| claims.iter().map(what).collect::<BTreeSet<_>>().into_iter().collect();
            let topics = vec![vec![*USED, *CANCELED], distinct(|claim| claim.1.into_word()), distinct(|claim| claim.2)];
            let tokens: BTreeSet<Address> = claims.iter().map(|claim| claim.0).collect();
            for token in tokens {
                for log in self.logs(token, topics.clone(), from_block, self.head).await? {
                    let [event, authorizer, nonce] = log.topics.as_slice() else { continue };
                    let end = End { chain_tx: log.chain_tx, block: log.block, cancelled: event == &*CANCELED };
                    ends.entry((token, Address::from_word(*authorizer), *nonce)).or_insert(end);
                }
            }
        }
        Ok(ends)
    }

    /// The largest Transfer out of a wallet in the window behind a block.
    pub(super) async fn outflow(
        &self,
        token: Address,
        from: Address,
        after_block: u64,
    ) -> Result<Option<(Moved, End)>, NodeFault> {
        let to_block = self.head.min(after_block.saturating_add(WINDOW_BLOCKS));
        let logs = self.logs(token, vec![vec![*TRANSFER], vec![from.into_word()]], after_block + 1, to_block).await?;
        let largest =
            logs.into_iter().filter(|log| log.topics.len() == 3 && log.data.len() == 32).max_by(|one, two| {
                (U256::from_be_slice(&one.data), two.block).cmp(&(U256::from_be_slice(&two.data), one.block))
            });
        Ok(largest.map(|log| {
            let to = log.topics.get(2).map_or(Address::ZERO, |to| Address::from_word(*to));
            let moved = Moved { token, from, to, value: U256::from_be_slice(&log.data), nonce: None };
            (moved, End { chain_tx: log.chain_tx, block: log.block, cancelled: false })
        }))
    }

    /// Logs in a range of blocks, in the order of the chain.
    async fn logs(
        &self,
        contract: Address,
        topics: Vec<Vec<B256>>,
        from_block: u64,
        to_block: u64,
    ) -> Result<Vec<Log>, NodeFault> {
        let step = usize::try_from(WINDOW_BLOCKS).unwrap_or(usize::MAX);
        let windows = (from_block..to_block.saturating_add(1)).step_by(step);
        let ask = |first: u64| {
            let (node, topics) = (self.node.clone(), topics.clone());
            let last = to_block.min(first.saturating_add(WINDOW_BLOCKS - 1));
            async move { Ok((first, window(&node, contract, &topics, (first, last)).await?)) }
        };
        let mut found = bounded(windows.map(ask)).await?;
        found.sort_by_key(|(first, _)| *first);
        Ok(found.into_iter().flat_map(|(_, logs)| logs).collect())
    }
}

/// The logs of one window, in parts where the node does not take it whole.
async fn window(
    node: &Nodes,
    contract: Address,
    topics: &[Vec<B256>],
    range: (u64, u64),
) -> Result<Vec<Log>, NodeFault> {
    let mut found = Vec::new();
    let mut left = vec![range];
    while let Some((first, last)) = left.pop() {
        let blocks = last.saturating_sub(first) + 1;
        let small = blocks <= WINDOW_MIN_BLOCKS;
        let read = || node.logs_between(contract, topics, first, last);
        match if small { again(read).await } else { read().await } {
            Ok(logs) => found.extend(logs),
            Err(NodeFault) if small => return Err(NodeFault),
            Err(NodeFault) => {
                let middle = first + blocks / 2;
                left.extend([(middle, last), (first, middle - 1)]);
            }
        }
    }
    Ok(found)
}

/// Asks again after a pause: public nodes turn a request away now and then.
async fn again<T>(mut ask: impl AsyncFnMut() -> Result<T, NodeFault>) -> Result<T, NodeFault> {
    for pause_ms in PAUSES_MS {
        if let Ok(answer) = ask().await {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    ask().await
}

/// Runs requests, a few at once. The first that fails ends them all.
async fn bounded<T: 'static>(
    requests: impl Iterator<Item = impl Future<Output = Result<T, NodeFault>> + 'static>,
) -> Result<Vec<T>, NodeFault> {
    let mut answers = Vec::new();
    let mut running = JoinSet::new();
    for request in requests {
        if running.len() >= AT_ONCE
            && let Some(answer) = running.join_next().await
        {
            answers.push(answer.map_err(|_| NodeFault)??);
        }
        running.spawn_local(request);
    }
    while let Some(answer) = running.join_next().await {
        answers.push(answer.map_err(|_| NodeFault)??);
    }
    Ok(answers)
}
