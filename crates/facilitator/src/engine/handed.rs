//! Settlement by remote facilitators: what they are told, what their word is worth, and what becomes of a hold that one of them has.
//!
//! The journal knows that a hold was handed over before anything is sent, and does not forget it: from then on somebody else can move
//! the money, and only the chain, or the facilitator that moved it, can say what became of it. Where there is a node the chain is the
//! judge: a facilitator that says "settled" is believed when the Transfer is there, and one that refuses when the chain would refuse as
//! well. Without a node a facilitator's word is all there is.
//!
//! A hold may be handed to a second facilitator while a first one has not answered. Both hold the same authorization, whose nonce lets
//! the token move the money once; the worse that can come of it is gas of one of them. What must not come of it is a wrong word: "used
//! already" is what the second says when the first has settled. So a refusal counts only if nobody else was ever left to move the money.

use alloy_primitives::B256;
use gate::{Check, Depth, Facilitator, Fault, FaultKind, Seen, Settlement};
use ledger::{AnswerState, BlockRef, BurnReason, HANDED, Hold, HoldId, LossReason, Record, State, Step};
use protocol::{Network, Proven, Refusal, Settled};

use super::finality::Finality;
use super::live::{Head, Live};
use super::node::{BlockAt, Node, NodeFault};
use super::price::FeeCaps;
use super::reconcile::{BooksJournal, GIVEN_OUT_S, Times, Unfinished, never_moved, verdict};
use super::settle::{Engine, Landed, Pace, Submitter, settled};
use super::signers::Signers;
use super::tab::TabTerms;
use super::token::moved;

/// The pauses before a hold is handed over once more within one settlement, in milliseconds.
const PAUSES_MS: [u64; 2] = [250, 1_000];
/// The longest pause between two looks at the chain for what a facilitator has sent.
const SLOW_MS: u64 = 500;
/// How long a hold rests between two attempts of the reconciler: a quarter of its age, within these.
const REST_MIN_MS: u64 = 1_000;
const REST_MAX_MS: u64 = 60_000;
/// For so long after its claim a hold is looked at each time.
const YOUNG_MS: u64 = 60_000;
/// How often an operator is told of a hold that nobody can say anything of any more.
const SUSPENSE_MS: u64 = 3_600_000;

/// What facilitators say of a payment before its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It can be settled now.
    Valid,
    /// It cannot, by the payer's doing.
    Refused(Refusal),
    /// None of them can say.
    Fault,
}

/// What facilitators say of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// One has moved the money.
    Settled {
        /// With this.
        chain_tx: B256,
    },
    /// All that were asked have answered; one says that it did not and will not.
    Refused {
        /// Why.
        refusal: Refusal,
        /// What it had sent, if anything.
        chain_tx: Option<B256>,
    },
    /// One has sent something and does not know yet.
    Pending {
        /// This.
        chain_tx: B256,
    },
    /// At least one may have it, and none says what became of it.
    Unknown,
    /// None of them was reached: nothing was sent.
    NotSent,
}

/// Facilitators as one, in order of preference and with fail-over. Bounded in time by its adapter.
pub trait Remote {
    /// Whether the payment can be settled.
    fn verify(&self, proven: &Proven) -> impl Future<Output = Verified>;

    /// Has the money moved. Repeating it for the same hold sends the same words.
    fn settle(&self, hold: &Hold, within_ms: u64) -> impl Future<Output = Told>;
}

/// A lane that takes nothing: where facilitators settle, we sign nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoLane;

impl Submitter for NoLane {
    async fn submit(&self, _: &[Hold]) -> Result<B256, Fault> {
        Err(Fault::untouched(FaultKind::Settlement))
    }
}

/// One network's settlement by facilitators.
#[derive(Clone, Debug)]
pub struct Handed<N, R, J, P> {
    /// The chain, to read from; `None` where the configuration names no node.
    pub chain: Option<Engine<N, NoLane, P>>,
    /// The facilitators.
    pub remote: R,
    /// Holds and entries.
    pub journal: J,
    /// Waiting.
    pub pace: P,
    /// Shared by every settlement and reconciler of the process.
    pub live: Live,
    /// After this long the settlement is Unknown.
    pub budget_ms: u64,
}

/// What one look at the unfinished holds came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// How many moved on.
    pub resolved: usize,
    /// Holds that a facilitator had, whose validity is over, and of which nobody can say whether their money moved. They stay unknown:
    /// an operator has to look them up.
    pub suspended: Vec<HoldId>,
    /// Holds that are to be handed over, for the first time or once more.
    pub again: Vec<Hold>,
}

