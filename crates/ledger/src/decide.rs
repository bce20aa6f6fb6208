//! What a command does to the rows that it touches.

use alloy_primitives::B256;
use protocol::{Refusal, Settled};

use crate::{
    About, Account, AnswerState, BurnReason, Entry, EntryKind, Funds, HANDED, Hold, LossReason, Rail, Record,
    ReleaseReason, State,
};

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
    /// On the tab: the upstream has answered. Durable before the first byte of the answer's body is released.
    Answer,
    /// On the tab: the answer was given out to its end, or the caller left. From here on it may be settled.
    Deliver,
    /// This signed chain_tx is about to be broadcast, or with [`HANDED`] the hold is about to be handed to a remote facilitator, which
    /// may then move the money at any time. Also marks a further chain_tx for the same hold.
    Submit(B256),
    /// The money moved. Repeated for the same chain_tx in another block, it is where the payment is now. For a hold that has ended it
    /// says nothing yet: a reorg may have ended it, and may have taken that block. See [`Step::Arrive`].
    Post(Settled),
    /// Money for a hold that has ended is in a block that is final.
    Arrive(Settled),
    /// A reorg took the money out: the block of this hash, in which it was posted, is not in the chain any more, and no other block
    /// has it. The same chain_tx is submitted again.
    Unsettle(B256),
    /// Let go.
    Release(ReleaseReason),
    /// Not charged, never run again.
    Burn(BurnReason),
    /// The chain refuses the transfer, and will: burnt, or lost where the answer was served on the tab.
    Refuse(LossReason),
    /// A final block is later than `validBefore` and the nonce is unused: released, or lost where it was served.
    Expire,
    /// The settlement is not known in time and the answer is being drained.
    Pend,
    /// The answer is in the store.
    KeepAnswer,
    /// The money is given back although the answer was given out: what is on the tab is burnt, what moved is owed back.
    TakeBack,
    /// The answer is lost, or was cut by the upstream after the charge. What moved is owed back; what is on the tab is burnt.
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

/// Claims an authorization. `latest` is the newest record of the same key, `namesake` the newest of the same payer whose secret is
/// the same and that was neither let go nor burnt: whoever names two payments alike wants one of them. Where the tab has no more
/// room, or something is bought, the hold is `direct`.
#[must_use]
pub fn reserve(latest: Option<Record>, namesake: Option<Record>, mut hold: Hold, funds: &Funds) -> Reservation {
    if let Some(record) = latest {
        match record.state {
            State::Released(ReleaseReason::NotSent | ReleaseReason::FreeStatus) => {}
            State::Open
            | State::Answered
            | State::Submitted(_)
            | State::Posted(_)
            | State::Burnt(_)
            | State::Lost(_)
            | State::Released(ReleaseReason::Expired) => return Reservation::Taken(record),
        }
        if record.late {
            return Reservation::Refused(Refusal::NonceAlreadyUsed);
        }
    }
    if let Some(record) = namesake {
        return Reservation::Taken(record);
    }
    let owed = funds.unsettled_atomic.checked_add(hold.authorization.amount_atomic);
    if funds.balance_atomic.is_some_and(|balance| owed.is_none_or(|owed| owed > balance)) {
        return Reservation::Refused(Refusal::InsufficientBalance);
    }
    let has_room = || hold.buys.is_none() && funds.exposed.has_room(hold.exposure_micros, &funds.caps);
    if hold.rail == Rail::Tab && !has_room() {
        hold.rail = Rail::Direct;
    }
    Reservation::Won(Change { record: Record::new(hold), entries: Vec::new() })
}

/// Moves a hold on. `None` when the step has been taken already: a repeat changes nothing.
///
/// # Errors
/// [`Violation`] when the state does not allow the step; a submitted hold is never released but as expired.
pub fn advance(record: &Record, step: Step) -> Result<Option<Change>, Violation> {
    match step {
        Step::Answer | Step::Deliver | Step::Pend | Step::KeepAnswer | Step::TakeBack | Step::LoseAnswer => {
            advance_answer(record, step)
        }
        Step::Post(settled) => advance_post(record, settled),
        Step::Arrive(_) => advance_arrive(record, step),
        Step::Unsettle(block_hash) => advance_unsettle(record, block_hash),
        Step::Submit(_) | Step::Release(_) | Step::Burn(_) | Step::Refuse(_) | Step::Expire => {
            advance_money(record, step)
        }
    }
}

