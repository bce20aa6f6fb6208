//! Keys as they are listed: filtered, sorted, a page at a time.

use std::fmt::Write as _;

use gate::{Fault, KeyRecord};
use ledger::KeyId;
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use super::record_of;
use crate::handle::Handle;
use crate::rows::{corrupt, fixed, signed, unsigned};

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// What is written of it.
    pub record: KeyRecord,
    /// How the secrets that hold now begin.
    pub shown: Vec<String>,
    /// What of its balance may be drawn now.
    pub balance: u64,
    /// Calls that were paid from it.
    pub calls: u64,
    /// What they cost.
    pub spent: u64,
    /// When the last one was.
    pub used_at_ms: Option<u64>,
    /// By what it is sorted: the next page begins behind it.
    pub place: String,
}

/// How a key stands, for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// It may be used, within its grace as well.
    Active,
    /// It may not, until it is resumed.
    Suspended,
    /// Its time is over.
    Expired,
    /// For good.
    Revoked,
}

/// By what keys are sorted. Those that are equal come in the order of their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySort {
    /// When they were made.
    #[default]
    Created,
    /// By name.
    Name,
    /// By what may be drawn now.
    Balance,
    /// By when they were last used; never is first.
    Used,
    /// By what was spent.
    Spent,
    /// By how often they were used.
    Calls,
}

impl KeySort {
    const fn column(self) -> &'static str {
        match self {
            Self::Created => "keys.created_at_ms",
            Self::Name => "keys.name",
            Self::Balance => BALANCE,
            Self::Used => "coalesce(used_at_ms, -1)",
            Self::Spent => "spent",
            Self::Calls => "calls",
        }
    }

    const fn is_text(self) -> bool {
        matches!(self, Self::Name)
    }
}

/// In which order, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyOrder {
    /// By what.
    pub sort: KeySort,
    /// Whether the last comes first.
    pub descending: bool,
    /// Behind which place and key.
    pub after: Option<(String, KeyId)>,
    /// At most so many.
    pub most: u64,
}

/// Which keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// One alone.
    pub id: Option<KeyId>,
    /// Those that stand so.
    pub status: Option<KeyStatus>,
    /// Those with the plan.
    pub plan: Option<String>,
    /// Those whose name begins so.
    pub name_prefix: Option<String>,
    /// Those with the tag, and with that value where there is one.
    pub tag: Option<(String, Option<String>)>,
    /// Those that move no money, or those that do.
    pub sandbox: Option<bool>,
    /// Those with at least so much.
    pub balance_min: Option<u64>,
    /// Those with at most so much.
    pub balance_max: Option<u64>,
    /// Those that expire before then.
    pub ends_before_ms: Option<u64>,
    /// Those with the words in their name, alias, tags or notes; in small letters.
    pub words: Option<String>,
}

/// `?1` is the time.
const BALANCE: &str = "(SELECT coalesce(sum(left_over), 0) FROM grants WHERE account = keys.id AND left_over > 0
     AND (expires_at_ms IS NULL OR expires_at_ms > ?1))";

/// A statement that grows, with its values.
struct Asked {
    sql: String,
    values: Vec<Value>,
}

impl Asked {
    /// Adds a condition, in which `?` stands for the value.
    fn and(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        let place = format!("?{}", self.values.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('?', &place));
    }
}

impl Handle {
    /// The keys of a page.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn keys(&self, filter: &KeyFilter, order: &KeyOrder, now_ms: u64) -> Result<Vec<KeyRow>, Fault> {
        self.read(|db| {
            let asked = statement(filter, order, now_ms)?;
            let mut statement = db.prepare_cached(&asked.sql)?;
            let rows = statement.query_map(params_from_iter(asked.values), |row| key_row(row, order.sort))?;
            rows.collect()
        })
    }
}

