//! Balances: accounts, grants and charges.

use facilitator::point::Act;
use gate::Fault;
use ledger::{Entry, Grant, GrantChange, GrantId, GrantSource, HoldId, KeyId, Unit};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::handle::Handle;
use crate::rows::{self, corrupt, fixed, signed, unsigned};
use crate::writer::Batch;

const GRANT: &str = "id, account, source, source_id, label, priority, granted, left_over, granted_at_ms, expires_at_ms";

/// An account as the journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Its name.
    pub id: KeyId,
    /// What it counts in.
    pub unit: Unit,
    /// Whether it may not pay.
    pub is_closed: bool,
    /// From when on it may not pay, in milliseconds since 1970.
    pub closes_at_ms: Option<u64>,
    /// Before then it may not pay, because a budget closed it; in milliseconds since 1970.
    pub suspended_until_ms: Option<u64>,
    /// Charges that were captured.
    pub calls: u64,
    /// What they took, less what was given back.
    pub spent: u64,
    /// When the last one was, in milliseconds since 1970.
    pub used_at_ms: Option<u64>,
}

impl AccountRow {
    /// Until when a budget has closed it, where one has.
    #[must_use]
    pub fn is_suspended(&self, now_ms: u64) -> bool {
        self.suspended_until_ms.is_some_and(|until_ms| now_ms < until_ms)
    }

    /// When it opens again by itself; `None` where somebody must open it.
    #[must_use]
    pub fn reopens_at_ms(&self) -> Option<u64> {
        self.suspended_until_ms.filter(|until_ms| i64::try_from(*until_ms) != Ok(i64::MAX))
    }

    pub(crate) fn may_pay(&self, now_ms: u64) -> bool {
        !self.is_closed && self.closes_at_ms.is_none_or(|closes| now_ms < closes)
    }
}

/// Why a grant was not written, or a balance not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// There is no such account.
    #[error("there is no such account")]
    NoAccount,
    /// The balance has less.
    #[error("the balance has less")]
    Short,
    /// Accounts of different units.
    #[error("the accounts count in different units")]
    OtherUnit,
    /// A balance is at most 10^15.
    #[error("the balance would be too large")]
    TooMuch,
}

/// No balance is larger: what is summed stays far from the end of the numbers.
const BALANCE_MAX: u64 = 1_000_000_000_000_000;

/// What came of a change of a balance.
pub type Granted = Result<u64, GrantRefusal>;

impl Handle {
    /// Opens an account that no key and no pass has.
    #[cfg(test)]
    pub(crate) async fn open_account(&self, id: KeyId, unit: Unit) -> Result<(), Fault> {
        self.writer.run(&[], move |batch| open_account(batch, id, unit)).await
    }

    /// Raises a balance, once for each name of a grant, and says what it has then.
    ///
    /// # Errors
    /// The journal's [`Fault`]; the inner error is for who asked.
    pub async fn grant(&self, grant: Grant) -> Result<Granted, Fault> {
        self.writer.run(&[Act::Grant], move |batch| give(batch, &grant)).await
    }

