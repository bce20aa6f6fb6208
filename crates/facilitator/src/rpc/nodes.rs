//! Several endpoints of one network as one node: in order of preference, with fail-over, and where `agree` says so with two or three
//! that must say the same.
//!
//! What must not come of it is a view that goes back: an endpoint that is behind does not know yet what another one has shown, and its
//! "nothing there" would be taken for the chain's. So whoever lags is not read from, and a question about a block goes to those that
//! have it. What endpoints do not agree on is a fault: nobody can say now.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use ledger::BlockRef;
use tracing::{error, info, warn};

use super::{HttpNode, NodeHealth};
use crate::engine::{Block, BlockAt, CallResult, ChainReceipt, EthCall, Fees, Log, Node, NodeFault, Sent};

/// Less than this is no time to ask anybody.
const ASK_MIN: Duration = Duration::from_millis(20);
/// How long an endpoint may take to say how it does.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// For so long the others are waited for when one has taken what was sent: they are sent the same.
const SEND_GRACE: Duration = Duration::from_millis(50);

/// What holds for all endpoints of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodesTerms {
    /// The chain that they must be on.
    pub chain_id: u64,
    /// For one question, all endpoints that are asked together.
    pub timeout_ms: u64,
    /// An endpoint that is more than this behind the best known block is not read from.
    pub lag_blocks: u64,
    /// How many endpoints must say the same of what money depends on; at least 1.
    pub agree: usize,
}

/// Which chain an endpoint is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The EIP-155 id.
    pub chain_id: u64,
    /// The hash of its first block.
    pub genesis: B256,
}

/// The endpoints of one network. Cheap to clone; clones share what is known of each.
#[derive(Clone)]
pub struct Nodes {
    endpoints: Arc<Vec<HttpNode>>,
    shared: Arc<Shared>,
    terms: NodesTerms,
}

#[derive(Default)]
struct Shared {
    /// Of the chain that is trusted: an endpoint on another one is never asked.
    genesis: OnceLock<B256>,
}

/// What an endpoint must have to be asked.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// About the newest block.
    Newest,
    /// This block.
    Block(u64),
}

/// Answers, each with the place of its endpoint.
type Answers<T> = Vec<(usize, T)>;

/// A receipt for comparing: what its chain_tx has cost is not said by all nodes, or not in the same words.
struct Told(Option<ChainReceipt>);

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        let bare = |told: &Self| told.0.clone().map(|receipt| ChainReceipt { fee_wei: None, ..receipt });
        bare(self) == bare(other)
    }
}

impl fmt::Debug for Nodes {
    /// Without the URLs, which may hold an access key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nodes({})", self.endpoints.len())
    }
}

impl Nodes {
    /// Endpoints in order of preference. None of them is asked before its chain is known and trusted.
    ///
    /// # Errors
    /// [`NodeFault`] when no HTTP client can be made (no TLS roots).
    pub fn new(urls: &[String], terms: NodesTerms) -> Result<Self, NodeFault> {
        let node = |(place, url): (usize, &String)| HttpNode::in_list(url, terms.timeout_ms, place);
        let endpoints = urls.iter().enumerate().map(node).collect::<Result<_, _>>()?;
        Ok(Self { endpoints: Arc::new(endpoints), shared: Arc::default(), terms })
    }

    /// Asks every endpoint which chain it is on.
    pub async fn identify(&self) -> Vec<Result<Identity, NodeFault>> {
        let end = self.end();
        join_all(self.endpoints.iter().map(|node| identify(node.until(end)))).await
    }

    /// Trusts the chain with this first block. Endpoints that have not said yet are asked once they do.
    pub fn trust(&self, genesis: B256) {
        self.shared.genesis.get_or_init(|| genesis);
    }

    /// Looks where every endpoint stands, those that are down now and then, too. To be called every few seconds; with one endpoint
    /// there is nothing to compare, and nobody is asked.
    pub async fn look(&self) {
        if self.endpoints.len() > 1 {
            join_all(self.endpoints.iter().map(|node| self.look_at(node))).await;
            let best = self.best();
            self.endpoints.iter().for_each(|node| node.health.compare(best));
        }
    }

