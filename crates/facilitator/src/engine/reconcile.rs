//! Holds that a settlement left open, and ended ones whose authorization may still be landed by somebody.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use gate::{Fault, Journal, Settlement};
use ledger::{AnswerState, BlockRef, BurnReason, HoldId, LossReason, Rail, Record, State, Step};
use protocol::{Network, Refusal};

use super::node::{Block, BlockAt, ChainReceipt, Node, NodeFault};
use super::settle::{Engine, Landed, Pace, Submitter, settled};
use super::tab::REST_MS;
use super::token::moved;

/// How many holds are looked at before what was found out is written.
const AT_ONCE: usize = 64;
/// How long before the end of its validity a payment on the tab is submitted, though its answer is still being given out: later
/// it would be worth nothing, and a caller can take an answer drop by drop. If the answer breaks off after that, it is owed back.
pub(super) const GIVEN_OUT_S: u64 = 30;

/// A chain_tx that was signed for a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bid {
    /// Its hash.
    pub chain_tx: B256,
    /// Who signed it.
    pub signer: Address,
    /// Its sequence.
    pub sequence: u64,
    /// For how many holds it was signed.
    pub members: usize,
}

/// A hold that has not ended, with every chain_tx that was signed for it, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The hold.
    pub record: Record,
    /// Its chain_txs.
    pub bids: Vec<Bid>,
}

/// A chain_tx of ours that is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mined {
    /// Which.
    pub chain_tx: B256,
    /// Its block.
    pub block: BlockRef,
    /// What its signer paid for it, in wei.
    pub fee_wei: u128,
}

impl Mined {
    /// What a receipt says. `None` where the node does not say what it cost.
    pub(super) fn of(receipt: &ChainReceipt) -> Option<Self> {
        Some(Self { chain_tx: receipt.chain_tx, block: receipt.place(), fee_wei: receipt.fee_wei? })
    }
}

/// What reconciliation needs of the journal.
pub trait BooksJournal: Journal {
    /// Holds on a network that are open or submitted, or whose answer is being stored or given out, oldest first, at most 1,000
    /// behind the hold `after`. What is on the tab with its answer given out is not among them.
    fn unfinished(
        &self,
        network: Network,
        after: Option<HoldId>,
    ) -> impl Future<Output = Result<Vec<Unfinished>, Fault>>;

    /// Holds on the tab whose answer was given out and that were not submitted yet, oldest first, at most 1,000 behind the hold
    /// `after`.
    fn due(&self, network: Network, after: Option<HoldId>) -> impl Future<Output = Result<Vec<Record>, Fault>>;

    /// Moves many holds on in one durable step. A step that its hold's state does not allow is left out, and logged.
    fn advance_all(&self, steps: Vec<(HoldId, Step)>) -> impl Future<Output = Result<(), Fault>>;

    /// Ended holds without money whose `validBefore` is before `time_s` and that were not looked at since, at most 100.
    fn watched(&self, network: Network, time_s: u64) -> impl Future<Output = Result<Vec<Record>, Fault>>;

    /// Says that a hold needs no more watching.
    fn unwatch(&self, hold: HoldId) -> impl Future<Output = Result<(), Fault>>;

    /// Chain_txs of a signer with a sequence below `below` whose gas is not in the books, at most 100.
    fn unmined(&self, network: Network, signer: Address, below: u64) -> impl Future<Output = Result<Vec<B256>, Fault>>;

    /// Writes what mined chain_txs have cost. Others with the same sequence cannot be mined as long as it is, and cost nothing. One that
    /// is known in another block is in this one now; where it cost something else, that is given back and written anew.
    fn mined(&self, mined: Vec<Mined>) -> impl Future<Output = Result<(), Fault>>;

    /// Takes back that these were mined, and what they have cost. Nothing is known any more of those with the same sequence either.
    fn unmine(&self, chain_txs: Vec<B256>) -> impl Future<Output = Result<(), Fault>>;

    /// The blocks that are not known as final and that posted payments or mined chain_txs are in, the lowest first. A payment that is
    /// posted by a facilitator's word alone has none.
    fn unfinal(&self, network: Network) -> impl Future<Output = Result<Vec<BlockRef>, Fault>>;

    /// The payments that are posted in a block and not final.
    fn posted_in(&self, network: Network, block: BlockRef) -> impl Future<Output = Result<Vec<Record>, Fault>>;

    /// The chain_txs that are mined in a block and not final.
    fn mined_in(&self, network: Network, block: BlockRef) -> impl Future<Output = Result<Vec<B256>, Fault>>;

    /// Notes that blocks are final, with everything in them.
    fn finalize(&self, network: Network, blocks: Vec<BlockRef>) -> impl Future<Output = Result<(), Fault>>;
}

/// Receipts that were read in one pass: the members of a batch share theirs.
pub(super) type Receipts = BTreeMap<B256, Option<ChainReceipt>>;

