//! What accounts have had: in a month, and by the words that callers book it under.

use gate::Fault;
use gate::price::Volume;
use ledger::{KeyId, Unit};
use rusqlite::{OptionalExtension as _, params};

use crate::accounts::unit_of;
use crate::handle::Handle;
use crate::rows::{signed, unsigned};

const DAY_MS: u64 = 86_400_000;
/// Rows of one report.
const ROWS_MAX: u64 = 1_000;
/// No tag has a longer name.
const NAME_MAX: usize = 64;

/// What calls cost that were booked under one value of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagCost {
    /// The value.
    pub value: String,
    /// What is counted.
    pub unit: Unit,
    /// Calls that were charged.
    pub calls: u64,
    /// What they cost, less what was given back.
    pub spent: u64,
}

impl Handle {
    /// What an account has had in the month (UTC) of a time, without calls that are still running. Two calls at once see the same.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn month_of(&self, account: KeyId, now_ms: u64) -> Result<Volume, Fault> {
        let month = month(now_ms);
        self.read(|db| {
            let sql = "SELECT month_calls, month_spent FROM accounts WHERE id = ?1 AND month = ?2";
            let volume = |row: &rusqlite::Row<'_>| Ok(Volume { calls: unsigned(row, 0)?, amount: unsigned(row, 1)? });
            let found = db.prepare_cached(sql)?.query_row(params![account.0, signed(month)?], volume).optional()?;
            Ok(found.unwrap_or_default())
        })
    }

    /// What calls cost by the values of a tag, dearest first, at most 1,000: of one account or of all, in the order of their claims from
    /// one time to before another. A name that no tag has has no rows.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn cost_by_tag(
        &self,
        account: Option<KeyId>,
        tag: &str,
        from_ms: u64,
        to_ms: u64,
    ) -> Result<Vec<TagCost>, Fault> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if tag.is_empty() || tag.len() > NAME_MAX || !tag.bytes().all(plain) {
            return Ok(Vec::new());
        }
        let of_one = if account.is_some() { "account = ?1" } else { "?1 IS NULL" };
        let sql = format!(
            "SELECT json_extract(tags, ?2) AS value, unit, count(*), sum(captured - refunded)
             FROM charges JOIN accounts ON accounts.id = account
             WHERE {of_one} AND tags IS NOT NULL AND state = 'captured' AND opened_at_ms >= ?3 AND opened_at_ms < ?4
                   AND value IS NOT NULL
             GROUP BY value, unit ORDER BY sum(captured - refunded) DESC, value LIMIT ?5"
        );
        self.read(|db| {
            let mut rows = db.prepare_cached(&sql)?;
            // Times beyond what a row can hold are no bounds.
            let bound = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
            let values = params![
                account.map(|account| account.0),
                format!("$.\"{tag}\""),
                bound(from_ms),
                bound(to_ms),
                signed(ROWS_MAX)?
            ];
            let cost = |row: &rusqlite::Row<'_>| {
                Ok(TagCost {
                    value: row.get(0)?,
                    unit: unit_of(row, 1)?,
                    calls: unsigned(row, 2)?,
                    spent: unsigned(row, 3)?,
                })
            };
            rows.query_map(values, cost)?.collect()
        })
    }
}

/// Months since the year 0, in UTC.
pub(crate) fn month(ms: u64) -> u64 {
    // Days since the first of March of the year 0, in spans of 400 years.
    let days = ms.div_euclid(DAY_MS).saturating_add(719_468);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // March is 0.
    let month = (5 * day + 2) / 153;
    era.saturating_mul(400).saturating_add(year).saturating_mul(12).saturating_add(month).saturating_add(2)
}

#[cfg(test)]
mod tests {
    use super::month;

    #[test]
    fn months_table() {
        let at = |year: u64, month: u64| year * 12 + month - 1;
        for (ms, want) in [
            (0, at(1970, 1)),
            (2_678_399_999, at(1970, 1)),
            (2_678_400_000, at(1970, 2)),
            (951_782_399_999, at(2000, 2)),
            (951_782_400_000, at(2000, 2)),
            (951_868_800_000, at(2000, 3)),
            (1_767_225_599_999, at(2025, 12)),
            (1_767_225_600_000, at(2026, 1)),
            (1_795_132_800_000, at(2026, 11)),
        ] {
            assert_eq!(month(ms), want, "{ms}");
        }
    }
}