/// The money moved.
fn advance_post(record: &Record, settled: Settled) -> Result<Option<Change>, Violation> {
    let mut next = record.clone();
    let mut entries = Vec::new();
    match record.state {
        State::Open | State::Answered | State::Submitted(_) => {
            next.state = State::Posted(settled);
            entries.push(if record.is_unsettled() { resettled(record) } else { posted(record) });
            if record.answer == AnswerState::Lost && record.hold.buys.is_none() {
                entries.push(refund(&mut next));
            }
        }
        State::Posted(earlier) if settled.chain_tx != earlier.chain_tx => {
            return Err(Violation { state: record.state, step: Step::Post(settled) });
        }
        // What was read late of a block that has been left does not take a final payment back there.
        State::Posted(earlier) if settled.block_hash == earlier.block_hash || record.is_final => return Ok(None),
        State::Posted(_) => next.state = State::Posted(settled),
        // A facilitator's word that names no block is all that there will be.
        State::Released(_) | State::Burnt(_) | State::Lost(_) if settled.block_hash.is_zero() => {
            return advance_arrive(record, Step::Post(settled));
        }
        State::Released(_) | State::Burnt(_) | State::Lost(_) => return Ok(None),
    }
    Ok(Some(Change { record: next, entries }))
}

/// Money came after the end.
fn advance_arrive(record: &Record, step: Step) -> Result<Option<Change>, Violation> {
    let mut next = record.clone();
    let entries = match record.state {
        State::Released(_) | State::Burnt(_) | State::Lost(_) if record.late => return Ok(None),
        State::Released(_) | State::Burnt(_) => {
            next.late = true;
            vec![late(record)]
        }
        State::Lost(_) => recover(&mut next),
        State::Open | State::Answered | State::Submitted(_) | State::Posted(_) => {
            return Err(Violation { state: record.state, step });
        }
    };
    Ok(Some(Change { record: next, entries }))
}

/// What was lost came after all: it was earned, unless its answer was lost. What it had bought is gone for good, so that is owed back.
fn recover(record: &mut Record) -> Vec<Entry> {
    record.late = true;
    let mut entries = vec![recovered(record)];
    let had_bought = record.hold.buys.as_ref().is_some_and(|bought| bought.amount > 0);
    if had_bought || (record.answer == AnswerState::Lost && record.hold.buys.is_none()) {
        entries.push(refund(record));
    }
    entries
}

/// What was posted is not in the chain any more. Nothing is owed back of money that did not come.
fn advance_unsettle(record: &Record, block_hash: B256) -> Result<Option<Change>, Violation> {
    let mut next = record.clone();
    match record.state {
        // It has been found in another block meanwhile.
        State::Posted(settled) if settled.block_hash != block_hash => Ok(None),
        State::Posted(settled) if !record.is_final => {
            next.state = State::Submitted(settled.chain_tx);
            next.reorgs = record.reorgs.saturating_add(1);
            let mut entries = vec![unsettled(record)];
            if record.refund_due {
                next.refund_due = false;
                entries.push(refund_voided(record));
            }
            Ok(Some(Change { record: next, entries }))
        }
        State::Submitted(_) | State::Lost(_) if record.is_unsettled() => Ok(None),
        State::Open
        | State::Answered
        | State::Submitted(_)
        | State::Posted(_)
        | State::Released(_)
        | State::Burnt(_)
        | State::Lost(_) => Err(Violation { state: record.state, step: Step::Unsettle(block_hash) }),
    }
}

