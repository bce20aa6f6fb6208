//! What a facilitator does for resource servers: verify a payment, settle it once, and say the same about it for ever
//! (reference x402 §3). Pure: the journal, the chain and the clock are ports.
//!
//! A settlement is claimed in the journal before anything is signed, by the authorization and not by the request. So a repeat, whether
//! its first answer was lost or the process ended, finds the claim and is told what became of it; and whatever was claimed is settled
//! also when nobody asks again. There is no answer of an upstream to wait for: a claim is `kept` from the moment it is won.

mod listing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use alloy_primitives::B256;
use gate::{Check, Depth, Facilitator, Fault, FaultKind, Host, Journal, Settlement, Until};
use ledger::{
    AnswerState, BurnReason, Exposure, Hold, HoldId, LossReason, Rail, Record, ReleaseReason, Reservation, Source,
    State, Step, told,
};
use protocol::exact::Window;
use protocol::x402::{Accepted, Asked, Credential, Requirements};
use protocol::{AssetInfo, Authorization, MoneyState, Network, Payer, Proven, Refusal, Settled, Signature};

use crate::engine::{BooksJournal, Unfinished};

pub use listing::{Listing, ListingKey, ListingRefusal};

/// What must be left of a payment's validity, in seconds: a block or two (reference x402 §8.1, step 6).
const REMAINING_MIN_S: u64 = 6;
/// What a hold's route is called here.
pub const ROUTE: &str = "facilitator";

/// A facilitator over its ports, for one thread.
#[derive(Clone, Debug)]
pub struct Service<J, F, H> {
    /// Holds and entries. Not a gate's: see [`recover`].
    pub journal: J,
    /// The chains.
    pub facilitator: F,
    /// Time and chance.
    pub host: H,
    /// What is settled here.
    pub tokens: Arc<Vec<AssetInfo>>,
    /// Whether payers of whom a payment was settled here, and none has failed, are verified without a look at the chain.
    pub verify_local: bool,
    /// How long a settlement that somebody else is working on is waited for, in milliseconds.
    pub wait_ms: u64,
}

/// The answer to `/verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It could be settled now.
    Valid(Payer),
    /// It could not, by the payer's doing or the server's.
    Refused(Refusal, Payer),
    /// Nobody can say now.
    Fault(Fault),
}

/// The answer to `/settle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money moved, just now.
    Settled(Settled),
    /// The money moved when it was asked for before.
    SettledBefore(Settled),
    /// It did not, and will not for this payment.
    Refused(Refusal, Payer),
    /// Something was claimed, and may have been sent. Ask again with the same words.
    Pending(Payer, Option<B256>),
    /// Nothing was claimed, or it is not known; the fault says which.
    Fault(Fault),
}

/// What the journal knows of a payment.
enum Recalled {
    /// Nothing that is in the way.
    Nothing,
    /// The claim of exactly this payment.
    Ours(Record),
    /// Another payment has the same nonce of the same payer.
    Other,
}

impl<J: Journal, F: Facilitator, H: Host> Service<J, F, H> {
    /// Whether a payment pays what its server wants, and could be settled now. Writes nothing.
    ///
    /// A payment that was settled here, or is being settled, is refused as used: a server that serves whatever verifies would serve it twice.
    pub async fn verify(&self, asked: &Asked) -> Verdict {
        let payer = Payer(asked.credential.fields.from);
        let proven = match self.prove(asked) {
            Ok(proven) => proven,
            Err(refusal) => return Verdict::Refused(refusal, payer),
        };
        match self.recall(proven.authorization()).await {
            Ok(Recalled::Nothing) => {}
            Ok(Recalled::Ours(_) | Recalled::Other) => return Verdict::Refused(Refusal::NonceAlreadyUsed, payer),
            Err(fault) => return Verdict::Fault(fault),
        }
        let depth = match self.verify_local {
            true => match self.journal.standing(payer).await {
                Ok(standing) if standing.settled && !standing.risky => Depth::Local,
                Ok(_) => Depth::Chain,
                Err(fault) => return Verdict::Fault(fault),
            },
            false => Depth::Chain,
        };
        match self.facilitator.check(&proven, depth).await {
            Check::Payable(_) => Verdict::Valid(payer),
            Check::Refused(refusal) => Verdict::Refused(refusal, payer),
            Check::Fault(fault) => Verdict::Fault(fault),
        }
    }

