//! Balances that are topped up by themselves, as the operator allows.

use super::{Charge, Grant, GrantId, GrantSource, available};

/// When a balance is topped up, by how much and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refill {
    /// A call that would leave less than this tops it up.
    pub below: u64,
    /// By so much.
    pub amount: u64,
    /// So often in a day (UTC) at most.
    pub per_day: u32,
}

/// What a charge tops its account up with before it draws, if anything. `today` is how often that was done since midnight. The grant
/// has the charge's name: one charge tops up once.
#[must_use]
pub fn refill(refill: Refill, grants: &[Grant], charge: &Charge, today: u32) -> Option<Grant> {
    let has = available(grants, charge.opened_at_ms);
    let stays = has.checked_sub(charge.amount).is_some_and(|left| left >= refill.below);
    (!stays && today < refill.per_day && refill.amount > 0).then(|| Grant {
        id: GrantId(charge.id.0),
        key: charge.key,
        unit: charge.unit,
        source: GrantSource::Automatic,
        label: "auto_topup".to_owned(),
        priority: 100,
        granted: refill.amount,
        left: refill.amount,
        granted_at_ms: charge.opened_at_ms,
        expires_at_ms: None,
    })
}