/// An engine that reads a chain and sends nothing to it.
pub fn reader<N, P>(
    node: N,
    pace: P,
    head: Head,
    finality: Finality,
    budget_ms: u64,
    live: Live,
) -> Engine<N, NoLane, P> {
    let (signers, caps) = (Signers::default(), FeeCaps::NONE);
    Engine { node, submitter: NoLane, pace, signers, caps, live, head, finality, budget_ms }
}

impl<N: Node, R: Remote, J: BooksJournal, P: Pace> Facilitator for Handed<N, R, J, P> {
    /// The chain first, where there is a node: the block that is read there is the one behind which a use counts as payment.
    async fn check(&self, proven: &Proven, depth: Depth) -> Check {
        let unread = Check::Payable(Seen { block: BlockRef { number: 0, hash: B256::ZERO }, balance_atomic: None });
        let check = match &self.chain {
            Some(chain) => chain.check(proven, depth).await,
            None => unread,
        };
        match (check, depth) {
            (Check::Payable(_), Depth::Chain) => match self.remote.verify(proven).await {
                Verified::Valid => check,
                Verified::Refused(refusal) => Check::Refused(refusal),
                Verified::Fault => Check::Fault(Fault::untouched(FaultKind::Facilitator)),
            },
            (Check::Payable(_) | Check::Refused(_) | Check::Fault(_), _) => check,
        }
    }

    async fn settle(&self, hold: &Hold) -> Settlement {
        let unknown = Settlement::Unknown { chain_tx: None };
        let Some(_stay) = self.live.enter(hold.id) else { return unknown };
        let start_ms = self.pace.elapsed_ms();
        let Ok(Some(before)) = self.journal.payment(hold.id).await else { return unknown };
        if before.state.ended() {
            return unknown;
        }
        // Durable before anything is sent. A journal that does not answer may have written it: nothing is sent then.
        match self.journal.advance(hold.id, Step::Submit(HANDED)).await {
            Ok(Some(Record { state: State::Submitted(_), .. })) => {}
            Ok(_) | Err(_) => return unknown,
        }
        let mut pauses = PAUSES_MS.into_iter();
        let mut alone = matches!(before.state, State::Open | State::Answered);
        loop {
            // Whoever had it before may have settled it by now.
            if !alone && let Some(settled) = self.paid(hold).await {
                return Settlement::Settled(settled);
            }
            let told = self.remote.settle(hold, self.left_ms(start_ms)).await;
            let settlement = self.judge_word(hold, told, alone, start_ms).await;
            let Settlement::Unknown { .. } = settlement else { return settlement };
            alone &= told == Told::NotSent;
            match pauses.next() {
                Some(pause_ms) if self.left_ms(start_ms) > pause_ms.saturating_add(self.budget_ms / 2) => {
                    self.pace.sleep(pause_ms).await;
                }
                Some(_) | None => return settlement,
            }
        }
    }
}

impl<N: Node, R: Remote, J: BooksJournal, P: Pace> Handed<N, R, J, P> {
    /// What the facilitators' word is worth. `alone`: nobody else was left to move the money.
    async fn judge_word(&self, hold: &Hold, told: Told, alone: bool, start_ms: u64) -> Settlement {
        match told {
            Told::Settled { chain_tx } | Told::Pending { chain_tx } if self.chain.is_some() => {
                self.confirm(hold, chain_tx, start_ms).await
            }
            // Without a node nobody can say in which block.
            Told::Settled { chain_tx } => Settlement::Settled(by_word(hold, chain_tx)),
            Told::Pending { chain_tx } => self.named(hold, chain_tx).await,
            Told::Refused { refusal, chain_tx } if alone => self.refused(hold, refusal, chain_tx).await,
            Told::Refused { .. } | Told::Unknown => match self.paid(hold).await {
                Some(settled) => Settlement::Settled(settled),
                None => Settlement::Unknown { chain_tx: None },
            },
            Told::NotSent => Settlement::Unknown { chain_tx: None },
        }
    }

    fn left_ms(&self, start_ms: u64) -> u64 {
        self.budget_ms.saturating_sub(self.pace.elapsed_ms().saturating_sub(start_ms))
    }

    /// Notes the chain_tx that a facilitator names, so that the payer and an operator can look it up. It proves nothing.
    async fn named(&self, hold: &Hold, chain_tx: B256) -> Settlement {
        // Without it the hold is still known as handed over.
        self.journal.advance(hold.id, Step::Submit(chain_tx)).await.ok();
        Settlement::Unknown { chain_tx: Some(chain_tx) }
    }

    /// Whether the chain shows that the hold is paid. `None` also where nobody can say.
    async fn paid(&self, hold: &Hold) -> Option<Settled> {
        match self.chain.as_ref()?.landed_now(hold).await {
            // Facilitators send from whatever account they like: it is ours if it came after the hold was won.
            Ok(Landed::Paid(settled) | Landed::Foreign(settled)) => Some(settled),
            Ok(Landed::Not | Landed::Gone | Landed::Unlogged | Landed::Shallow(_)) | Err(NodeFault) => None,
        }
    }