    /// Moves the money of a payment, once, and says the same about it each time. Must run in a task that no connection owns:
    /// settlement goes on when the caller hangs up.
    pub async fn settle(&self, asked: &Asked) -> Outcome {
        let payer = Payer(asked.credential.fields.from);
        // A repeat may come when the payment's validity is over: what became of it is said all the same.
        if let Some(authorization) = self.claimed(asked) {
            match self.recall(&authorization).await {
                Ok(Recalled::Ours(record)) => return self.told(record).await,
                Ok(Recalled::Nothing | Recalled::Other) => {}
                Err(fault) => return Outcome::Fault(fault),
            }
        }
        let proven = match self.prove(asked) {
            Ok(proven) => proven,
            Err(refusal) => return Outcome::Refused(refusal, payer),
        };
        let seen = match self.facilitator.check(&proven, Depth::Chain).await {
            Check::Payable(seen) => seen,
            // What the chain shows may be our own settlement, claimed since.
            Check::Refused(refusal) => {
                return match self.recall(proven.authorization()).await {
                    Ok(Recalled::Ours(record)) => self.told(record).await,
                    Ok(Recalled::Nothing | Recalled::Other) => Outcome::Refused(refusal, payer),
                    Err(fault) => Outcome::Fault(fault),
                };
            }
            Check::Fault(fault) => return Outcome::Fault(fault),
        };
        let opened_at_ms = self.host.now_ms();
        let hold = Hold {
            id: HoldId::new(opened_at_ms, self.host.entropy()),
            authorization: *proven.authorization(),
            route: ROUTE.to_owned(),
            fingerprint: B256::ZERO,
            idempotency: None,
            seen: seen.block,
            opened_at_ms,
            rail: Rail::Direct,
            source: Source([0; 16]),
            exposure_micros: 0,
            buys: None,
        };
        let id = hold.id;
        match self.journal.reserve(hold, seen.balance_atomic, Exposure::default()).await {
            Ok(Reservation::Won(change)) => self.carry_out(&change.record.hold).await,
            Ok(Reservation::Taken(record)) if same(&record.hold.authorization, proven.authorization()) => {
                self.told(record).await
            }
            Ok(Reservation::Taken(_)) => Outcome::Refused(Refusal::NonceAlreadyUsed, payer),
            Ok(Reservation::Refused(refusal)) => Outcome::Refused(refusal, payer),
            // Whether the claim was written is not known. One that was is kept then, so that the reconciler carries it out and the repeat
            // finds it; of one that was not there is nothing to keep.
            Err(fault) => {
                self.host.later(id, Step::KeepAnswer);
                Outcome::Fault(Fault { money: MoneyState::Unknown, ..fault })
            }
        }
    }

    /// Settles a claim that was won just now.
    async fn carry_out(&self, hold: &Hold) -> Outcome {
        let payer = hold.authorization.key.payer;
        if let Err(fault) = self.journal.advance(hold.id, Step::KeepAnswer).await {
            self.host.later(hold.id, Step::KeepAnswer);
            return Outcome::Fault(Fault { money: MoneyState::Held, ..fault });
        }
        match self.facilitator.settle(hold).await {
            Settlement::Settled(settled) => {
                // Should the journal not take it, the reconciler reads it from the chain.
                if self.journal.advance(hold.id, Step::Post(settled)).await.is_err() {
                    self.host.later(hold.id, Step::Post(settled));
                }
                Outcome::Settled(settled)
            }
            Settlement::Refused(refusal) => {
                let step = Step::Refuse(LossReason::Failed);
                if self.journal.advance(hold.id, step).await.is_err() {
                    self.host.later(hold.id, step);
                }
                Outcome::Refused(refusal, payer)
            }
            Settlement::Unknown { chain_tx: Some(chain_tx) } => Outcome::Pending(payer, Some(chain_tx)),
            // The reconciler may have come first.
            Settlement::Unknown { chain_tx: None } => match self.journal.payment(hold.id).await {
                Ok(Some(record)) => self.told(record).await,
                Ok(None) | Err(_) => Outcome::Pending(payer, None),
            },
        }
    }

