//! Grants: what a balance is made of. Each has its own end and its own turn to be used.

use std::fmt;

use alloy_primitives::hex;

use super::{KeyId, Unit};
use crate::{About, Account, Entry, EntryKind, HoldId};

/// A grant's name. What is granted under a name twice is granted once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId(pub [u8; 16]);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({self})")
    }
}

/// Where a grant came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantSource {
    /// The operator gave it.
    Operator,
    /// It was topped up by itself, as the operator allowed.
    Automatic,
    /// A payment that was settled bought it. The grant has the payment's name.
    Payment(HoldId),
    /// Another account gave it.
    Transfer(KeyId),
}

/// A part of a balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// Whose.
    pub key: KeyId,
    /// Of what.
    pub unit: Unit,
    /// From where.
    pub source: GrantSource,
    /// What the operator calls it; empty where he does not.
    pub label: String,
    /// Lower numbers are used first.
    pub priority: u8,
    /// How much was granted.
    pub granted: u64,
    /// How much is neither used nor held by a charge.
    pub left: u64,
    /// When.
    pub granted_at_ms: u64,
    /// From when on it may not be used any more; `None` is never.
    pub expires_at_ms: Option<u64>,
}

impl Grant {
    /// Whether a charge may draw from it.
    #[must_use]
    pub fn is_usable(&self, now_ms: u64) -> bool {
        self.left > 0 && self.expires_at_ms.is_none_or(|ends| now_ms < ends)
    }

    /// The order of use: by priority, then what ends first, then what came first.
    pub(super) fn turn(&self) -> (u8, u64, u64, GrantId) {
        (self.priority, self.expires_at_ms.unwrap_or(u64::MAX), self.granted_at_ms, self.id)
    }

    pub(super) const fn about(&self) -> About {
        About::Grant(self.id)
    }
}

/// What a store must write, in one durable step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantChange {
    /// Rows as they stand after; new ones among them.
    pub grants: Vec<Grant>,
    /// Entries to append.
    pub entries: Vec<Entry>,
}

/// What of some grants may be drawn now.
#[must_use]
pub fn available(grants: &[Grant], now_ms: u64) -> u64 {
    grants.iter().filter(|grant| grant.is_usable(now_ms)).fold(0, |sum, grant| sum.saturating_add(grant.left))
}

/// Writes a grant into the books. One that a payment bought stands against that payment's revenue, which it turns into a debt: the
/// caller has converted it. `None` for a grant of nothing.
#[must_use]
pub fn grant(grant: Grant) -> Option<GrantChange> {
    let from = match grant.source {
        GrantSource::Operator | GrantSource::Automatic => Account::Issued,
        GrantSource::Payment(_) => Account::Conversion,
        GrantSource::Transfer(from) => Account::Balance(from),
    };
    if grant.granted == 0 || grant.left != grant.granted {
        return None;
    }
    let amount = grant.unit.amount(grant.granted);
    let entry = Entry::transfer(grant.about(), EntryKind::Granted, from, Account::Balance(grant.key), amount);
    Some(GrantChange { grants: vec![grant], entries: vec![entry] })
}

/// Ends what has expired. What a charge holds of it is not touched: if it comes back, it lapses then.
#[must_use]
pub fn lapse(grants: &[Grant], now_ms: u64) -> GrantChange {
    let mut change = GrantChange::default();
    for grant in grants.iter().filter(|grant| grant.left > 0 && !grant.is_usable(now_ms)) {
        let amount = grant.unit.amount(grant.left);
        let entry =
            Entry::transfer(grant.about(), EntryKind::Lapsed, Account::Balance(grant.key), Account::Lapsed, amount);
        change.entries.push(entry);
        change.grants.push(Grant { left: 0, ..grant.clone() });
    }
    change
}

/// Takes from a balance what the operator takes back; `None` where there is not so much.
#[must_use]
pub fn withdraw(grants: &[Grant], amount: u64, now_ms: u64) -> Option<GrantChange> {
    let mut change = GrantChange::default();
    for (taken, grant) in draw(grants, amount, now_ms)? {
        let amount = grant.unit.amount(taken);
        let entry =
            Entry::transfer(grant.about(), EntryKind::Withdrawn, Account::Balance(grant.key), Account::Issued, amount);
        change.entries.push(entry);
        change.grants.push(grant);
    }
    Some(change)
}

/// Gives a part of one balance to another account. What is given keeps its end and its turn, so that it ends as it would have. `name`
/// makes the names of the new grants, by their position. `None` where there is not so much.
#[must_use]
pub fn transfer(
    grants: &[Grant],
    to: KeyId,
    amount: u64,
    now_ms: u64,
    name: impl Fn(u8) -> GrantId,
) -> Option<GrantChange> {
    let mut change = GrantChange::default();
    for (position, (taken, from)) in (0u8..).zip(draw(grants, amount, now_ms)?) {
        let given = Grant {
            id: name(position),
            key: to,
            source: GrantSource::Transfer(from.key),
            granted: taken,
            left: taken,
            granted_at_ms: now_ms,
            ..from.clone()
        };
        change.grants.push(from);
        let granted = grant(given)?;
        change.grants.extend(granted.grants);
        change.entries.extend(granted.entries);
    }
    Some(change)
}

/// Draws an amount in the order of use: how much of which grant, and the grant after it. `None` where there is not so much, or it
/// would be of more than 255 grants.
pub(super) fn draw(grants: &[Grant], amount: u64, now_ms: u64) -> Option<Vec<(u64, Grant)>> {
    let mut usable: Vec<&Grant> = grants.iter().filter(|grant| grant.is_usable(now_ms)).collect();
    usable.sort_by_key(|grant| grant.turn());
    let (mut owed, mut drawn) = (amount, Vec::new());
    for grant in usable {
        if owed == 0 {
            break;
        }
        let taken = owed.min(grant.left);
        owed = owed.saturating_sub(taken);
        drawn.push((taken, Grant { left: grant.left.saturating_sub(taken), ..grant.clone() }));
    }
    (owed == 0 && drawn.len() <= 255).then_some(drawn)
}
