//! Charges: a call that is paid from a balance. The money is held before the call is run, and taken or given back after it.

use alloy_primitives::B256;

use super::grant::draw;
use super::{Budget, Counted, Grant, GrantId, KeyId, Refill, Unit, available};
use crate::{About, Account, AnswerState, BurnReason, Entry, EntryKind, HoldId, ReleaseReason};

/// What is held for one call. Never changes after it was won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Its name.
    pub id: HoldId,
    /// Whose balance.
    pub key: KeyId,
    /// Of what.
    pub unit: Unit,
    /// The price, or for a metered call the most that it may cost.
    pub amount: u64,
    /// The same in millionths of a dollar, for budgets that several keys share.
    pub micros: u64,
    /// The stable id of the route that is paid for.
    pub route: String,
    /// Digest of method and URL.
    pub fingerprint: B256,
    /// Digest of the caller's `Idempotency-Key`: of his charges only one has it, unless it was let go.
    pub idempotency: Option<B256>,
    /// When it was won.
    pub opened_at_ms: u64,
    /// What the caller books the cost under, as he said; at most 1 KiB.
    pub tags: Option<String>,
}

/// What guards a balance when it is charged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// Each of them must let the call pass.
    pub budgets: Vec<Budget>,
    /// Whether and how it is topped up by itself.
    pub refill: Option<Refill>,
}

/// How much of which grant a charge has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// From where.
    pub grant: GrantId,
    /// How much.
    pub amount: u64,
}

/// Where a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeState {
    /// Held; the upstream may be running.
    Open,
    /// So much was taken; the rest was given back.
    Captured(u64),
    /// Given back: nothing was sent, or the upstream said that it failed.
    Released(ReleaseReason),
    /// Given back although the upstream may have run.
    Burnt(BurnReason),
}

/// A charge with everything that became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeRecord {
    /// The charge.
    pub charge: Charge,
    /// From which grants, in the order of use.
    pub draws: Vec<Draw>,
    /// On which budgets it was counted.
    pub counted: Vec<Counted>,
    /// Where it stands.
    pub state: ChargeState,
    /// Where the upstream's answer is, for one with an `Idempotency-Key`.
    pub answer: AnswerState,
    /// How much of what was taken was given back later.
    pub refunded: u64,
}

/// What a store must write, in one durable step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeChange {
    /// The charge's row as it stands after.
    pub record: ChargeRecord,
    /// The grants' rows that changed.
    pub grants: Vec<Grant>,
    /// Entries to append.
    pub entries: Vec<Entry>,
    /// What the balance has left for further charges.
    pub available: u64,
}

/// The answer to a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charged {
    /// It is held.
    Won(ChargeChange),
    /// The balance has only so much.
    Short {
        /// What may be drawn now.
        available: u64,
    },
}

/// What happens to a charge after it was won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeStep {
    /// The call was answered: so much is taken, at most what is held.
    Capture(u64),
    /// Given back.
    Release(ReleaseReason),
    /// Given back although the upstream may have run.
    Burn(BurnReason),
    /// A part of what was taken is given back; in all so much.
    Refund(u64),
    /// The answer was not given out: what was held or taken is given back.
    TakeBack,
    /// The answer is in the store.
    KeepAnswer,
    /// The answer was given out, or is lost: nobody can fetch it.
    LoseAnswer,
}

/// A step that a charge's state does not allow: a mistake of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a charge that is {state:?} cannot take {step:?}")]
pub struct ChargeViolation {
    /// Where it stands.
    pub state: ChargeState,
    /// What was asked for.
    pub step: ChargeStep,
}

/// Holds the price of a call. `grants` are all of the account's that have something left.
#[must_use]
pub fn charge(grants: &[Grant], charge: Charge) -> Charged {
    let now_ms = charge.opened_at_ms;
    let has = available(grants, now_ms);
    let Some(drawn) = draw(grants, charge.amount, now_ms) else { return Charged::Short { available: has } };
    let draws = drawn.iter().map(|(amount, grant)| Draw { grant: grant.id, amount: *amount }).collect();
    let available = has.saturating_sub(charge.amount);
    let (state, answer) = (ChargeState::Open, AnswerState::Live);
    let record = ChargeRecord { charge, draws, counted: Vec::new(), state, answer, refunded: 0 };
    let grants = drawn.into_iter().map(|(_, grant)| grant).collect();
    Charged::Won(ChargeChange { record, grants, entries: Vec::new(), available })
}