    /// Waits until the chain shows what a facilitator says that it has sent. A made-up hash is never found.
    async fn confirm(&self, hold: &Hold, chain_tx: B256, start_ms: u64) -> Settlement {
        let Some(chain) = &self.chain else { return Settlement::Unknown { chain_tx: Some(chain_tx) } };
        let mut pause_ms = 5u64;
        loop {
            if let Ok(Some(receipt)) = chain.node.receipt(chain_tx).await
                && receipt.block > hold.seen.number
                && moved(&receipt, &hold.authorization)
                && let Ok(true) = chain.is_deep_now(&receipt).await
            {
                return Settlement::Settled(settled(hold, &receipt));
            }
            // It may have been outbid, so that the money moves by another one.
            if pause_ms >= SLOW_MS
                && let Some(settled) = self.paid(hold).await
            {
                return Settlement::Settled(settled);
            }
            if self.left_ms(start_ms) == 0 {
                return self.named(hold, chain_tx).await;
            }
            self.pace.sleep(pause_ms).await;
            pause_ms = pause_ms.saturating_mul(2).min(SLOW_MS);
        }
    }

    /// What a first refusal is worth. The chain must agree, where there is a node; "used already" is never taken for a refusal: a payer
    /// can land his own authorization, and then he has paid.
    async fn refused(&self, hold: &Hold, refusal: Refusal, chain_tx: Option<B256>) -> Settlement {
        let unknown = Settlement::Unknown { chain_tx };
        let Some(chain) = &self.chain else {
            return if refusal == Refusal::NonceAlreadyUsed { unknown } else { Settlement::Refused(refusal) };
        };
        if let Some(settled) = self.paid(hold).await {
            return Settlement::Settled(settled);
        }
        let Ok(head) = chain.node.block(BlockAt::Latest).await else { return unknown };
        // What failed is looked for in a block that stands on its own: our node may be behind the facilitator's, or on another branch.
        if let Some(chain_tx) = chain_tx {
            let Ok(Some(failed)) = chain.node.receipt(chain_tx).await else { return unknown };
            let Ok(true) = chain.carries(head.place(), failed.place()).await else { return unknown };
        }
        match chain.after_revert(hold, None, &head).await {
            settlement @ (Settlement::Settled(_) | Settlement::Refused(_)) => settlement,
            Settlement::Unknown { .. } => unknown,
        }
    }
}

/// What a facilitator says that it has settled. Block 0 stands for one that nobody has looked up.
fn by_word(hold: &Hold, chain_tx: B256) -> Settled {
    let authorization = &hold.authorization;
    let (block, block_hash) = (0, B256::ZERO);
    Settled { chain_tx, block, block_hash, amount: authorization.amount(), payer: authorization.key.payer }
}

impl<N: Node, R: Remote, J: BooksJournal, P: Pace> Handed<N, R, J, P> {
    /// Looks at every unfinished hold once, and at those that are watched. What has to be handed over is for the caller to do, with
    /// [`Handed::settle_one`], as many at once as he likes.
    ///
    /// # Errors
    /// The journal's [`Fault`]; a node's silence only leaves things as they are.
    pub async fn look(&self, network: Network, now_ms: u64) -> Result<Looked, Fault> {
        let mut looked = Looked::default();
        let times = match &self.chain {
            Some(chain) => match chain.times().await {
                Ok(times) => Some(times),
                Err(NodeFault) => return Ok(looked),
            },
            None => None,
        };
        if let Some(chain) = &self.chain {
            looked.resolved = chain.look_back(&self.journal, network).await?;
        }
        let mut after = None;
        loop {
            let page = self.journal.unfinished(network, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.record.hold.id);
            let mut steps = Vec::new();
            for Unfinished { record, .. } in page {
                let id = record.hold.id;
                match self.next(&record, times, now_ms).await {
                    Ok(Next::Step(step)) => steps.push((id, step)),
                    Ok(Next::Again) => looked.again.push(record.hold),
                    Ok(Next::Suspended) => looked.suspended.push(id),
                    Ok(Next::Wait) | Err(NodeFault) => {}
                }
            }
            looked.resolved = looked.resolved.saturating_add(steps.len());
            self.journal.advance_all(steps).await?;
        }
        if let (Some(chain), Some(times)) = (&self.chain, times) {
            let arrived = chain.watch(&self.journal, network, times).await?;
            looked.resolved = looked.resolved.saturating_add(arrived);
        }
        Ok(looked)
    }