    /// Takes from a balance, and says what it has then. What charges hold is not touched.
    ///
    /// # Errors
    /// The journal's [`Fault`]; the inner error is for who asked.
    pub async fn withdraw(&self, id: KeyId, amount: u64) -> Result<Granted, Fault> {
        let work = move |batch: &mut Batch<'_>| {
            if account(batch.db, id)?.is_none() {
                return Ok(Err(GrantRefusal::NoAccount));
            }
            let now_ms = batch.now_ms;
            let Some(change) = ledger::withdraw(&usable(batch.db, id)?, amount, now_ms) else {
                return Ok(Err(GrantRefusal::Short));
            };
            write(batch, &change)?;
            Ok(Ok(ledger::available(&usable(batch.db, id)?, now_ms)))
        };
        self.writer.run(&[Act::Withdraw], work).await
    }

    /// Gives a part of one balance to another account, and says what the giver has left. `name` makes it happen once.
    ///
    /// # Errors
    /// The journal's [`Fault`]; the inner error is for who asked.
    pub async fn transfer(&self, from: KeyId, to: KeyId, amount: u64, name: [u8; 16]) -> Result<Granted, Fault> {
        self.writer.run(&[Act::Transfer], move |batch| transfer(batch, from, to, amount, name)).await
    }

    /// An account, what of its balance may be drawn now, and what its open charges hold.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn balance(&self, id: KeyId, now_ms: u64) -> Result<Option<(AccountRow, u64, u64)>, Fault> {
        self.read(|db| {
            let Some(row) = account(db, id)? else { return Ok(None) };
            let held = "SELECT coalesce(sum(amount), 0) FROM charges WHERE account = ?1 AND state = 'open'";
            let held = db.prepare_cached(held)?.query_row([id.0], |row| unsigned(row, 0))?;
            Ok(Some((row, ledger::available(&usable(db, id)?, now_ms), held)))
        })
    }

    /// An account's grants, oldest first, those that are used up among them.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn grants(&self, id: KeyId) -> Result<Vec<Grant>, Fault> {
        self.read(|db| {
            let Some(row) = account(db, id)? else { return Ok(Vec::new()) };
            let sql = format!("SELECT {GRANT} FROM grants WHERE account = ?1 ORDER BY granted_at_ms, id LIMIT 1000");
            grants_of(db, &sql, id, row.unit)
        })
    }

    /// Ends the grants whose time is over, at most a thousand at a time, and says how many.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn lapse(&self, now_ms: u64) -> Result<usize, Fault> {
        let due = |db: &Connection, now_ms: u64| -> rusqlite::Result<Vec<Grant>> {
            let sql = format!(
                "SELECT {GRANT}, (SELECT unit FROM accounts WHERE accounts.id = account) FROM grants
                 WHERE left_over > 0 AND expires_at_ms IS NOT NULL AND expires_at_ms <= ?1 ORDER BY expires_at_ms LIMIT 1000"
            );
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map([signed(now_ms)?], |row| grant_of(row, unit_of(row, 10)?))?;
            rows.collect()
        };
        // Most of the time there is nothing: the writer is not asked then.
        if self.read(|db| due(db, now_ms))?.is_empty() {
            return Ok(0);
        }
        let lapse = move |batch: &mut Batch<'_>| {
            let change = ledger::lapse(&due(batch.db, batch.now_ms)?, batch.now_ms);
            write(batch, &change)?;
            Ok(change.grants.len())
        };
        self.writer.run(&[Act::Lapse], lapse).await
    }
}

pub(crate) fn open_account(batch: &mut Batch<'_>, id: KeyId, unit: Unit) -> rusqlite::Result<()> {
    let sql = "INSERT INTO accounts (id, unit) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    batch.db.prepare_cached(sql)?.execute(params![id.0, unit.code()])?;
    Ok(())
}

/// Says who may pay: what access decides, the money's side must know.
pub(crate) fn close_account(
    batch: &mut Batch<'_>,
    id: KeyId,
    is_closed: bool,
    closes_at_ms: Option<u64>,
) -> rusqlite::Result<()> {
    let sql = "UPDATE accounts SET closed = ?2, closes_at_ms = ?3 WHERE id = ?1";
    let closes = closes_at_ms.map(signed).transpose()?;
    batch.db.prepare_cached(sql)?.execute(params![id.0, is_closed, closes])?;
    Ok(())
}

/// Raises a balance within a batch; what was granted under the same name stays as it is.
pub(crate) fn give(batch: &mut Batch<'_>, grant: &Grant) -> rusqlite::Result<Granted> {
    let Some(account) = account(batch.db, grant.key)? else { return Ok(Err(GrantRefusal::NoAccount)) };
    if account.unit != grant.unit {
        return Ok(Err(GrantRefusal::OtherUnit));
    }
    let has = ledger::available(&usable(batch.db, grant.key)?, batch.now_ms);
    if grant_by_id(batch.db, grant.id, grant.unit)?.is_some() {
        return Ok(Ok(has));
    }
    let after = has.saturating_add(grant.granted);
    if after > BALANCE_MAX {
        return Ok(Err(GrantRefusal::TooMuch));
    }
    if let Some(change) = ledger::grant(grant.clone()) {
        write(batch, &change)?;
    }
    Ok(Ok(after))
}

fn transfer(batch: &mut Batch<'_>, from: KeyId, to: KeyId, amount: u64, name: [u8; 16]) -> rusqlite::Result<Granted> {
    let (Some(giver), Some(taker)) = (account(batch.db, from)?, account(batch.db, to)?) else {
        return Ok(Err(GrantRefusal::NoAccount));
    };
    if giver.unit != taker.unit {
        return Ok(Err(GrantRefusal::OtherUnit));
    }
    let now_ms = batch.now_ms;
    let part = |position: u8| {
        let [first, rest @ ..] = name;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = rest;
        GrantId([first ^ position, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o])
    };
    let grants = usable(batch.db, from)?;
    if grant_by_id(batch.db, part(0), giver.unit)?.is_some() {
        return Ok(Ok(ledger::available(&grants, now_ms)));
    }
    let Some(change) = ledger::transfer(&grants, to, amount, now_ms, part) else {
        return Ok(Err(GrantRefusal::Short));
    };
    write(batch, &change)?;
    Ok(Ok(ledger::available(&usable(batch.db, from)?, now_ms)))
}