/// The steps that move money, or say that none will.
fn advance_money(record: &Record, step: Step) -> Result<Option<Change>, Violation> {
    let violation = Err(Violation { state: record.state, step });
    let (before, tab) = (record.state, record.hold.rail == Rail::Tab);
    let mut next = record.clone();
    let mut entries = Vec::new();
    match (step, before) {
        // What is on the tab is settled once it was answered, never while its run goes on.
        (Step::Submit(_), State::Open) if tab => return violation,
        // What is known of it is not forgotten when it is handed over once more.
        (Step::Submit(HANDED), State::Submitted(_)) => return Ok(None),
        (Step::Submit(chain_tx), State::Open | State::Answered | State::Submitted(_)) => {
            next.state = State::Submitted(chain_tx);
        }
        (Step::Release(reason), State::Open) if reason != ReleaseReason::Expired => {
            next.state = State::Released(reason)
        }
        (Step::Burn(reason), State::Open) if reason != BurnReason::ForeignTransfer => next.state = State::Burnt(reason),
        // A meter says at the end of the body that less is due than was held.
        (Step::Burn(reason), State::Answered)
            if record.answer == AnswerState::Live && reason != BurnReason::ForeignTransfer =>
        {
            next.state = State::Burnt(reason);
        }
        // It was served and earned, and what it earned is in `loss` already.
        (Step::Refuse(_) | Step::Expire, State::Submitted(_)) if record.is_unsettled() => {
            next.state = State::Lost(LossReason::Reorged);
        }
        (Step::Burn(BurnReason::ForeignTransfer), State::Submitted(_)) if record.is_unsettled() => {
            next.state = State::Lost(LossReason::Reorged);
            entries = recover(&mut next);
        }
        (Step::Burn(BurnReason::ForeignTransfer), State::Lost(LossReason::Reorged)) if record.late => return Ok(None),
        (Step::Burn(BurnReason::ForeignTransfer), State::Open | State::Answered | State::Submitted(_)) => {
            next.state = State::Burnt(BurnReason::ForeignTransfer);
            next.late = true;
            entries.push(late(record));
        }
        (Step::Refuse(reason), State::Answered | State::Submitted(_)) if tab => {
            next.state = State::Lost(reason);
            entries.push(uncollected(record));
        }
        (Step::Refuse(_), State::Open | State::Submitted(_)) => {
            next.state = State::Burnt(BurnReason::SettlementRefused);
        }
        (Step::Expire, State::Answered | State::Submitted(_)) if tab => {
            next.state = State::Lost(LossReason::Expired);
            entries.push(uncollected(record));
        }
        (Step::Expire, State::Submitted(_)) => next.state = State::Released(ReleaseReason::Expired),
        (Step::Release(before), State::Released(after)) if before == after => return Ok(None),
        (Step::Burn(before), State::Burnt(after)) if before == after => return Ok(None),
        (Step::Refuse(_), State::Burnt(BurnReason::SettlementRefused) | State::Lost(_)) => return Ok(None),
        (Step::Expire, State::Released(ReleaseReason::Expired) | State::Lost(_)) => return Ok(None),
        (Step::Submit(_) | Step::Release(_) | Step::Burn(_) | Step::Refuse(_) | Step::Expire, _)
        | (Step::Post(_) | Step::Arrive(_) | Step::Unsettle(_), _)
        | (Step::Answer | Step::Deliver | Step::Pend | Step::KeepAnswer | Step::TakeBack | Step::LoseAnswer, _) => {
            return violation;
        }
    }
    Ok(Some(Change { record: next, entries }))
}