    async fn look_at(&self, node: &HttpNode) {
        if !node.health.may_ask() {
            return;
        }
        let asked = node.until(Instant::now() + LOOK_MAX);
        if node.health.identity().is_some() {
            asked.newest().await.ok();
            return;
        }
        let endpoint = node.health.name();
        match identify(asked).await {
            Ok(_) if self.is_ours(node) => info!(endpoint, "a chain node is there"),
            Ok(_) => error!(endpoint, "a chain node is on another chain: it is not asked. Correct the configuration"),
            Err(NodeFault) => {}
        }
    }

    /// How each endpoint does.
    #[must_use]
    pub fn health(&self) -> Vec<NodeHealth> {
        self.endpoints.iter().map(|node| node.health.read(self.is_up(node))).collect()
    }

    /// Whether enough endpoints answer and keep up.
    #[must_use]
    pub fn answer(&self) -> bool {
        let keeps_up = |node: &HttpNode| node.health.lag() <= self.terms.lag_blocks;
        let well = self.endpoints.iter().filter(|node| self.is_up(node) && keeps_up(node));
        well.count() >= self.terms.agree
    }

    fn is_up(&self, node: &HttpNode) -> bool {
        self.is_ours(node) && !node.health.is_down()
    }

    /// Logs of one contract in a range of blocks, as [`HttpNode::logs_between`].
    ///
    /// # Errors
    /// [`NodeFault`] when nobody can say now, or not for so many blocks or logs.
    pub async fn logs_between(
        &self,
        contract: Address,
        topics: &[Vec<B256>],
        from_block: u64,
        to_block: u64,
    ) -> Result<Vec<Log>, NodeFault> {
        let ask = async |node: HttpNode| node.logs_between(contract, topics, from_block, to_block).await;
        self.read("logs", Need::Block(to_block), ask).await
    }