    /// Hands a hold over and writes what became of it. Whether it has ended.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn settle_one(&self, hold: &Hold) -> Result<bool, Fault> {
        let Some(step) = verdict(self.settle(hold).await) else { return Ok(false) };
        self.journal.advance_all(vec![(hold.id, step)]).await?;
        Ok(true)
    }

    /// What is on the tab and is to be settled now; `all` of it whatever the time. Payments go one by one, so its size alone is no
    /// reason to settle it.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn due(&self, network: Network, terms: &TabTerms, now_ms: u64, all: bool) -> Result<Vec<Hold>, Fault> {
        let terms = TabTerms { batch_max: usize::MAX, ..*terms };
        let mut holds = Vec::new();
        let mut after = None;
        loop {
            let mut due = self.journal.due(network, after).await?;
            let Some(last) = due.last() else { return Ok(holds) };
            after = Some(last.hold.id);
            if !all {
                due.truncate(terms.ready(&due, now_ms));
            }
            holds.extend(due.into_iter().map(|record| record.hold));
            if !all {
                return Ok(holds);
            }
        }
    }

    async fn next(&self, record: &Record, times: Option<Times>, now_ms: u64) -> Result<Next, NodeFault> {
        let hold = &record.hold;
        match (record.state, record.answer) {
            (State::Submitted(_), _) => {}
            // Never handed over, but the answer is kept for the caller: try to be paid for it.
            (State::Open, AnswerState::Kept) => return Ok(self.again(hold, now_ms)),
            (State::Open, AnswerState::Lost) => return Ok(Next::Step(Step::Burn(BurnReason::Interrupted))),
            (State::Answered, AnswerState::Live) => {
                let ends = (now_ms / 1_000).saturating_add(GIVEN_OUT_S) >= hold.authorization.valid_before_s;
                return Ok(if ends { self.again(hold, now_ms) } else { Next::Wait });
            }
            (State::Open, AnswerState::Live | AnswerState::Pending | AnswerState::Delivered)
            | (State::Answered | State::Posted(_) | State::Released(_) | State::Burnt(_) | State::Lost(_), _) => {
                return Ok(Next::Wait);
            }
        }
        let Some(_stay) = self.live.enter(hold.id) else { return Ok(Next::Wait) };
        // What is old is looked at when it is handed over again, so that a facilitator's outage is no burden to the node.
        let age_ms = now_ms.saturating_sub(hold.opened_at_ms);
        if age_ms > YOUNG_MS && self.live.rests(hold.id, self.pace.elapsed_ms()) {
            return Ok(Next::Wait);
        }
        let (Some(chain), Some(times)) = (&self.chain, times) else {
            // By now no facilitator can move it any more; whether one did, nobody here can say.
            if now_ms / 1_000 > hold.authorization.valid_before_s {
                return Ok(self.suspended(hold));
            }
            return Ok(self.again(hold, now_ms));
        };
        let expired = times.final_s > hold.authorization.valid_before_s;
        Ok(match chain.landed(hold, times.head.place()).await? {
            Landed::Paid(settled) | Landed::Foreign(settled) => Next::Step(Step::Post(settled)),
            Landed::Gone => Next::Step(Step::Refuse(LossReason::Gone)),
            Landed::Unlogged if expired => Next::Step(Step::Refuse(LossReason::Gone)),
            Landed::Not if expired => Next::Step(never_moved(record.state)),
            Landed::Not if now_ms / 1_000 <= hold.authorization.valid_before_s => self.again(hold, now_ms),
            Landed::Not | Landed::Unlogged | Landed::Shallow(_) => Next::Wait,
        })
    }

    /// Once more, unless it was tried a moment ago: the older it is, the longer it rests.
    fn again(&self, hold: &Hold, now_ms: u64) -> Next {
        let clock_ms = self.pace.elapsed_ms();
        if self.live.rests(hold.id, clock_ms) {
            return Next::Wait;
        }
        let age_ms = now_ms.saturating_sub(hold.opened_at_ms);
        let rest_ms = (age_ms / 4).clamp(REST_MIN_MS, REST_MAX_MS);
        self.live.rest(hold.id, clock_ms, clock_ms.saturating_add(rest_ms));
        Next::Again
    }

    /// Said from time to time, for as long as it stands.
    fn suspended(&self, hold: &Hold) -> Next {
        let clock_ms = self.pace.elapsed_ms();
        if self.live.rests(hold.id, clock_ms) {
            return Next::Wait;
        }
        self.live.rest(hold.id, clock_ms, clock_ms.saturating_add(SUSPENSE_MS));
        Next::Suspended
    }
}

/// What a look at an unfinished hold comes to.
enum Next {
    /// It moves on.
    Step(Step),
    /// It is handed over.
    Again,
    /// Nobody will ever say.
    Suspended,
    /// Nothing can be said yet.
    Wait,
}
