//! What the flow needs from its host.

use alloy_primitives::B256;
use ledger::{AnswerState, BlockRef, Hold, HoldId, Record, Reservation, State, Step};
use protocol::{ClaimKey, Proven, Refusal, Settled};

use crate::{Answer, Fault, Outcome};

/// What a repeated call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The hold has ended.
    Ended,
    /// It has ended, and if it was paid, its answer is stored or lost.
    Answered,
}

impl Until {
    /// Whether the wait is over.
    #[must_use]
    pub const fn met(self, record: &Record) -> bool {
        let answered = matches!(record.answer, AnswerState::Kept | AnswerState::Lost);
        match (self, record.state) {
            (_, State::Open | State::Submitted(_)) => false,
            (Self::Ended, _) | (Self::Answered, State::Released(_) | State::Burnt(_)) => true,
            (Self::Answered, State::Posted(_)) => answered,
        }
    }
}

/// The durable store of holds and entries. A method returns `Ok` only when its effect would survive a crash.
pub trait Journal {
    /// The newest record of a claim. Reads only.
    fn recall(&self, key: &ClaimKey) -> impl Future<Output = Result<Option<Record>, Fault>>;

    /// Claims an authorization in one step: for a claim that was not released exactly one caller ever wins.
    /// `balance_atomic` is what the chain showed at `hold.seen`.
    fn reserve(&self, hold: Hold, balance_atomic: u128) -> impl Future<Output = Result<Reservation, Fault>>;

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

/// What the chain showed when a payment was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The block that was read.
    pub block: BlockRef,
    /// The payer's balance in it.
    pub balance_atomic: u128,
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
    /// The checks that need a chain: code, nonce, balance, simulation.
    fn check(&self, proven: &Proven) -> impl Future<Output = Check>;

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
}