    fn end(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.terms.timeout_ms)
    }

    /// Whether an endpoint is on the trusted chain.
    fn is_ours(&self, node: &HttpNode) -> bool {
        let genesis = self.shared.genesis.get();
        let ours = |genesis: &B256| Identity { chain_id: self.terms.chain_id, genesis: *genesis };
        genesis.is_some() && node.health.identity() == genesis.map(ours)
    }

    /// The best known block. Where endpoints must agree, one that is alone with a higher one is disregarded, as far as there are others
    /// enough without it. It counts also when whoever had it is down: what was seen there is not unseen.
    fn best(&self) -> u64 {
        let ours = self.endpoints.iter().filter(|node| self.is_ours(node));
        let mut heads: Vec<u64> = ours.map(|node| node.health.head()).filter(|head| *head > 0).collect();
        heads.sort_unstable_by(|one, two| two.cmp(one));
        let disregarded = heads.len().saturating_sub(self.terms.agree).min(self.terms.agree.saturating_sub(1));
        heads.get(disregarded).copied().unwrap_or_default()
    }

    fn lags(&self, node: &HttpNode) -> bool {
        node.health.head().saturating_add(self.terms.lag_blocks) < self.best()
    }

    /// Whom to ask: those that do well, and those that have failed several times in a row, as a last resort. Of each, those that are
    /// known to have what is needed go first.
    fn candidates(&self, need: Need) -> [Vec<&HttpNode>; 2] {
        let ours = self.endpoints.iter().filter(|node| self.is_ours(node));
        let (mut down, mut well): (Vec<_>, Vec<_>) = ours.partition(|node| node.health.is_down());
        for nodes in [&mut well, &mut down] {
            nodes.sort_by_key(|node| !self.has(node, need));
        }
        [well, down]
    }

    /// Whether an endpoint has what is needed, by what it said last. With one alone there is nobody who could know more.
    fn has(&self, node: &HttpNode, need: Need) -> bool {
        self.endpoints.len() == 1
            || match need {
                Need::Newest => !self.lags(node),
                Need::Block(number) => node.health.head() >= number,
            }
    }

    /// The same now: what is known of those that nobody asks is old.
    async fn has_now(&self, node: &HttpNode, need: Need, end: Instant) -> bool {
        self.has(node, need) || (has_time(end) && node.until(end).newest().await.is_ok() && self.has(node, need))
    }

    /// Asks one endpoint. `None` where it does not answer, or does not have what is needed.
    async fn ask<T>(
        &self,
        node: &HttpNode,
        need: Need,
        end: Instant,
        ask: &impl AsyncFn(HttpNode) -> Result<T, NodeFault>,
    ) -> Option<(usize, T)> {
        if !self.has_now(node, need, end).await || !has_time(end) {
            return None;
        }
        let answer = ask(node.until(end)).await;
        if answer.is_err() {
            node.health.fault();
        }
        Some((node.health.place(), answer.ok()?))
    }

    /// Asks in rounds, in each as many endpoints as answers are missing, until `end`.
    async fn hear<T>(
        &self,
        need: Need,
        end: Instant,
        missing: impl Fn(&Answers<T>) -> usize,
        ask: &impl AsyncFn(HttpNode) -> Result<T, NodeFault>,
    ) -> Answers<T> {
        let mut answers = Answers::new();
        for nodes in self.candidates(need) {
            let mut left = nodes.as_slice();
            loop {
                let (now, later) = left.split_at(missing(&answers).min(left.len()));
                let Some(until) = share(end, now.len(), left.len()) else { break };
                let asked = now.iter().map(|node| self.ask(node, need, until, ask));
                answers.extend(join_all(asked).await.into_iter().flatten());
                left = later;
            }
            // Where enough have spoken, those that are down are not waited for.
            if answers.len() >= self.terms.agree {
                break;
            }
        }
        answers
    }

    /// What as many endpoints say as must agree.
    async fn read<T: PartialEq>(
        &self,
        what: &str,
        need: Need,
        ask: impl AsyncFn(HttpNode) -> Result<T, NodeFault>,
    ) -> Result<T, NodeFault> {
        let answers = self.hear(need, self.end(), |answers| self.missing(answers), &ask).await;
        self.judge(what, answers)
    }

    /// What any endpoint says: for what no money depends on.
    async fn any<T>(&self, ask: impl AsyncFn(HttpNode) -> Result<T, NodeFault>) -> Result<T, NodeFault> {
        let missing = |answers: &Answers<T>| usize::from(answers.is_empty());
        self.hear(Need::Newest, self.end(), missing, &ask).await.pop().map(|(_, answer)| answer).ok_or(NodeFault)
    }

    /// How many further endpoints would have to say what most have said.
    fn missing<T: PartialEq>(&self, answers: &Answers<T>) -> usize {
        self.terms.agree.saturating_sub(most(answers).map_or(0, |(_, votes)| votes))
    }

    /// The answer that enough have given. Whoever says otherwise is named.
    fn judge<T: PartialEq>(&self, what: &str, mut answers: Answers<T>) -> Result<T, NodeFault> {
        let agreed = most(&answers).filter(|(_, votes)| *votes >= self.terms.agree).map(|(at, _)| at);
        let answer = |at: usize| answers.get(at).map(|(_, answer)| answer);
        let differs = |other: &T| match agreed {
            Some(at) => answer(at) != Some(other),
            None => answers.iter().any(|(_, answer)| answer != other),
        };
        let differ: Vec<_> = answers.iter().filter(|(_, answer)| differs(answer)).map(|(place, _)| *place).collect();
        let differ: Vec<_> = differ.into_iter().filter_map(|place| self.endpoints.get(place)).collect();
        if !differ.is_empty() {
            let endpoints: Vec<_> = differ.iter().map(|node| node.health.name()).collect();
            warn!(what, endpoints = endpoints.join(", "), decided = agreed.is_some(), "chain nodes do not agree");
            differ.iter().for_each(|node| node.health.differs());
        }
        agreed.map(|at| answers.swap_remove(at).1).ok_or(NodeFault)
    }

    /// The newest block that as many endpoints have as must agree.
    async fn newest(&self, at: BlockAt) -> Result<Block, NodeFault> {
        let ask = async |node: HttpNode| {
            let block = node.block(at).await?;
            // It may have fallen behind since it was last looked at.
            if self.lags(&node) { Err(NodeFault) } else { Ok(block) }
        };
        let missing = |answers: &Answers<Block>| self.terms.agree.saturating_sub(answers.len());
        let answers = self.hear(Need::Newest, self.end(), missing, &ask).await;
        let lowest = answers.iter().map(|(_, block)| *block).min_by_key(|block| block.number).ok_or(NodeFault)?;
        if answers.len() < self.terms.agree {
            return Err(NodeFault);
        }
        if answers.iter().all(|(_, block)| *block == lowest) {
            return Ok(lowest);
        }
        self.block_at(lowest.number).await
    }

    async fn block_at(&self, number: u64) -> Result<Block, NodeFault> {
        self.read("block", Need::Block(number), async |node| node.block(BlockAt::Number(number)).await).await
    }

    /// Where to read what is asked of the newest block: where several must agree, all are asked about one and the same.
    async fn settled_at(&self, at: BlockAt) -> Result<(BlockAt, Need), NodeFault> {
        match at {
            BlockAt::Number(number) | BlockAt::Of(BlockRef { number, .. }) => Ok((at, Need::Block(number))),
            BlockAt::Latest | BlockAt::Safe | BlockAt::Finalized if self.terms.agree == 1 => Ok((at, Need::Newest)),
            BlockAt::Latest | BlockAt::Safe | BlockAt::Finalized => {
                let block = self.newest(at).await?.place();
                Ok((BlockAt::Of(block), Need::Block(block.number)))
            }
        }
    }

    /// A receipt of a block that its endpoint has.
    async fn receipt_of(&self, node: HttpNode, chain_tx: B256, end: Instant) -> Result<Told, NodeFault> {
        let receipt = node.receipt(chain_tx).await?;
        match &receipt {
            Some(receipt) if !self.has_now(&node, Need::Block(receipt.block), end).await => Err(NodeFault),
            Some(_) | None => Ok(Told(receipt)),
        }
    }

    /// A receipt that any endpoint has. One may be the first to see a block, and another may have lost it.
    async fn any_receipt(&self, chain_tx: B256) -> Result<Option<ChainReceipt>, NodeFault> {
        let end = self.end();
        let missing = |answers: &Answers<Told>| usize::from(answers.iter().all(|(_, told)| told.0.is_none()));
        let ask = async |node| self.receipt_of(node, chain_tx, end).await;
        let answers = self.hear(Need::Newest, end, missing, &ask).await;
        if answers.is_empty() {
            return Err(NodeFault);
        }
        Ok(answers.into_iter().find_map(|(_, told)| told.0))
    }

    /// A receipt that enough endpoints have alike, or that enough do not have.
    async fn agreed_receipt(&self, chain_tx: B256) -> Result<Option<ChainReceipt>, NodeFault> {
        let end = self.end();
        let ask = async |node| self.receipt_of(node, chain_tx, end).await;
        let mut answers = self.hear(Need::Newest, end, |answers| self.missing(answers), &ask).await;
        let found = answers.iter().filter_map(|(_, told)| told.0.as_ref()).map(|receipt| receipt.block).max();
        if let Some(block) = found {
            // Who did not have the block yet when it was asked has said nothing; who has it now is asked once more.
            let (silent, mut told): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, told)| told.0.is_none());
            let silent = silent.iter().filter_map(|(place, _)| self.endpoints.get(*place));
            let again = silent.map(|node| self.ask(node, Need::Block(block), end, &ask));
            told.extend(join_all(again).await.into_iter().flatten());
            answers = told;
        }
        let fees: Vec<_> = answers.iter().filter_map(|(_, told)| told.0.as_ref()?.fee_wei).collect();
        let agreed = self.judge("receipt", answers)?;
        let fee_wei = fees.first().filter(|fee| fees.iter().all(|other| other == *fee)).copied();
        Ok(agreed.0.map(|receipt| ChainReceipt { fee_wei, ..receipt }))
    }
}