fn statement(filter: &KeyFilter, order: &KeyOrder, now_ms: u64) -> rusqlite::Result<Asked> {
    let column = order.sort.column();
    let mut asked = Asked {
        sql: format!(
            "SELECT record, (SELECT group_concat(shown, ' ') FROM secrets WHERE secrets.key = keys.id
                    AND (valid_until_ms IS NULL OR valid_until_ms > ?1)),
                {BALANCE}, calls, spent, used_at_ms, {column}, keys.id
             FROM keys JOIN accounts ON accounts.id = keys.id WHERE TRUE"
        ),
        values: vec![integer(now_ms)?],
    };
    conditions(&mut asked, filter)?;
    asked.sql = asked.sql.replace("@now", "?1");
    let (than, turn) = if order.descending { ("<", "DESC") } else { (">", "ASC") };
    if let Some((place, KeyId(id))) = &order.after {
        let place = match place.parse() {
            Ok(number) if !order.sort.is_text() => Value::Integer(number),
            Ok(_) | Err(_) => Value::Text(place.clone()),
        };
        asked.values.extend([place, Value::Blob(id.to_vec())]);
        let last = asked.values.len();
        write!(asked.sql, " AND ({column}, keys.id) {than} (?{}, ?{last})", last.saturating_sub(1)).unwrap_or_default();
    }
    asked.values.push(integer(order.most)?);
    write!(asked.sql, " ORDER BY {column} {turn}, keys.id {turn} LIMIT ?{}", asked.values.len()).unwrap_or_default();
    Ok(asked)
}

fn integer(number: u64) -> rusqlite::Result<Value> {
    signed(number).map(Value::Integer)
}

/// What the filter says, one condition for each of its fields. `@now` stands for the time.
fn conditions(asked: &mut Asked, filter: &KeyFilter) -> rusqlite::Result<()> {
    if let Some(KeyId(id)) = filter.id {
        asked.and("keys.id = ?", Value::Blob(id.to_vec()));
    }
    match filter.status {
        Some(KeyStatus::Revoked) => asked.sql.push_str(" AND status = 'revoked'"),
        Some(KeyStatus::Expired) => asked.sql.push_str(" AND status <> 'revoked' AND ends_at_ms <= ?1"),
        Some(KeyStatus::Active) => {
            asked.sql.push_str(" AND status = 'active' AND (ends_at_ms IS NULL OR ends_at_ms > ?1)")
        }
        Some(KeyStatus::Suspended) => {
            asked.sql.push_str(" AND status = 'suspended' AND (ends_at_ms IS NULL OR ends_at_ms > ?1)");
        }
        None => {}
    }
    if let Some(plan) = &filter.plan {
        asked.and("plan = ?", Value::Text(plan.clone()));
    }
    if let Some(prefix) = &filter.name_prefix {
        asked.and("substr(keys.name, 1, length(?)) = ?", Value::Text(prefix.clone()));
    }
    if let Some((tag, value)) = &filter.tag {
        // Neither holds a line's end.
        let (has, text) = match value {
            Some(value) => ("key || char(10) || value = ?", format!("{tag}\n{value}")),
            None => ("key = ?", tag.clone()),
        };
        asked.and(&format!("EXISTS (SELECT 1 FROM json_each(record, '$.tags') WHERE {has})"), Value::Text(text));
    }
    if let Some(sandbox) = filter.sandbox {
        asked.and("coalesce(json_extract(record, '$.sandbox'), 0) = ?", Value::Integer(sandbox.into()));
    }
    if let Some(least) = filter.balance_min {
        asked.and(&format!("{} >= ?", BALANCE.replace("?1", "@now")), integer(least)?);
    }
    if let Some(most) = filter.balance_max {
        asked.and(&format!("{} <= ?", BALANCE.replace("?1", "@now")), integer(most)?);
    }
    if let Some(before) = filter.ends_before_ms {
        asked.and("status <> 'revoked' AND ends_at_ms < ?", integer(before)?);
    }
    if let Some(words) = &filter.words {
        asked.and(
            "(instr(lower(keys.name), ?) OR instr(alias, ?)
              OR EXISTS (SELECT 1 FROM json_each(record, '$.tags') WHERE instr(lower(key), ?) OR instr(lower(value), ?))
              OR EXISTS (SELECT 1 FROM json_each(record, '$.notes') WHERE instr(lower(json_extract(value, '$.text')), ?)))",
            Value::Text(words.clone()),
        );
    }
    Ok(())
}

fn key_row(row: &Row<'_>, sort: KeySort) -> rusqlite::Result<KeyRow> {
    let shown: Option<String> = row.get(1)?;
    let used: Option<i64> = row.get(5)?;
    let record = record_of(row, 0)?;
    if record.id != KeyId(fixed(row, 7)?) {
        return Err(corrupt(7));
    }
    Ok(KeyRow {
        record,
        shown: shown.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        balance: unsigned(row, 2)?,
        calls: unsigned(row, 3)?,
        spent: unsigned(row, 4)?,
        used_at_ms: used.map(|_| unsigned(row, 5)).transpose()?,
        place: if sort.is_text() { row.get(6)? } else { row.get::<_, i64>(6)?.to_string() },
    })
}
