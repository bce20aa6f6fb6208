//! What was called and paid from balances, as operators ask for it.

use gate::Fault;
use ledger::{ChargeRecord, KeyId};
use rusqlite::{Connection, params_from_iter, types::Value};

use crate::charges::{CHARGE, charge_of};
use crate::handle::Handle;
use crate::rows::{signed, unsigned};

/// Which charges are asked for; what is `None` is not asked about.
#[derive(Clone, Debug, Default)]
pub struct UsageQuery {
    /// Whose.
    pub key: Option<KeyId>,
    /// Of which route.
    pub route: Option<String>,
    /// `open`, `captured`, `released` or `burnt`.
    pub state: Option<&'static str>,
    /// Since when.
    pub from_ms: Option<u64>,
    /// Until when.
    pub to_ms: Option<u64>,
    /// A tag that its caller booked it under, and its value. The name is of letters, digits, `_` and `-`.
    pub tag: Option<(String, String)>,
    /// Only before this place in their order.
    pub before: Option<u64>,
    /// At most so many.
    pub most: u64,
}

/// By what charges are summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageGroup {
    /// By account.
    Key,
    /// By route.
    Route,
    /// By day, in UTC.
    Day,
    /// By the value of a tag; its name is of letters, digits, `_` and `-`.
    Tag(String),
}

/// Charges together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// What they have in common; empty for those without the tag.
    pub group: String,
    /// What they are counted in.
    pub unit: String,
    /// How many there are.
    pub charges: u64,
    /// How many of them were taken.
    pub captured: u64,
    /// How many were given back.
    pub given_back: u64,
    /// What was taken, less what was refunded.
    pub amount: u64,
    /// What was refunded.
    pub refunded: u64,
}

impl UsageQuery {
    /// The condition in SQL, and its values.
    fn condition(&self) -> rusqlite::Result<(String, Vec<Value>)> {
        let (mut words, mut values) = ("charges.turn < ?".to_owned(), Vec::new());
        values.push(Value::Integer(self.before.and_then(|turn| i64::try_from(turn).ok()).unwrap_or(i64::MAX)));
        let mut and = |word: &str, value: Value| {
            words.push_str(" AND ");
            words.push_str(word);
            values.push(value);
        };
        if let Some(key) = self.key {
            and("account = ?", Value::Blob(key.0.to_vec()));
        }
        if let Some(route) = &self.route {
            and("route = ?", Value::Text(route.clone()));
        }
        if let Some(state) = self.state {
            and("state = ?", Value::Text(state.to_owned()));
        }
        if let Some(from_ms) = self.from_ms {
            and("opened_at_ms >= ?", Value::Integer(signed(from_ms)?));
        }
        if let Some(to_ms) = self.to_ms {
            and("opened_at_ms < ?", Value::Integer(signed(to_ms)?));
        }
        if let Some((name, value)) = &self.tag {
            and(&format!("{} = ?", tag_sql(name)), Value::Text(value.clone()));
        }
        Ok((words, values))
    }
}

/// The value of a tag. A name with other signs than letters, digits, `_` and `-` is no tag's.
fn tag_sql(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || !name.chars().all(plain) {
        return "NULL".to_owned();
    }
    format!("CASE WHEN json_valid(tags) THEN CAST(json_extract(tags, '$.\"{name}\"') AS TEXT) END")
}

impl Handle {
    /// Charges of all accounts, newest first, each with its place.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn usage(&self, query: &UsageQuery) -> Result<Vec<(u64, ChargeRecord)>, Fault> {
        self.read(|db| {
            let (condition, mut values) = query.condition()?;
            values.push(Value::Integer(signed(query.most)?));
            let sql = format!(
                "SELECT {CHARGE}, turn FROM charges JOIN accounts ON accounts.id = account
                 WHERE {condition} ORDER BY turn DESC LIMIT ?"
            );
            let mut statement = db.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(values), |row| {
                let turn: i64 = row.get("turn")?;
                Ok((turn.unsigned_abs(), charge_of(row)?))
            })?;
            rows.collect()
        })
    }

    /// The same in sums, the largest first, at most a thousand.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn usage_sums(&self, query: &UsageQuery, by: &UsageGroup) -> Result<Vec<UsageSum>, Fault> {
        self.read(|db| sums(db, query, by))
    }
}

fn sums(db: &Connection, query: &UsageQuery, by: &UsageGroup) -> rusqlite::Result<Vec<UsageSum>> {
    let group = match by {
        UsageGroup::Key => "lower(hex(account))".to_owned(),
        UsageGroup::Route => "route".to_owned(),
        UsageGroup::Day => "date(opened_at_ms / 1000, 'unixepoch')".to_owned(),
        UsageGroup::Tag(name) => format!("coalesce({}, '')", tag_sql(name)),
    };
    let (condition, values) = query.condition()?;
    let sql = format!(
        "SELECT {group} AS what, unit, count(*), coalesce(sum(state = 'captured'), 0),
                coalesce(sum(state = 'released' OR state = 'burnt'), 0),
                coalesce(sum(coalesce(captured, 0) - refunded), 0), coalesce(sum(refunded), 0)
         FROM charges JOIN accounts ON accounts.id = account WHERE {condition}
         GROUP BY what, unit ORDER BY 6 DESC, 3 DESC, what LIMIT 1000"
    );
    let mut statement = db.prepare(&sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(UsageSum {
            group: row.get(0)?,
            unit: row.get(1)?,
            charges: unsigned(row, 2)?,
            captured: unsigned(row, 3)?,
            given_back: unsigned(row, 4)?,
            amount: unsigned(row, 5)?,
            refunded: unsigned(row, 6)?,
        })
    };
    statement.query_map(params_from_iter(values), read)?.collect()
}