impl Node for Nodes {
    async fn chain_id(&self) -> Result<u64, NodeFault> {
        self.any(async |node| node.chain_id().await).await
    }

    async fn block(&self, at: BlockAt) -> Result<Block, NodeFault> {
        match at {
            BlockAt::Number(number) => self.block_at(number).await,
            BlockAt::Of(place) => {
                self.read("block", Need::Block(place.number), async |node| node.block(at).await).await
            }
            BlockAt::Latest | BlockAt::Safe | BlockAt::Finalized => self.newest(at).await,
        }
    }

    async fn under(&self, head: BlockRef, number: u64) -> Result<Block, NodeFault> {
        self.read("block", Need::Block(head.number), async |node| node.under(head, number).await).await
    }

    async fn calls(&self, calls: &[EthCall], at: BlockAt) -> Result<Vec<CallResult>, NodeFault> {
        let (at, need) = self.settled_at(at).await?;
        self.read("calls", need, async |node| node.calls(calls, at).await).await
    }

    async fn sequence(&self, account: Address, at: BlockAt) -> Result<u64, NodeFault> {
        let (at, need) = self.settled_at(at).await?;
        self.read("sequence", need, async |node| node.sequence(account, at).await).await
    }

    async fn native_balance(&self, account: Address) -> Result<U256, NodeFault> {
        self.any(async |node| node.native_balance(account).await).await
    }