/// The steps of the answer.
fn advance_answer(record: &Record, step: Step) -> Result<Option<Change>, Violation> {
    let violation = Err(Violation { state: record.state, step });
    let on_tab = record.hold.rail == Rail::Tab && matches!(record.state, State::Open | State::Answered);
    let mut next = record.clone();
    let mut entries = Vec::new();
    match (step, record.answer) {
        (Step::Answer, _) if on_tab && record.state == State::Open => next.state = State::Answered,
        // It may have been landed by its payer meanwhile.
        (Step::Answer, _)
            if record.hold.rail == Rail::Tab
                && matches!(
                    record.state,
                    State::Answered | State::Submitted(_) | State::Posted(_) | State::Lost(_)
                ) =>
        {
            return Ok(None);
        }
        (Step::Deliver, AnswerState::Live) if on_tab => {
            next.answer = AnswerState::Delivered;
            next.state = State::Answered;
        }
        // Its payer landed it before the answer had ended.
        (Step::Deliver, AnswerState::Live)
            if record.hold.rail == Rail::Tab && matches!(record.state, State::Submitted(_) | State::Posted(_)) =>
        {
            next.answer = AnswerState::Delivered;
        }
        (Step::Deliver, AnswerState::Kept) if on_tab && record.state == State::Open => next.state = State::Answered,
        // It was judged before its answer had ended.
        (Step::Deliver, AnswerState::Live) if matches!(record.state, State::Lost(_) | State::Burnt(_)) => {
            return Ok(None);
        }
        (Step::Deliver, AnswerState::Delivered | AnswerState::Kept | AnswerState::Lost) => return Ok(None),
        (Step::Pend, AnswerState::Live) => next.answer = AnswerState::Pending,
        (Step::Pend, _) => return Ok(None),
        (Step::KeepAnswer, AnswerState::Live | AnswerState::Pending | AnswerState::Delivered) => {
            next.answer = AnswerState::Kept;
        }
        (Step::KeepAnswer, AnswerState::Kept) | (Step::LoseAnswer | Step::TakeBack, AnswerState::Lost) => {
            return Ok(None);
        }
        // Paid before its run, and answered now.
        (Step::Deliver, AnswerState::Pending) if matches!(record.state, State::Posted(_)) => {
            next.answer = AnswerState::Delivered;
        }
        // What was given out to its end cannot break any more, and what is not charged is not owed back.
        (Step::LoseAnswer, AnswerState::Delivered) => return Ok(None),
        (Step::LoseAnswer | Step::TakeBack, _) if on_tab => {
            next.answer = AnswerState::Lost;
            next.state = State::Burnt(BurnReason::Broken);
        }
        (Step::LoseAnswer | Step::TakeBack, _) => {
            next.answer = AnswerState::Lost;
            let recovered = record.late && matches!(record.state, State::Lost(_));
            if (recovered || matches!(record.state, State::Posted(_))) && record.hold.buys.is_none() {
                entries.push(refund(&mut next));
            }
        }
        (Step::Answer | Step::Deliver | Step::KeepAnswer | Step::Arrive(_) | Step::Unsettle(_), _)
        | (Step::Submit(_) | Step::Post(_) | Step::Release(_) | Step::Burn(_) | Step::Refuse(_) | Step::Expire, _) => {
            return violation;
        }
    }
    Ok(Some(Change { record: next, entries }))
}

fn posted(record: &Record) -> Entry {
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::External(authorization.key.payer), Account::Revenue(authorization.payee));
    transfer(record, EntryKind::Posted, from, to)
}

fn late(record: &Record) -> Entry {
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::External(authorization.key.payer), Account::Suspense(authorization.payee));
    transfer(record, EntryKind::Late, from, to)
}

fn uncollected(record: &Record) -> Entry {
    let payee = record.hold.authorization.payee;
    transfer(record, EntryKind::Uncollected, Account::Loss(payee), Account::Revenue(payee))
}

fn recovered(record: &Record) -> Entry {
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::External(authorization.key.payer), Account::Loss(authorization.payee));
    transfer(record, EntryKind::Recovered, from, to)
}

fn unsettled(record: &Record) -> Entry {
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::Loss(authorization.payee), Account::External(authorization.key.payer));
    transfer(record, EntryKind::Unsettled, from, to)
}

fn resettled(record: &Record) -> Entry {
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::External(authorization.key.payer), Account::Loss(authorization.payee));
    transfer(record, EntryKind::Resettled, from, to)
}

fn refund_voided(record: &Record) -> Entry {
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::RefundDue(authorization.key.payer), Account::Revenue(authorization.payee));
    transfer(record, EntryKind::RefundVoided, from, to)
}

fn refund(record: &mut Record) -> Entry {
    record.refund_due = true;
    let authorization = &record.hold.authorization;
    let (from, to) = (Account::Revenue(authorization.payee), Account::RefundDue(authorization.key.payer));
    transfer(record, EntryKind::RefundDue, from, to)
}

fn transfer(record: &Record, kind: EntryKind, from: Account, to: Account) -> Entry {
    Entry::transfer(About::Hold(record.hold.id), kind, from, to, record.hold.authorization.amount())
}

#[cfg(test)]
mod tests;
