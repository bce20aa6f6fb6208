//! What a command does to the rows that it touches.

use alloy_primitives::B256;
use protocol::{Refusal, Settled};

use crate::{Account, AnswerState, BurnReason, Entry, EntryKind, Hold, Record, ReleaseReason, State};

/// What a store must write, in one durable step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The hold's row as it stands after.
    pub record: Record,
    /// Entries to append.
    pub entries: Vec<Entry>,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// The hold is ours: exactly one caller ever reads this for a claim that was not released.
    Won(Change),
    /// The claim is taken by this record: in flight, done, or another request's.
    Taken(Record),
    /// The counterparty cannot have it.
    Refused(Refusal),
}

/// What happens to a hold after it was won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This signed chain_tx is about to be broadcast. Also marks a further chain_tx for the same hold.
    Submit(B256),
    /// The money moved.
    Post(Settled),
    /// Let go.
    Release(ReleaseReason),
    /// Not charged, never run again.
    Burn(BurnReason),
    /// The settlement is not known in time and the answer is being drained.
    Pend,
    /// The answer is in the store.
    KeepAnswer,
    /// The answer is lost, or was cut by the upstream after the charge.
    LoseAnswer,
}

/// A step that the state does not allow: a broken invariant of ours, never the caller's doing. Nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step:?} is not allowed in state {state:?}")]
pub struct Violation {
    /// Where the hold stands.
    pub state: State,
    /// What was asked for.
    pub step: Step,
}

/// Claims an authorization. `latest` is the newest record of the same key; `unsettled_atomic` is what the payer owes in this
/// asset that the balance, read at `hold.seen`, does not show yet.
#[must_use]
pub fn reserve(latest: Option<Record>, hold: Hold, balance_atomic: u128, unsettled_atomic: u128) -> Reservation {
    if let Some(record) = latest {
        match record.state {
            State::Released(ReleaseReason::NotSent | ReleaseReason::FreeStatus) => {}
            State::Open
            | State::Submitted(_)
            | State::Posted(_)
            | State::Burnt(_)
            | State::Released(ReleaseReason::Expired) => return Reservation::Taken(record),
        }
        if record.late {
            return Reservation::Refused(Refusal::NonceAlreadyUsed);
        }
    }
    let owed = unsettled_atomic.checked_add(hold.authorization.amount_atomic);
    if owed.is_none_or(|owed| owed > balance_atomic) {
        return Reservation::Refused(Refusal::InsufficientBalance);
    }
    Reservation::Won(Change { record: Record::new(hold), entries: Vec::new() })
}

/// Moves a hold on. `None` when the step has been taken already: a repeat changes nothing.
///
/// # Errors
/// [`Violation`] when the state does not allow the step; a submitted hold is never released but as expired.
pub fn advance(record: &Record, step: Step) -> Result<Option<Change>, Violation> {
    let violation = Err(Violation { state: record.state, step });
    let mut next = record.clone();
    let mut entries = Vec::new();
    match (step, record.state) {
        (Step::Submit(chain_tx), State::Open | State::Submitted(_)) => next.state = State::Submitted(chain_tx),
        (Step::Post(settled), State::Open | State::Submitted(_)) => {
            next.state = State::Posted(settled);
            entries.push(posted(record));
            if record.answer == AnswerState::Lost {
                entries.push(refund(&mut next));
            }
        }
        (Step::Post(settled), State::Posted(before)) => {
            return if settled.chain_tx == before.chain_tx { Ok(None) } else { violation };
        }
        (Step::Post(_), State::Released(_) | State::Burnt(_)) => {
            if record.late {
                return Ok(None);
            }
            next.late = true;
            entries.push(late(record));
        }
        (Step::Release(reason), State::Open) if reason != ReleaseReason::Expired => {
            next.state = State::Released(reason)
        }
        (Step::Release(ReleaseReason::Expired), State::Submitted(_)) => {
            next.state = State::Released(ReleaseReason::Expired)
        }
        (Step::Burn(reason), State::Open) if reason != BurnReason::ForeignTransfer => next.state = State::Burnt(reason),
        (Step::Burn(reason), State::Submitted(_)) if reason == BurnReason::SettlementRefused => {
            next.state = State::Burnt(reason);
        }
        (Step::Burn(BurnReason::ForeignTransfer), State::Open | State::Submitted(_)) => {
            next.state = State::Burnt(BurnReason::ForeignTransfer);
            next.late = true;
            entries.push(late(record));
        }
        (Step::Pend, _) => match record.answer {
            AnswerState::Live => next.answer = AnswerState::Pending,
            AnswerState::Pending | AnswerState::Kept | AnswerState::Lost => return Ok(None),
        },
        (Step::KeepAnswer, _) => match record.answer {
            AnswerState::Live | AnswerState::Pending => next.answer = AnswerState::Kept,
            AnswerState::Kept => return Ok(None),
            AnswerState::Lost => return violation,
        },
        (Step::LoseAnswer, state) => {
            if record.answer == AnswerState::Lost {
                return Ok(None);
            }
            next.answer = AnswerState::Lost;
            if let State::Posted(_) = state {
                entries.push(refund(&mut next));
            }
        }
        (Step::Release(before), State::Released(after)) if before == after => return Ok(None),
        (Step::Burn(before), State::Burnt(after)) if before == after => return Ok(None),
        (Step::Submit(_) | Step::Release(_) | Step::Burn(_), _) => return violation,
    }
    Ok(Some(Change { record: next, entries }))
}

fn posted(record: &Record) -> Entry {
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::External(authorization.key.payer), Account::Revenue(authorization.payee));
    Entry::transfer(record.hold.id, EntryKind::Posted, from, to, authorization.amount())
}

fn late(record: &Record) -> Entry {
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::External(authorization.key.payer), Account::Suspense(authorization.payee));
    Entry::transfer(record.hold.id, EntryKind::Late, from, to, authorization.amount())
}

fn refund(record: &mut Record) -> Entry {
    record.refund_due = true;
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::Revenue(authorization.payee), Account::RefundDue(authorization.key.payer));
    Entry::transfer(record.hold.id, EntryKind::RefundDue, from, to, authorization.amount())
}

#[cfg(test)]
mod tests;
