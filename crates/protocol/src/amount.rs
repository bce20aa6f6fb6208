//! Exact integer amounts of one asset.

use crate::Asset;

/// A number of atomic units of one asset. There is no arithmetic between assets and none that can wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Amount {
    /// The asset's smallest units (USDC: 1,000,000 to the dollar).
    pub atomic: u128,
    /// What is counted.
    pub asset: Asset,
}

impl Amount {
    /// An amount of `atomic` units of `asset`.
    #[must_use]
    pub const fn new(atomic: u128, asset: Asset) -> Self {
        Self { atomic, asset }
    }

    /// The sum, or `None` when the assets differ or the sum does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.asset != other.asset {
            return None;
        }
        self.atomic.checked_add(other.atomic).map(|atomic| Self { atomic, ..self })
    }
}

/// Why a text is not an amount. The text itself is not repeated: it may be hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAmount {
    /// Empty, or a character other than a digit (signs, spaces, hex, exponents).
    #[error("is not a plain decimal number")]
    NotDecimal,
    /// A leading zero: the same number must have one spelling.
    #[error("has a leading zero")]
    LeadingZero,
    /// More than 128 bits, or more digits than any token has.
    #[error("is too large")]
    TooLarge,
    /// More decimal places than the asset has.
    #[error("has more decimal places than the asset")]
    TooFine,
}

/// Reads a count of atomic units as x402 writes it: digits alone, no leading zero, at most 128 bits.
///
/// # Errors
/// [`NotAnAmount`] for anything else; the text is never trimmed or corrected.
pub fn parse_atomic(text: &str) -> Result<u128, NotAnAmount> {
    if text.len() > 78 {
        return Err(NotAnAmount::TooLarge);
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotAnAmount::NotDecimal);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(NotAnAmount::LeadingZero);
    }
    text.parse().map_err(|_| NotAnAmount::TooLarge)
}

/// Reads a decimal amount (`0.01`, `$0.01`) into atomic units of an asset with `decimals` places, exactly.
///
/// # Errors
/// [`NotAnAmount`] for signs, exponents, a missing digit on either side of the point, and places that the asset does not have.
pub fn parse_decimal(text: &str, decimals: u8) -> Result<u128, NotAnAmount> {
    let text = text.strip_prefix('$').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.len() <= 78 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(NotAnAmount::NotDecimal);
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Err(NotAnAmount::LeadingZero);
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = usize::from(decimals).checked_sub(fraction.len()).ok_or(NotAnAmount::TooFine)?;
    let all = format!("{whole}{fraction}{}", "0".repeat(missing));
    let all = all.trim_start_matches('0');
    if all.is_empty() {
        return Ok(0);
    }
    parse_atomic(all)
}

/// Prints atomic units as a decimal number with at least two places (`0.01`, `12.50`), exactly.
#[must_use]
pub fn print_decimal(atomic: u128, decimals: u8) -> String {
    let places = usize::from(decimals);
    let digits = format!("{atomic:0>width$}", width = places.saturating_add(1));
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(places));
    let fraction = fraction.trim_end_matches('0');
    if places == 0 {
        return whole.to_owned();
    }
    format!("{whole}.{fraction:0<2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn atomic_table() {
        let huge = "9".repeat(79);
        for (text, want) in [
            ("0", Ok(0)),
            ("10000", Ok(10_000)),
            ("340282366920938463463374607431768211455", Ok(u128::MAX)),
            ("340282366920938463463374607431768211456", Err(NotAnAmount::TooLarge)),
            (huge.as_str(), Err(NotAnAmount::TooLarge)),
            ("", Err(NotAnAmount::NotDecimal)),
            ("+1", Err(NotAnAmount::NotDecimal)),
            ("-1", Err(NotAnAmount::NotDecimal)),
            (" 1", Err(NotAnAmount::NotDecimal)),
            ("1e4", Err(NotAnAmount::NotDecimal)),
            ("0x10", Err(NotAnAmount::NotDecimal)),
            ("1.0", Err(NotAnAmount::NotDecimal)),
            ("١", Err(NotAnAmount::NotDecimal)),
            ("010000", Err(NotAnAmount::LeadingZero)),
        ] {
            assert_eq!(parse_atomic(text), want, "{text:?}");
        }
    }

    #[test]
    fn decimal_table() {
        for (text, want) in [
            ("0.01", Ok(10_000)),
            ("$0.001", Ok(1_000)),
            ("$1.00", Ok(1_000_000)),
            ("5", Ok(5_000_000)),
            ("0", Ok(0)),
            ("0.0000010", Ok(1)),
            ("0.0000001", Err(NotAnAmount::TooFine)),
            (".5", Err(NotAnAmount::NotDecimal)),
            ("5.", Err(NotAnAmount::NotDecimal)),
            ("1.2.3", Err(NotAnAmount::NotDecimal)),
            ("-0.01", Err(NotAnAmount::NotDecimal)),
            ("00.01", Err(NotAnAmount::LeadingZero)),
            ("1e-2", Err(NotAnAmount::NotDecimal)),
            ("free", Err(NotAnAmount::NotDecimal)),
        ] {
            assert_eq!(parse_decimal(text, 6), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printed_amounts_read_back(atomic: u128, decimals in 0u8..=18) {
            prop_assert_eq!(parse_decimal(&print_decimal(atomic, decimals), decimals), Ok(atomic));
            prop_assert_eq!(parse_atomic(&atomic.to_string()), Ok(atomic));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,90}", decimals: u8) {
            prop_assert!(parse_decimal(&text, decimals).is_ok() || parse_decimal(&text, decimals).is_err());
        }
    }
}