    /// What became of a claim, once it has ended or has been waited for long enough.
    async fn told(&self, record: Record) -> Outcome {
        let key = record.hold.authorization.key;
        let ended = record.state.ended();
        let waited = if ended { Ok(Some(record)) } else { self.journal.wait(&key, Until::Ended, self.wait_ms).await };
        let record = match waited {
            Ok(Some(record)) => record,
            Ok(None) => return Outcome::Fault(Fault { kind: FaultKind::Invariant, money: MoneyState::Unknown }),
            Err(fault) => return Outcome::Fault(Fault { money: MoneyState::Unknown, ..fault }),
        };
        let refused = |refusal| Outcome::Refused(refusal, key.payer);
        match record.state {
            State::Posted(settled) => Outcome::SettledBefore(settled),
            State::Open | State::Answered => Outcome::Pending(key.payer, None),
            State::Submitted(chain_tx) => Outcome::Pending(key.payer, told(chain_tx)),
            // Somebody else landed it, after all or all along: it cannot be used again, and it is not for us to say what it paid.
            State::Released(_) | State::Burnt(_) | State::Lost(_) if record.late => refused(Refusal::NonceAlreadyUsed),
            State::Released(ReleaseReason::Expired) | State::Lost(LossReason::Expired) => {
                refused(Refusal::ValidBeforeTooSoon)
            }
            State::Lost(LossReason::Emptied) => refused(Refusal::InsufficientBalance),
            State::Lost(LossReason::Gone) | State::Burnt(BurnReason::ForeignTransfer) => {
                refused(Refusal::NonceAlreadyUsed)
            }
            State::Released(_) | State::Burnt(_) | State::Lost(_) => refused(Refusal::TransactionFailed),
        }
    }

    /// What the journal knows of a payment.
    async fn recall(&self, authorization: &Authorization) -> Result<Recalled, Fault> {
        Ok(match self.journal.recall(&authorization.key).await? {
            None => Recalled::Nothing,
            Some(Record { state: State::Released(ReleaseReason::NotSent | ReleaseReason::FreeStatus), .. }) => {
                Recalled::Nothing
            }
            Some(record) if same(&record.hold.authorization, authorization) => Recalled::Ours(record),
            Some(_) => Recalled::Other,
        })
    }

    /// The payment as it would stand in the journal, if its signature is the payer's: a claim that has the same bytes says that it is.
    fn claimed(&self, asked: &Asked) -> Option<Authorization> {
        let (Credential { fields, signature, .. }, Requirements { payee, amount_atomic, .. }) =
            (&asked.credential, &asked.requirements);
        let token = self.token(&asked.requirements).ok()?;
        let authorization = Authorization {
            key: fields.key(token.asset),
            payee: *payee,
            amount_atomic: *amount_atomic,
            valid_after_s: u64::try_from(fields.valid_after).ok()?,
            valid_before_s: u64::try_from(fields.valid_before).ok()?,
            signature: Signature::from_bytes(signature)?,
        };
        (authorization.fields() == *fields).then_some(authorization)
    }

    /// Judges a payment by what its server wants, not by what the payer says that he accepted.
    fn prove(&self, asked: &Asked) -> Result<Proven, Refusal> {
        let offer = asked.requirements.offer(self.token(&asked.requirements)?)?;
        let accepted = Accepted { terms: None, ..asked.credential.accepted.clone() };
        let credential = Credential { accepted, ..asked.credential.clone() };
        // For how long a payment is good is between the payer and his server.
        let window = Window {
            now_s: self.host.now_ms().checked_div(1_000).unwrap_or_default(),
            remaining_min_s: REMAINING_MIN_S,
            skew_s: u64::MAX,
        };
        protocol::verify(&credential, &[offer], window)
    }

    fn token(&self, requirements: &Requirements) -> Result<&AssetInfo, Refusal> {
        let mut on_network = self.tokens.iter().filter(|token| token.asset.network == requirements.network).peekable();
        if on_network.peek().is_none() {
            return Err(Refusal::NetworkMismatch("paymentRequirements.network"));
        }
        on_network
            .find(|token| token.asset.address == requirements.asset)
            .ok_or(Refusal::InvalidRequirements("paymentRequirements.asset"))
    }
}

fn same(known: &Authorization, shown: &Authorization) -> bool {
    known == shown
}

/// What must be done once at start, on the journal of a facilitator, before [`crate::engine::recover`]: a claim whose answer is not yet
/// `kept` was won an instant before the process ended. It was asked to be settled, and is.
///
/// In a gate's journal the same rows mean a run that was cut off, so the two must never share one.
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
            if (record.state, record.answer) == (State::Open, AnswerState::Live) {
                journal.advance(record.hold.id, Step::KeepAnswer).await?;
            }
        }
    }
}