/// How many chain_txs of each key are in blocks.
type Sequences = BTreeMap<Address, u64>;

/// Whether the sequence of a bid has been used, by whichever chain_tx.
fn passed(bid: &Bid, mined: &Sequences) -> bool {
    mined.get(&bid.signer).is_some_and(|mined| bid.sequence < *mined)
}

/// What must be done once at start, before anything is served: runs that a crash cut off are burnt (the upstream may have run,
/// nothing was submitted), and answers that died with the process are lost.
///
/// # Errors
/// The journal's [`Fault`].
pub async fn recover<J: BooksJournal>(journal: &J, network: Network) -> Result<(), Fault> {
    let mut after = None;
    loop {
        let page = journal.unfinished(network, after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.record.hold.id);
        for Unfinished { record, .. } in page {
            let hold = record.hold.id;
            match (record.state, record.answer) {
                (
                    State::Open,
                    AnswerState::Live | AnswerState::Pending | AnswerState::Lost | AnswerState::Delivered,
                ) => {
                    journal.advance(hold, Step::Burn(BurnReason::Interrupted)).await?;
                    if record.answer == AnswerState::Pending {
                        journal.advance(hold, Step::LoseAnswer).await?;
                    }
                }
                // It may have reached its caller, to the last byte; on the tab what was answered is charged.
                (State::Answered, AnswerState::Live) => {
                    journal.advance(hold, Step::Deliver).await?;
                }
                (State::Submitted(_), AnswerState::Live) if record.hold.rail == Rail::Tab => {
                    journal.advance(hold, Step::Deliver).await?;
                }
                // It was posted, and a reorg undid that: its answer was released before.
                (State::Submitted(_), AnswerState::Live) if record.is_unsettled() => {}
                (State::Submitted(_), AnswerState::Live | AnswerState::Pending)
                | (State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_), AnswerState::Pending) => {
                    journal.advance(hold, Step::LoseAnswer).await?;
                }
                (State::Answered, _)
                | (State::Submitted(_), AnswerState::Kept | AnswerState::Lost | AnswerState::Delivered)
                | (State::Open, AnswerState::Kept)
                | (
                    State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_),
                    AnswerState::Live | AnswerState::Kept | AnswerState::Lost | AnswerState::Delivered,
                ) => {}
            }
        }
    }
}

impl<N: Node, L: Submitter, P: Pace> Engine<N, L, P> {
    /// Looks at every unfinished hold once, then at those that are watched and at the gas. Returns how many were resolved.
    ///
    /// # Errors
    /// The journal's [`Fault`]; a node's silence only leaves things as they are.
    pub async fn reconcile<J: BooksJournal>(&self, journal: &J, network: Network) -> Result<usize, Fault> {
        // Before the others: what a reorg took out is taken up with them.
        let mut resolved = self.look_back(journal, network).await?;
        let mut after = None;
        loop {
            let page = journal.unfinished(network, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.record.hold.id);
            // A few at a time: what was found out is written before the next are looked at, and all of a few are read at one block.
            for some in page.chunks(AT_ONCE) {
                let Some(steps) = self.resolve_some(some).await else { return Ok(resolved) };
                resolved = resolved.saturating_add(steps.len());
                journal.advance_all(steps).await?;
            }
        }
        let Ok(times) = self.times().await else { return Ok(resolved) };
        resolved = resolved.saturating_add(self.watch(journal, network, times).await?);
        for signer in self.signers.all() {
            let Ok(mined) = self.node.sequence(signer, times.at()).await else { return Ok(resolved) };
            self.count_gas(journal, network, signer, mined).await?;
        }
        Ok(resolved)
    }

    /// Looks at some holds. `None` when the node does not answer.
    async fn resolve_some(&self, some: &[Unfinished]) -> Option<Vec<(HoldId, Step)>> {
        let now_ms = self.pace.elapsed_ms();
        let times = self.times().await.ok()?;
        let mined = self.sequences(some, times.at()).await.ok()?;
        let mut receipts = Receipts::new();
        let (mut steps, mut again) = (Vec::new(), Vec::new());
        for unfinished in some {
            let id = unfinished.record.hold.id;
            if self.live.rests(id, now_ms) {
                continue;
            }
            match self.resolve(unfinished, times, &mined, &mut receipts).await {
                Ok(Next::Step(step)) => steps.push((id, step)),
                Ok(Next::Again) => again.push(unfinished.record.hold.clone()),
                // A stranger's chain_tx carries it: until its validity has ended there is nothing new to be seen.
                Ok(Next::Wait)
                    if matches!(unfinished.record.state, State::Submitted(_)) && unfinished.bids.is_empty() =>
                {
                    self.live.rest(id, now_ms, now_ms.saturating_add(REST_MS));
                }
                Ok(Next::Wait) | Err(NodeFault) => {}
            }
        }
        steps.extend(self.send_each(again).await);
        Some(steps)
    }

