//! What an admin does: noted in the same step, or only tried.

use std::sync::{Arc, Mutex, PoisonError};

use ledger::KeyId;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};

use crate::accounts::{account, usable};
use crate::rows::signed;
use crate::writer::Batch;

/// For so long an act is known by its `Idempotency-Key`.
const KNOWN_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// What is larger is left out of a note.
const SUMMARY_MAX_BYTES: i64 = 8 * 1_024;

/// What an admin's act is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An API key and its balance.
    Key(KeyId),
    /// An admin, by name.
    Admin([u8; 16]),
    /// The gate as a whole.
    Gate,
    /// Something else, by its kind and name.
    Other(&'static str, String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Admin(id) => write!(f, "admin:{}", KeyId(*id)),
            Self::Gate => f.write_str("gate"),
            Self::Other(kind, name) => write!(f, "{kind}:{name}"),
        }
    }
}

/// Who does what, beside the job that does it. What the job changes is noted in the same step; a job that changes nothing leaves no
/// note. Secrets do not belong in `asked`.
#[derive(Clone, Debug)]
pub struct Note {
    /// The admin's name.
    pub who: String,
    /// His role.
    pub role: &'static str,
    /// What he does.
    pub action: &'static str,
    /// With what.
    pub subject: Subject,
    /// What he asked for, in JSON.
    pub asked: String,
    /// The digest of his `Idempotency-Key`, and that of the request.
    pub once: Option<([u8; 32], [u8; 32])>,
    /// Whether the act is only tried: what the job answers is true, and nothing of it stays.
    pub dry_run: bool,
    /// What came of it.
    pub seen: Arc<Mutex<Seen>>,
}

/// What an act changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What its subject was before the first job.
    pub before: Option<Value>,
    /// What it was after the last.
    pub after: Option<Value>,
    /// Whether anything changed.
    pub changed: bool,
}

impl Note {
    /// What came of it so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does a job, and writes down what it changed.
    pub(crate) fn carry<T>(
        &self,
        batch: &mut Batch<'_>,
        work: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.refuse_second(batch)?;
        let before = summary(batch.db, &self.subject, batch.now_ms)?;
        if self.dry_run {
            batch.db.execute_batch("SAVEPOINT dry_run")?;
        }
        let changes = batch.db.total_changes();
        let outcome = work(batch);
        let changed = batch.db.total_changes() > changes;
        let after = summary(batch.db, &self.subject, batch.now_ms);
        if self.dry_run {
            batch.db.execute_batch("ROLLBACK TO dry_run; RELEASE dry_run")?;
        }
        let (value, after) = (outcome?, after?);
        if changed && !self.dry_run {
            self.write(batch, before.as_ref(), after.as_ref())?;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.changed {
            seen.before = before;
        }
        seen.after = after;
        seen.changed |= changed;
        Ok(value)
    }

    /// A caller who read a fault asks again, and what he asked for may have been done meanwhile: it is not done a second time.
    fn refuse_second(&self, batch: &Batch<'_>) -> rusqlite::Result<()> {
        let Some((once, _)) = self.once else { return Ok(()) };
        let goes_on = self.seen.lock().unwrap_or_else(PoisonError::into_inner).changed;
        let known = "SELECT EXISTS (SELECT 1 FROM admin_requests WHERE id = ?1)";
        match batch.db.prepare_cached(known)?.query_row([once], |row| row.get(0))? {
            true if !goes_on => Err(rusqlite::Error::StatementChangedRows(1)),
            _ => Ok(()),
        }
    }

    /// Writes it down.
    pub(crate) fn write(
        &self,
        batch: &Batch<'_>,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> rusqlite::Result<()> {
        let now_ms = signed(batch.now_ms)?;
        batch
            .db
            .prepare_cached(
                "INSERT INTO audit (at_ms, who, role, action, subject, asked, before, after)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                now_ms,
                self.who,
                self.role,
                self.action,
                self.subject.to_string(),
                self.asked,
                before.map(Value::to_string),
                after.map(Value::to_string),
            ])?;
        let Some((once, fingerprint)) = self.once else { return Ok(()) };
        let old = signed(batch.now_ms.saturating_sub(KNOWN_MS))?;
        batch.db.prepare_cached("DELETE FROM admin_requests WHERE at_ms < ?1")?.execute([old])?;
        let sql = "INSERT INTO admin_requests (id, fingerprint, at_ms) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
        batch.db.prepare_cached(sql)?.execute(params![once, fingerprint, now_ms])?;
        Ok(())
    }
}

/// The part of a subject that its acts change. It has no secret, and no digest of one.
fn summary(db: &Connection, subject: &Subject, now_ms: u64) -> rusqlite::Result<Option<Value>> {
    match subject {
        Subject::Key(id) => {
            let Some(row) = account(db, *id)? else { return Ok(None) };
            let sql = "SELECT record FROM keys WHERE id = ?1 AND length(record) <= ?2";
            let values = params![id.0, SUMMARY_MAX_BYTES];
            let record = db.prepare_cached(sql)?.query_row(values, |row| row.get::<_, String>(0)).optional()?;
            let record = record.and_then(|record| serde_json::from_str::<Value>(&record).ok());
            Ok(Some(json!({
                "key": record,
                "unit": row.unit.code(),
                "balance": ledger::available(&usable(db, *id)?, now_ms),
                "closed": !row.may_pay(now_ms),
                "spent": row.spent,
            })))
        }
        Subject::Admin(id) => {
            let sql = "SELECT name, role, revoked_at_ms FROM admins WHERE id = ?1";
            let read = |row: &rusqlite::Row<'_>| {
                let (name, role): (String, String) = (row.get(0)?, row.get(1)?);
                let revoked_at_ms: Option<i64> = row.get(2)?;
                Ok(json!({ "name": name, "role": role, "revoked": revoked_at_ms.is_some() }))
            };
            db.prepare_cached(sql)?.query_row([id], read).optional()
        }
        Subject::Gate => {
            let sql = "SELECT from_ms, until_ms, message FROM maintenance";
            let read = |row: &rusqlite::Row<'_>| {
                let (from_ms, until_ms): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
                let message: String = row.get(2)?;
                Ok(json!({ "from_ms": from_ms, "until_ms": until_ms, "message": message }))
            };
            db.prepare_cached(sql)?.query_row([], read).optional()
        }
        Subject::Other(kind, name) => {
            let sql = match *kind {
                "plan" => "SELECT policy FROM plans WHERE name = ?1 AND length(policy) <= ?2",
                "template" => "SELECT body FROM templates WHERE name = ?1 AND length(body) <= ?2",
                _ => return Ok(None),
            };
            let read = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
            let text = db.prepare_cached(sql)?.query_row(params![name, SUMMARY_MAX_BYTES], read).optional()?;
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        }
    }
}