/// Takes a step. `grants` are all of the account's that have something left, and those that the charge drew from. `None` when it was
/// taken before.
///
/// # Errors
/// [`ChargeViolation`] when the state does not allow it: what was given back is not taken, and what was not taken is not refunded.
pub fn advance_charge(
    record: &ChargeRecord,
    grants: &[Grant],
    step: ChargeStep,
    now_ms: u64,
) -> Result<Option<ChargeChange>, ChargeViolation> {
    let violation = Err(ChargeViolation { state: record.state, step });
    let is_lost = step == ChargeStep::TakeBack;
    let step = match (record.state, step) {
        (ChargeState::Open, ChargeStep::TakeBack) => ChargeStep::Burn(BurnReason::Broken),
        (ChargeState::Captured(taken), ChargeStep::TakeBack) => ChargeStep::Refund(taken),
        (_, step) => step,
    };
    let mut next = record.clone();
    let (mut entries, mut back) = (Vec::new(), 0);
    match (record.state, step) {
        (ChargeState::Open, ChargeStep::Capture(amount)) => {
            let amount = amount.min(record.charge.amount);
            next.state = ChargeState::Captured(amount);
            back = record.charge.amount.saturating_sub(amount);
            if amount > 0 {
                let (from, to) = (Account::Balance(record.charge.key), Account::Earned);
                entries.push(entry(record, EntryKind::Captured, from, to, amount));
            }
        }
        (ChargeState::Open, ChargeStep::Release(reason)) => {
            next.state = ChargeState::Released(reason);
            back = record.charge.amount;
        }
        (ChargeState::Open, ChargeStep::Burn(reason)) => {
            next.state = ChargeState::Burnt(reason);
            back = record.charge.amount;
        }
        (ChargeState::Captured(taken), ChargeStep::Refund(refunded)) if refunded <= taken => {
            back = refunded.saturating_sub(record.refunded);
            // Of what nothing was taken for, the answer is lost all the same: nobody waits for it.
            if back == 0 && (!is_lost || record.answer == AnswerState::Lost) {
                return Ok(None);
            }
            if back > 0 {
                next.refunded = refunded;
                let (from, to) = (Account::Earned, Account::Balance(record.charge.key));
                entries.push(entry(record, EntryKind::GivenBack, from, to, back));
            }
        }
        (ChargeState::Captured(_), ChargeStep::Capture(_))
        | (ChargeState::Released(_), ChargeStep::Release(_))
        | (ChargeState::Burnt(_), ChargeStep::Burn(_))
        | (_, ChargeStep::TakeBack) => return Ok(None),
        (_, ChargeStep::KeepAnswer | ChargeStep::LoseAnswer) => {
            let answer = if step == ChargeStep::KeepAnswer { AnswerState::Kept } else { AnswerState::Lost };
            if record.answer == answer {
                return Ok(None);
            }
            next.answer = answer;
        }
        (ChargeState::Open, ChargeStep::Refund(_))
        | (ChargeState::Captured(_), ChargeStep::Refund(_) | ChargeStep::Release(_) | ChargeStep::Burn(_))
        | (ChargeState::Released(_), ChargeStep::Capture(_) | ChargeStep::Burn(_) | ChargeStep::Refund(_))
        | (ChargeState::Burnt(_), ChargeStep::Capture(_) | ChargeStep::Release(_) | ChargeStep::Refund(_)) => {
            return violation;
        }
    }
    if is_lost {
        next.answer = AnswerState::Lost;
    }
    let Some(changed) = give_back(record, grants, back) else { return violation };
    let available = after(grants, &changed, now_ms);
    Ok(Some(ChargeChange { record: next, grants: changed, entries, available }))
}

/// What may be drawn once some grants have changed.
fn after(grants: &[Grant], changed: &[Grant], now_ms: u64) -> u64 {
    let left = |grant: &Grant| changed.iter().find(|after| after.id == grant.id).unwrap_or(grant).clone();
    let after: Vec<Grant> = grants.iter().map(left).collect();
    available(&after, now_ms)
}

/// Gives back to the grants that were drawn from, the last one first, since what was taken was of the first ones. `None` when one of
/// them is not there.
fn give_back(record: &ChargeRecord, grants: &[Grant], amount: u64) -> Option<Vec<Grant>> {
    // What was given back before came from the end.
    let held = match record.state {
        ChargeState::Open => 0,
        ChargeState::Captured(taken) => record.charge.amount.saturating_sub(taken).saturating_add(record.refunded),
        ChargeState::Released(_) | ChargeState::Burnt(_) => record.charge.amount,
    };
    let (mut skip, mut owed, mut changed) = (held, amount, Vec::new());
    for draw in record.draws.iter().rev() {
        let skipped = skip.min(draw.amount);
        skip = skip.saturating_sub(skipped);
        let back = owed.min(draw.amount.saturating_sub(skipped));
        if back == 0 {
            continue;
        }
        owed = owed.saturating_sub(back);
        let grant = grants.iter().find(|grant| grant.id == draw.grant)?;
        changed.push(Grant { left: grant.left.saturating_add(back), ..grant.clone() });
    }
    (owed == 0).then_some(changed)
}

fn entry(record: &ChargeRecord, kind: EntryKind, from: Account, to: Account, amount: u64) -> Entry {
    Entry::transfer(About::Charge(record.charge.id), kind, from, to, record.charge.unit.amount(amount))
}

#[cfg(test)]
mod tests;