    async fn fees(&self) -> Result<Fees, NodeFault> {
        self.any(async |node| node.fees().await).await
    }

    /// To all that do well at once: what one has taken is taken.
    async fn send(&self, raw: &[Bytes]) -> Result<Vec<Sent>, NodeFault> {
        let ours = || self.endpoints.iter().filter(|node| self.is_ours(node));
        let mut nodes: Vec<_> = ours().filter(|node| self.is_up(node)).collect();
        if nodes.is_empty() {
            nodes = ours().collect();
        }
        let end = self.end();
        let send = async |node: &HttpNode| {
            let sent = node.until(end).send(raw).await;
            if sent.is_err() {
                node.health.fault();
            }
            sent
        };
        let mut sending: FuturesUnordered<_> = nodes.into_iter().map(send).collect();
        let (mut sent, mut until): (Option<Vec<Sent>>, _) = (None, end);
        while let Ok(Some(heard)) = tokio::time::timeout_at(until.into(), sending.next()).await {
            let Ok(heard) = heard else { continue };
            sent = Some(match sent {
                Some(sent) => sent.into_iter().zip(heard).map(|(one, two)| either(one, two)).collect(),
                None => heard,
            });
            if sent.iter().flatten().all(|sent| matches!(sent, Sent::Accepted | Sent::Known)) {
                until = end.min(Instant::now() + SEND_GRACE);
            }
        }
        sent.ok_or(NodeFault)
    }

    async fn receipt(&self, chain_tx: B256) -> Result<Option<ChainReceipt>, NodeFault> {
        if self.terms.agree == 1 { self.any_receipt(chain_tx).await } else { self.agreed_receipt(chain_tx).await }
    }

    async fn logs(
        &self,
        contract: Address,
        topics: &[Vec<B256>],
        from_block: u64,
        head: BlockRef,
    ) -> Result<Vec<Log>, NodeFault> {
        let ask = async |node: HttpNode| node.logs(contract, topics, from_block, head).await;
        self.read("logs", Need::Block(head.number), ask).await
    }
}

async fn identify(node: HttpNode) -> Result<Identity, NodeFault> {
    let chain_id = node.chain_id().await?;
    let genesis = node.block(BlockAt::Number(0)).await?.hash;
    node.newest().await?;
    let identity = Identity { chain_id, genesis };
    node.health.identify(identity);
    Ok(identity)
}

/// A question that has no time left would be held against who is asked.
fn has_time(end: Instant) -> bool {
    end.saturating_duration_since(Instant::now()) >= ASK_MIN
}

/// When those that are asked now must have answered, so that the others have their share. `None` when nobody is, or no time is left.
fn share(end: Instant, asked: usize, left: usize) -> Option<Instant> {
    let now = Instant::now();
    let (asked, left) = (u32::try_from(asked).ok()?, u32::try_from(left).ok()?);
    let time = end.saturating_duration_since(now).checked_mul(asked)?.checked_div(left)?;
    (time >= ASK_MIN).then(|| now + time)
}

/// Where the answer stands that most have given, and how many they are.
fn most<T: PartialEq>(answers: &Answers<T>) -> Option<(usize, usize)> {
    let votes = |answer: &T| answers.iter().filter(|(_, other)| other == answer).count();
    let counted = answers.iter().enumerate().map(|(at, (_, answer))| (at, votes(answer)));
    counted.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// What one endpoint has taken is on its way; otherwise the word that says most.
fn either(one: Sent, two: Sent) -> Sent {
    let says = |sent| match sent {
        Sent::Accepted => 4,
        Sent::Known => 3,
        Sent::SequenceUsed => 2,
        Sent::Underpriced => 1,
        Sent::NotAccepted => 0,
    };
    if says(two) > says(one) { two } else { one }
}

#[cfg(test)]
mod tests;