pub(crate) fn account(db: &Connection, id: KeyId) -> rusqlite::Result<Option<AccountRow>> {
    let sql =
        "SELECT unit, closed, closes_at_ms, calls, spent, used_at_ms, suspended_until_ms FROM accounts WHERE id = ?1";
    let read = |row: &Row<'_>| {
        Ok(AccountRow {
            id,
            unit: unit_of(row, 0)?,
            is_closed: row.get(1)?,
            closes_at_ms: maybe(row, 2)?,
            calls: unsigned(row, 3)?,
            spent: unsigned(row, 4)?,
            used_at_ms: maybe(row, 5)?,
            suspended_until_ms: maybe(row, 6)?,
        })
    };
    db.prepare_cached(sql)?.query_row([id.0], read).optional()
}

/// The grants that have something left, expired ones among them.
pub(crate) fn usable(db: &Connection, id: KeyId) -> rusqlite::Result<Vec<Grant>> {
    let unit = "SELECT unit FROM accounts WHERE id = ?1";
    let Some(unit) = db.prepare_cached(unit)?.query_row([id.0], |row| unit_of(row, 0)).optional()? else {
        return Ok(Vec::new());
    };
    grants_of(db, &format!("SELECT {GRANT} FROM grants WHERE account = ?1 AND left_over > 0"), id, unit)
}

pub(crate) fn grants_of(db: &Connection, sql: &str, id: KeyId, unit: Unit) -> rusqlite::Result<Vec<Grant>> {
    db.prepare_cached(sql)?.query_map([id.0], |row| grant_of(row, unit))?.collect()
}

pub(crate) fn grants_where(which: &str) -> String {
    format!("SELECT {GRANT} FROM grants WHERE {which}")
}

pub(crate) fn grant_by_id(db: &Connection, id: GrantId, unit: Unit) -> rusqlite::Result<Option<Grant>> {
    let sql = format!("SELECT {GRANT} FROM grants WHERE id = ?1");
    db.prepare_cached(&sql)?.query_row([id.0], |row| grant_of(row, unit)).optional()
}

pub(crate) fn write(batch: &mut Batch<'_>, change: &GrantChange) -> rusqlite::Result<()> {
    write_rows(batch, &change.grants, &change.entries)
}

/// Writes grants as they stand after, new ones among them, and appends entries.
pub(crate) fn write_rows(batch: &Batch<'_>, grants: &[Grant], entries: &[Entry]) -> rusqlite::Result<()> {
    for grant in grants {
        let sql = "UPDATE grants SET left_over = ?2, granted = ?3 WHERE id = ?1";
        let values = params![grant.id.0, signed(grant.left)?, signed(grant.granted)?];
        if batch.db.prepare_cached(sql)?.execute(values)? == 1 {
            continue;
        }
        let (source, source_id) = match grant.source {
            GrantSource::Operator => ("operator", None),
            GrantSource::Automatic => ("automatic", None),
            GrantSource::Payment(HoldId(id)) => ("payment", Some(id)),
            GrantSource::Transfer(KeyId(id)) => ("transfer", Some(id)),
        };
        let sql = format!("INSERT INTO grants ({GRANT}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
        batch.db.prepare_cached(&sql)?.execute(params![
            grant.id.0,
            grant.key.0,
            source,
            source_id,
            grant.label,
            grant.priority,
            signed(grant.granted)?,
            signed(grant.left)?,
            signed(grant.granted_at_ms)?,
            grant.expires_at_ms.map(signed).transpose()?,
        ])?;
    }
    entries.iter().try_for_each(|entry| rows::append(batch.db, entry, batch.now_ms))
}

fn grant_of(row: &Row<'_>, unit: Unit) -> rusqlite::Result<Grant> {
    let source_id: Option<[u8; 16]> = row.get(3)?;
    let source = match (row.get_ref(2)?.as_str()?, source_id) {
        ("operator", _) => GrantSource::Operator,
        ("automatic", _) => GrantSource::Automatic,
        ("payment", Some(id)) => GrantSource::Payment(HoldId(id)),
        ("transfer", Some(id)) => GrantSource::Transfer(KeyId(id)),
        _ => return Err(corrupt(2)),
    };
    Ok(Grant {
        id: GrantId(fixed(row, 0)?),
        key: KeyId(fixed(row, 1)?),
        unit,
        source,
        label: row.get(4)?,
        priority: row.get(5)?,
        granted: unsigned(row, 6)?,
        left: unsigned(row, 7)?,
        granted_at_ms: unsigned(row, 8)?,
        expires_at_ms: maybe(row, 9)?,
    })
}

pub(crate) fn unit_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Unit> {
    Unit::parse(row.get_ref(column)?.as_str()?).ok_or_else(|| corrupt(column))
}

fn maybe(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    value.map(|value| u64::try_from(value).map_err(|_| corrupt(column))).transpose()
}
