//! Payments that buy a balance or a pass: what their settlement, a reorg and a refund do to it.

use alloy_primitives::U256;
use protocol::Amount;

use super::{ChargeChange, Grant, GrantChange, GrantId, GrantSource, KeyId, Unit};
use crate::{About, Account, Entry, EntryKind, HoldId, Record, State};

/// Bought balances are used after what was given by the operator for nothing, whose number is lower.
const PRIORITY: u8 = 200;

/// What a payment buys besides the call, written with its hold. It is granted in the step that posts the payment, and never before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Whose balance; of a pass that counts, the pass's own account.
    pub key: KeyId,
    /// Of what.
    pub unit: Unit,
    /// How much. Nothing where a time is bought: the payment is earned then as that of a call is.
    pub amount: u64,
    /// When it ends; `None` is never.
    pub expires_at_ms: Option<u64>,
}

/// What a change of a hold that buys something does to its grant, which is `grant` so far. Money that came late grants nothing: it is
/// in suspense. `None` where the change is none of money.
#[must_use]
pub fn bought(before: &Record, after: &Record, grant: Option<&Grant>, now_ms: u64) -> Option<GrantChange> {
    let purchase = after.hold.buys.as_ref().filter(|purchase| purchase.amount > 0)?;
    let is_posted = |record: &Record| matches!(record.state, State::Posted(_));
    let change = match (is_posted(before), is_posted(after)) {
        (false, true) => convert(after, purchase, grant, now_ms),
        (true, false) => unconvert(after, grant),
        (false, false) | (true, true) => return None,
    };
    Some(change)
}

/// The revenue of a payment becomes a debt, and a grant. After a reorg, what was taken back of it is given back.
fn convert(record: &Record, purchase: &Purchase, grant: Option<&Grant>, now_ms: u64) -> GrantChange {
    let payee = record.hold.authorization.payee;
    let (from, to) = (Account::Revenue(payee), Account::Conversion);
    let paid = record.hold.authorization.amount();
    let mut change =
        GrantChange { entries: vec![of_hold(record, EntryKind::Converted, from, to, paid)], ..Default::default() };
    let granted = match grant {
        None => super::grant(Grant {
            id: GrantId(record.hold.id.0),
            key: purchase.key,
            unit: purchase.unit,
            source: GrantSource::Payment(record.hold.id),
            label: String::new(),
            priority: PRIORITY,
            granted: purchase.amount,
            left: purchase.amount,
            granted_at_ms: now_ms,
            expires_at_ms: purchase.expires_at_ms,
        }),
        Some(grant) => {
            let back = purchase.amount.saturating_sub(grant.granted);
            let grown = Grant { granted: purchase.amount, left: grant.left.saturating_add(back), ..grant.clone() };
            let (from, to) = (Account::Conversion, Account::Balance(grant.key));
            (back > 0).then(|| GrantChange {
                entries: vec![of_grant(grant, EntryKind::Granted, from, to, back)],
                grants: vec![grown],
            })
        }
    };
    let granted = granted.unwrap_or_default();
    change.grants.extend(granted.grants);
    change.entries.extend(granted.entries);
    change
}

/// The payment's money is gone: so is what is left of the grant. What was used of it is the operator's loss, as a served call is.
fn unconvert(record: &Record, grant: Option<&Grant>) -> GrantChange {
    let payee = record.hold.authorization.payee;
    let (from, to) = (Account::Conversion, Account::Revenue(payee));
    let paid = record.hold.authorization.amount();
    let entry = of_hold(record, EntryKind::Unconverted, from, to, paid);
    let mut change = GrantChange { entries: vec![entry], ..Default::default() };
    change.entries.extend(grant.and_then(|grant| taken_from(grant, grant.left)).map(|(shrunk, entry)| {
        change.grants.push(shrunk);
        entry
    }));
    change
}

/// Takes from a charge's change what comes back to grants whose payments do not stand, as [`bought`] took what was left of them. What
/// stands again is granted again whole.
pub fn give_back_unpaid(change: &mut ChargeChange, is_unpaid: impl Fn(HoldId) -> bool, now_ms: u64) {
    for grant in &mut change.grants {
        let GrantSource::Payment(payment) = grant.source else { continue };
        if is_unpaid(payment)
            && let Some((shrunk, entry)) = taken_from(grant, grant.left)
        {
            if grant.is_usable(now_ms) {
                change.available = change.available.saturating_sub(grant.left);
            }
            change.entries.push(entry);
            *grant = shrunk;
        }
    }
}

/// What a refund takes back of what the payment bought: its part of it, rounded up over all refunds of the payment together.
/// `refunded_atomic` was given back before.
///
/// # Errors
/// What can be given back at most, in atomic units: the rest was used.
pub fn give_up(
    record: &Record,
    grant: Option<&Grant>,
    refunded_atomic: u128,
    amount_atomic: u128,
) -> Result<GrantChange, u128> {
    let paid = record.hold.authorization.amount_atomic;
    let (Some(purchase), State::Posted(_)) =
        (record.hold.buys.as_ref().filter(|bought| bought.amount > 0), record.state)
    else {
        return Ok(GrantChange::default());
    };
    let Some(grant) = grant else { return Err(0) };
    // So much of the payment stands for what is not used.
    let free = purchase.amount.saturating_sub(grant.granted).saturating_add(grant.left);
    let covered = share(paid, u128::from(free), u128::from(purchase.amount), false);
    let refunded = refunded_atomic.saturating_add(amount_atomic);
    if refunded > covered {
        return Err(covered.saturating_sub(refunded_atomic));
    }
    let lost = share(u128::from(purchase.amount), refunded, paid, true);
    let stays = purchase.amount.saturating_sub(u64::try_from(lost).unwrap_or(u64::MAX));
    let taken = grant.granted.saturating_sub(stays).min(grant.left);
    let (from, to) = (Account::Conversion, Account::Revenue(record.hold.authorization.payee));
    let back = Amount { atomic: amount_atomic, ..record.hold.authorization.amount() };
    let mut change =
        GrantChange { entries: vec![of_hold(record, EntryKind::Unconverted, from, to, back)], ..Default::default() };
    if let Some((shrunk, entry)) = taken_from(grant, taken) {
        change.grants.push(shrunk);
        change.entries.push(entry);
    }
    Ok(change)
}

/// `whole` × `part` / `of`.
fn share(whole: u128, part: u128, of: u128, up: bool) -> u128 {
    let product = U256::from(whole).saturating_mul(U256::from(part));
    let of = U256::from(of.max(1));
    let share = if up { product.div_ceil(of) } else { product.wrapping_div(of) };
    u128::try_from(share).unwrap_or(u128::MAX)
}

/// A grant with so much less, as if it had never been granted.
fn taken_from(grant: &Grant, taken: u64) -> Option<(Grant, Entry)> {
    let shrunk =
        Grant { granted: grant.granted.checked_sub(taken)?, left: grant.left.checked_sub(taken)?, ..grant.clone() };
    let (from, to) = (Account::Balance(grant.key), Account::Conversion);
    (taken > 0).then(|| (shrunk, of_grant(grant, EntryKind::Unconverted, from, to, taken)))
}

const fn of_hold(record: &Record, kind: EntryKind, from: Account, to: Account, amount: Amount) -> Entry {
    Entry::transfer(About::Hold(record.hold.id), kind, from, to, amount)
}

fn of_grant(grant: &Grant, kind: EntryKind, from: Account, to: Account, units: u64) -> Entry {
    Entry::transfer(grant.about(), kind, from, to, grant.unit.amount(units))
}

#[cfg(test)]
mod tests;