    /// How many chain_txs are in blocks of each key that signed for these.
    async fn sequences(&self, some: &[Unfinished], at: BlockAt) -> Result<Sequences, NodeFault> {
        let mut sequences = Sequences::new();
        for bid in some.iter().flat_map(|unfinished| &unfinished.bids) {
            if let Entry::Vacant(place) = sequences.entry(bid.signer) {
                place.insert(self.node.sequence(bid.signer, at).await?);
            }
        }
        Ok(sequences)
    }

    /// Looks for money that arrived after its hold had ended.
    pub(super) async fn watch<J: BooksJournal>(
        &self,
        journal: &J,
        network: Network,
        times: Times,
    ) -> Result<usize, Fault> {
        let mut arrived = 0usize;
        for record in journal.watched(network, times.final_s).await? {
            match self.landed(&record.hold, times.head.place()).await {
                Ok(Landed::Paid(settled) | Landed::Foreign(settled)) => {
                    journal.advance(record.hold.id, Step::Arrive(settled)).await?;
                    arrived = arrived.saturating_add(1);
                }
                Ok(Landed::Not | Landed::Gone | Landed::Unlogged) => {}
                Ok(Landed::Shallow(_)) | Err(NodeFault) => continue,
            }
            journal.unwatch(record.hold.id).await?;
        }
        Ok(arrived)
    }

    /// Writes what our mined chain_txs have cost.
    async fn count_gas<J: BooksJournal>(
        &self,
        journal: &J,
        network: Network,
        signer: Address,
        below: u64,
    ) -> Result<(), Fault> {
        let mut mined = Vec::new();
        for chain_tx in journal.unmined(network, signer, below).await? {
            // One without a receipt was outbid; its twin's receipt says so to the journal.
            if let Ok(Some(receipt)) = self.node.receipt(chain_tx).await {
                mined.extend(Mined::of(&receipt));
            }
        }
        if mined.is_empty() { Ok(()) } else { journal.mined(mined).await }
    }

    /// What the chain's clock says.
    pub(super) async fn times(&self) -> Result<Times, NodeFault> {
        let head = self.node.block(BlockAt::Latest).await?;
        self.head.set(head.place());
        let (final_block, final_s) = self.last_block(&head).await?.map_or((0, 0), |last| (last.number, last.time_s));
        Ok(Times { head, final_block, final_s })
    }

