//! From a price to units of an account.

use ledger::Unit;

const MILLION: u64 = 1_000_000;

/// What one call costs, whoever pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// In millionths of a dollar, rounded up.
    pub micros: u64,
    /// In whole credits, where the route says so itself. Else it is what `micros` come to.
    pub credits: Option<u64>,
}

/// What a key's plan makes of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTerms {
    /// What it is multiplied by, in millionths: 1,000,000 leaves it as it is.
    pub multiplier_millionths: u64,
    /// What a call of this route costs instead, in the account's unit. It goes before everything else.
    pub fixed: Option<u64>,
}

impl Default for KeyTerms {
    fn default() -> Self {
        Self { multiplier_millionths: MILLION, fixed: None }
    }
}

/// What a call costs an account, in its unit: what is fixed for its key, or else the route's price times the key's multiplier, rounded
/// up once. A credit is worth `credit_micros`, never zero. A pass that counts calls pays one call, whatever the price.
#[must_use]
pub fn units(cost: Cost, unit: Unit, credit_micros: u64, terms: KeyTerms) -> u64 {
    if let Some(fixed) = terms.fixed {
        return fixed;
    }
    let multiplied = |amount: u64| u128::from(amount).saturating_mul(u128::from(terms.multiplier_millionths));
    let rounded = |millionths: u128, each: u128| {
        u64::try_from(millionths.div_ceil(each.saturating_mul(u128::from(MILLION)).max(1))).unwrap_or(u64::MAX)
    };
    match (unit, cost.credits) {
        (Unit::Usd, _) => rounded(multiplied(cost.micros), 1),
        (Unit::Credit, Some(credits)) => rounded(multiplied(credits), 1),
        (Unit::Credit, None) => rounded(multiplied(cost.micros), u128::from(credit_micros)),
        (Unit::Call, _) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CENT: u64 = 10_000;

    #[test]
    fn units_table() {
        let plain = KeyTerms::default();
        let times = |permille: u64| KeyTerms { multiplier_millionths: permille * 1_000, fixed: None };
        let dollars = |micros| Cost { micros, credits: None };
        let credits = |credits| Cost { micros: credits * CENT, credits: Some(credits) };
        for (cost, unit, terms, want) in [
            (dollars(10_000), Unit::Usd, plain, 10_000),
            (dollars(10_000), Unit::Credit, plain, 1),
            (dollars(10_001), Unit::Credit, plain, 2),
            (dollars(1), Unit::Credit, plain, 1),
            (dollars(1), Unit::Call, times(9_000), 1),
            (credits(17), Unit::Credit, plain, 17),
            (credits(17), Unit::Usd, plain, 170_000),
            (dollars(10), Unit::Usd, times(500), 5),
            (dollars(11), Unit::Usd, times(500), 6),
            (dollars(1), Unit::Usd, times(1), 1),
            (dollars(1), Unit::Usd, times(0), 0),
            (credits(3), Unit::Credit, times(1_500), 5),
            // Rounded once: 1.5 cents at a half are 0.75 of a credit.
            (dollars(15_000), Unit::Credit, times(500), 1),
            (dollars(15_000), Unit::Credit, times(2_000), 3),
            (dollars(u64::MAX), Unit::Usd, times(2_000), u64::MAX),
            (dollars(10), Unit::Usd, KeyTerms { multiplier_millionths: 1, fixed: Some(7) }, 7),
            (dollars(10), Unit::Usd, KeyTerms { multiplier_millionths: 1, fixed: Some(0) }, 0),
        ] {
            assert_eq!(units(cost, unit, CENT, terms), want, "{cost:?} {unit:?} {terms:?}");
        }
    }

    proptest! {
        /// Rounded up, and by less than one unit.
        #[test]
        fn rounded_up_by_less_than_one(micros: u64, credit in 1..=u64::MAX, multiplier_millionths in 0..=1_000_000_000_u64) {
            let terms = KeyTerms { multiplier_millionths, fixed: None };
            let paid = units(Cost { micros, credits: None }, Unit::Credit, credit, terms);
            let exact = u128::from(micros) * u128::from(multiplier_millionths);
            let each = u128::from(credit) * u128::from(MILLION);
            if paid < u64::MAX {
                prop_assert!(u128::from(paid) * each >= exact);
                prop_assert!(u128::from(paid) * each < exact + each);
            } else {
                prop_assert!(exact > u128::from(u64::MAX - 1) * each);
            }
        }

        /// A dearer call never costs fewer units.
        #[test]
        fn never_falls(micros in 0..u64::MAX, credit in 1..=1_000_000_u64, multiplier_millionths in 0..=10_000_000_u64) {
            let terms = KeyTerms { multiplier_millionths, fixed: None };
            let at = |micros| units(Cost { micros, credits: None }, Unit::Credit, credit, terms);
            prop_assert!(at(micros) <= at(micros + 1));
        }
    }
}
