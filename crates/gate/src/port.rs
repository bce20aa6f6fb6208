//! What the flow needs from its host.

use alloy_primitives::B256;
use ledger::{AnswerState, BlockRef, ChargeStep, Exposure, Hold, HoldId, Rail, Record, Reservation, State, Step};
use protocol::{ClaimKey, Payer, Proven, Refusal, Settled};

use crate::{Answer, Fault, Outcome};

/// What a repeated call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The hold has ended, or is on the tab with its answer given out.
    Ended,
    /// The same, and if it is charged for, its answer is stored or lost.
    Answered,
}

impl Until {
    /// Whether the wait is over.
    #[must_use]
    pub fn met(self, record: &Record) -> bool {
        let stored = matches!(record.answer, AnswerState::Kept | AnswerState::Lost);
        let given_out = record.hold.rail == Rail::Tab && record.answer != AnswerState::Live;
        match (self, record.state) {
            (_, State::Open) => false,
            (_, State::Released(_) | State::Burnt(_) | State::Lost(_)) | (Self::Ended, State::Posted(_)) => true,
            // On the tab an answer is stored before it counts as given out.
            (_, State::Answered | State::Submitted(_)) => given_out,
            (Self::Answered, State::Posted(_)) => stored || given_out,
        }
    }
}

/// The durable store of holds and entries. A method returns `Ok` only when its effect would survive a crash.
pub trait Journal {
    /// The newest record of a claim. Reads only.
    fn recall(&self, key: &ClaimKey) -> impl Future<Output = Result<Option<Record>, Fault>>;

    /// Claims an authorization in one step: for a claim that was not released exactly one caller ever wins, and of the payments
    /// that a payer gives one secret only one, unless it was released or burnt.
    /// `balance_atomic` is what the chain showed at `hold.seen`, `None` where it was not asked. A hold for which the tab has no
    /// room within `caps`, measured in the same step, is won as `direct`.
    fn reserve(
        &self,
        hold: Hold,
        balance_atomic: Option<u128>,
        caps: Exposure,
    ) -> impl Future<Output = Result<Reservation, Fault>>;

    /// What became of a payer's earlier payments.
    fn standing(&self, payer: Payer) -> impl Future<Output = Result<Standing, Fault>>;

    /// Whether a payer has paid for a request of this fingerprint since a moment, and nothing of it is owed back.
    fn paid_before(&self, payer: Payer, fingerprint: B256, since_ms: u64) -> impl Future<Output = Result<bool, Fault>>;

    /// A hold by its name.
    fn payment(&self, hold: HoldId) -> impl Future<Output = Result<Option<Record>, Fault>>;

    /// Moves a hold on. A repeat changes nothing; `None` when there is no such hold.
    fn advance(&self, hold: HoldId, step: Step) -> impl Future<Output = Result<Option<Record>, Fault>>;

    /// Waits for the newest record of a claim, at most `wait_ms`, and returns the newest record either way.
    fn wait(&self, key: &ClaimKey, until: Until, wait_ms: u64) -> impl Future<Output = Result<Option<Record>, Fault>>;

    /// Marks the answer as pending and remembers the digest of the pick-up code.
    fn pend(&self, hold: HoldId, pickup: B256) -> impl Future<Output = Result<(), Fault>>;

    /// Stores an answer and marks it kept. Old answers make room for it; `false` when there is none.
    fn keep_answer(&self, hold: HoldId, answer: Answer) -> impl Future<Output = Result<bool, Fault>>;

    /// A stored answer, if it is still there.
    fn answer(&self, hold: HoldId) -> impl Future<Output = Result<Option<Answer>, Fault>>;

    /// The record whose pick-up code has this digest.
    fn picked(&self, pickup: B256) -> impl Future<Output = Result<Option<Record>, Fault>>;
}

/// What became of a payer's earlier payments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// One was settled.
    pub settled: bool,
    /// One failed to settle after its run.
    pub risky: bool,
}

/// How much of a payment is checked against the chain before its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Nonce, balance and a simulation.
    Chain,
    /// Nothing: the signature alone, for a payer who has paid before.
    Local,
}

/// What the chain showed when a payment was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The block that was read; the newest known one where the chain was not asked.
    pub block: BlockRef,
    /// The payer's balance in it; `None` where the chain was not asked.
    pub balance_atomic: Option<u128>,
}

/// The answer of the checks that need a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The transfer would go through now.
    Payable(Seen),
    /// It would not, by the payer's doing.
    Refused(Refusal),
    /// Nobody can say now. Never a refusal.
    Fault(Fault),
}

/// What became of a settlement. Unknown is not an error; only the reconciler resolves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The money moved, with the confirmations that `direct` waits for.
    Settled(Settled),
    /// It did not and, for this run, will not.
    Refused(Refusal),
    /// Not known in time.
    Unknown {
        /// What was sent, if anything.
        chain_tx: Option<B256>,
    },
}

/// Verifies and settles for the payee.
pub trait Facilitator {
    /// The checks that need a chain: code, nonce, balance, simulation; or the newest block alone.
    fn check(&self, proven: &Proven, depth: Depth) -> impl Future<Output = Check>;

    /// Moves the money of a hold that is ours. Marks it submitted in the journal before anything is sent.
    fn settle(&self, hold: &Hold) -> impl Future<Output = Settlement>;
}

/// Time, chance and work that outlives a connection.
pub trait Host: Clone {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// 128 random bits.
    fn entropy(&self) -> [u8; 16];

    /// Runs [`Flow::close_hold`](crate::Flow::close_hold) in a task that no connection owns. Must not block.
    fn close(&self, hold: Hold, outcome: Outcome);

    /// Repeats a step until the journal takes it. Must not block.
    fn later(&self, hold: HoldId, step: Step);

    /// The same for a charge.
    fn later_charge(&self, charge: HoldId, step: ChargeStep);
}