    async fn resolve(
        &self,
        unfinished: &Unfinished,
        times: Times,
        mined: &Sequences,
        receipts: &mut Receipts,
    ) -> Result<Next, NodeFault> {
        let Unfinished { record, bids } = unfinished;
        let hold = &record.hold;
        match (record.state, record.answer) {
            (State::Submitted(_), _) => {}
            // Never submitted, but the answer is kept for the caller: try to be paid for it.
            (State::Open, AnswerState::Kept) => {
                if let Some(step) = verdict(self.settle(hold).await) {
                    return Ok(Next::Step(step));
                }
            }
            // Nothing was submitted and there is nothing to be paid for.
            (State::Open, AnswerState::Lost) => return Ok(Next::Step(Step::Burn(BurnReason::Interrupted))),
            (State::Answered, AnswerState::Live) => {
                let ends = times.head.time_s.saturating_add(GIVEN_OUT_S) >= hold.authorization.valid_before_s;
                return Ok(if ends { Next::Again } else { Next::Wait });
            }
            // Its permit lives, or its answer is being stored.
            (State::Open, AnswerState::Live | AnswerState::Pending | AnswerState::Delivered)
            | (State::Answered | State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_), _) => {
                return Ok(Next::Wait);
            }
        }
        let Some(_stay) = self.live.enter(hold.id) else { return Ok(Next::Wait) };
        if let Some(step) = self.by_receipts(unfinished, times, mined, receipts).await? {
            return Ok(Next::Step(step));
        }
        // Every sequence that was given to it went to another chain_tx of the same key, or to one that failed: none can land. The
        // authorization's nonce makes a further one safe. What a stranger landed has none of ours, and a reorg may take his back.
        let dead = matches!(record.state, State::Submitted(_)) && bids.iter().all(|bid| passed(bid, mined));
        let expired = times.final_s > hold.authorization.valid_before_s;
        // Nobody waits for what is on the tab: who else landed it is looked up once our own chain_tx has failed by it.
        if hold.rail == Rail::Tab && !dead && !expired {
            return Ok(Next::Wait);
        }
        Ok(match self.landed(hold, times.head.place()).await? {
            Landed::Paid(settled) => Next::Step(Step::Post(settled)),
            Landed::Gone => Next::Step(Step::Refuse(LossReason::Gone)),
            // Whose books a stranger's chain_tx belongs in is for a person to say; until the end it stays unknown.
            Landed::Foreign(_) if expired => Next::Step(Step::Burn(BurnReason::ForeignTransfer)),
            Landed::Unlogged if expired => Next::Step(Step::Refuse(LossReason::Gone)),
            Landed::Not if expired => Next::Step(never_moved(record.state)),
            Landed::Not if dead => Next::Again,
            Landed::Not | Landed::Foreign(_) | Landed::Unlogged | Landed::Shallow(_) => Next::Wait,
        })
    }

    /// What the receipts of our own chain_txs for a hold say.
    async fn by_receipts(
        &self,
        Unfinished { record, bids }: &Unfinished,
        times: Times,
        mined: &Sequences,
        receipts: &mut Receipts,
    ) -> Result<Option<Step>, NodeFault> {
        let hold = &record.hold;
        let mut failed: Option<ChainReceipt> = None;
        let mut known = BTreeSet::new();
        for bid in bids {
            let Some(receipt) = self.receipt_under(times.head.place(), bid.chain_tx, receipts).await? else { continue };
            if moved(&receipt, &hold.authorization) {
                let deep = self.finality.is_deep(receipt.block, times.head.number);
                return Ok(deep.then(|| Step::Post(settled(hold, &receipt))));
            }
            known.insert((bid.signer, bid.sequence));
            // A batch goes through although a member fails, and a member may fail by another's doing, who took the gas: who used
            // its authorization, and whether it goes through alone, is looked at below.
            if bid.members == 1 && failed.as_ref().is_none_or(|failed| failed.block <= receipt.block) {
                failed = Some(receipt);
            }
        }
        // As long as one of them may still land, nothing is given up. The verdict is of the block in which all of them have ended.
        let over = |bid: &Bid| known.contains(&(bid.signer, bid.sequence)) || passed(bid, mined);
        if let Some(receipt) = failed
            && bids.iter().all(over)
        {
            return Ok(verdict(self.judge(hold, &receipt, &times.head).await));
        }
        Ok(None)
    }

    /// The receipt of a chain_tx in a block that `head` stands on. While it is in a later block, or on another branch, nobody can say what
    /// will become of it.
    async fn receipt_under(
        &self,
        head: BlockRef,
        chain_tx: B256,
        read: &mut Receipts,
    ) -> Result<Option<ChainReceipt>, NodeFault> {
        if let Some(receipt) = read.get(&chain_tx) {
            return Ok(receipt.clone());
        }
        let receipt = self.node.receipt(chain_tx).await?;
        if let Some(receipt) = &receipt
            && !self.carries(head, receipt.place()).await?
        {
            return Err(NodeFault);
        }
        read.insert(chain_tx, receipt.clone());
        Ok(receipt)
    }

    pub(super) async fn receipt(&self, chain_tx: B256, read: &mut Receipts) -> Result<Option<ChainReceipt>, NodeFault> {
        if let Some(receipt) = read.get(&chain_tx) {
            return Ok(receipt.clone());
        }
        let receipt = self.node.receipt(chain_tx).await?;
        read.insert(chain_tx, receipt.clone());
        Ok(receipt)
    }
}

/// How far the chain is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The newest block: everything that one verdict rests on is read there.
    pub(super) head: Block,
    /// The height of the newest that is final; 0 while the chain is younger than that, or the node does not say.
    pub(super) final_block: u64,
    /// Its time, in seconds since 1970; 0 with its height.
    pub(super) final_s: u64,
}

impl Times {
    /// Where everything that one verdict rests on is read.
    pub(super) const fn at(self) -> BlockAt {
        BlockAt::Of(self.head.place())
    }
}

/// What a look at an unfinished hold comes to.
enum Next {
    /// It moves on.
    Step(Step),
    /// It is submitted, alone.
    Again,
    /// Nothing can be said yet.
    Wait,
}

/// The authorization has expired unused, and a final block says so.
pub(super) const fn never_moved(state: State) -> Step {
    match state {
        State::Answered | State::Submitted(_) => Step::Expire,
        State::Open | State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_) => {
            Step::Refuse(LossReason::Expired)
        }
    }
}

/// The step that a settlement comes to; `None` while it is unknown.
pub(super) fn verdict(settlement: Settlement) -> Option<Step> {
    match settlement {
        Settlement::Settled(settled) => Some(Step::Post(settled)),
        Settlement::Refused(refusal) => Some(Step::Refuse(reason(refusal))),
        Settlement::Unknown { .. } => None,
    }
}

fn reason(refusal: Refusal) -> LossReason {
    if refusal == Refusal::InsufficientBalance {
        LossReason::Emptied
    } else if refusal == Refusal::NonceAlreadyUsed {
        LossReason::Gone
    } else {
        LossReason::Failed
    }
}
