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
/// has the charge's name: one charge tops up once. A call that the balance would not pay for even then tops nothing up, unless the
/// balance is below without it: or whoever asks for what he cannot pay would be given the whole day's at once.
#[must_use]
pub fn refill(refill: Refill, grants: &[Grant], charge: &Charge, today: u32) -> Option<Grant> {
    let has = available(grants, charge.opened_at_ms);
    let is_due = match has.checked_sub(charge.amount) {
        Some(left) => left < refill.below,
        None => has < refill.below || has.saturating_add(refill.amount) >= charge.amount,
    };
    (is_due && today < refill.per_day && refill.amount > 0).then(|| Grant {
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

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;
    use crate::{HoldId, KeyId, Unit};

    #[test]
    fn when_a_balance_is_topped_up() {
        let rule = Refill { below: 10, amount: 1_000, per_day: 5 };
        for (has, costs, today, want) in [
            (100, 90, 0, false),
            (100, 91, 0, true),
            (100, 1_100, 0, true),
            // It is not below, and would not pay for the call: nothing is given, however often it is asked.
            (100, 1_101, 0, false),
            (100_000, 5_000_000, 0, false),
            (10, 5_000_000, 0, false),
            (9, 5_000_000, 0, true),
            (0, 1, 0, true),
            (0, 1, 4, true),
            (0, 1, 5, false),
            (u64::MAX, u64::MAX, 0, true),
        ] {
            let charge = Charge {
                id: HoldId([1; 16]),
                key: KeyId([2; 16]),
                unit: Unit::Credit,
                amount: costs,
                micros: 0,
                route: String::new(),
                fingerprint: B256::ZERO,
                idempotency: None,
                opened_at_ms: 1,
                tags: None,
            };
            let grant = Grant {
                id: GrantId([3; 16]),
                key: charge.key,
                unit: charge.unit,
                source: GrantSource::Operator,
                label: String::new(),
                priority: 0,
                granted: has,
                left: has,
                granted_at_ms: 0,
                expires_at_ms: None,
            };
            let given = refill(rule, &[grant], &charge, today);
            assert_eq!(given.is_some_and(|grant| grant.left == 1_000), want, "{has} {costs} {today}");
        }
    }
}
