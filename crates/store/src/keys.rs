//! API keys: their records, the digests of their secrets, and the plans that they have.

use facilitator::point::Act;
use gate::{Fault, KeyRecord, KeyRefusal, KeyState, Policy, SecretDigest};
use ledger::{Grant, KeyId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::accounts::{close_account, give, open_account};
use crate::handle::Handle;
use crate::rows::{corrupt, signed, unsigned};
use crate::writer::Batch;

/// A key that is to be made.
#[derive(Clone, Debug)]
pub struct KeyToMake {
    /// Its record.
    pub record: KeyRecord,
    /// The digest of its secret.
    pub secret: SecretDigest,
    /// How its secret begins.
    pub shown: String,
    /// What its balance begins with.
    pub opening: Option<Grant>,
}

/// Whose secret it is.
#[derive(Clone, Debug)]
pub struct SecretHolder {
    /// The key.
    pub record: KeyRecord,
    /// Its plan's policy.
    pub plan: Policy,
    /// The secret was replaced, and holds until then.
    pub valid_until_ms: Option<u64>,
}

impl Handle {
    /// How often keys, plans or secrets were changed: what was read before a change may be wrong after it.
    #[must_use]
    pub fn access_generation(&self) -> u64 {
        self.known.access_generation()
    }

    /// Makes a key: its account, its record, its secret's digest and its opening balance, in one step.
    ///
    /// # Errors
    /// The journal's [`Fault`]. The inner error is for who asked; nothing was written then.
    pub async fn make_key(&self, key: KeyToMake) -> Result<Result<(), KeyRefusal>, Fault> {
        self.writer.run(&[Act::ChangeKeys], move |batch| whole(batch, |batch| make(batch, &key))).await
    }

    /// Whose secret a digest is of.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn secret_holder(&self, secret: SecretDigest) -> Result<Option<SecretHolder>, Fault> {
        self.read(|db| {
            let sql = "SELECT record, policy, valid_until_ms FROM secrets JOIN keys ON keys.id = secrets.key
                       LEFT JOIN plans ON plans.name = keys.plan WHERE hash = ?1";
            db.prepare_cached(sql)?.query_row([secret.0], holder).optional()
        })
    }

    /// A key.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        self.read(|db| key(db, id))
    }
}

fn holder(row: &Row<'_>) -> rusqlite::Result<SecretHolder> {
    let plan: Option<String> = row.get(1)?;
    let plan = plan.map_or(Ok(Policy::default()), |text| serde_json::from_str(&text)).map_err(|_| corrupt(1))?;
    let valid_until_ms: Option<i64> = row.get(2)?;
    let valid_until_ms = valid_until_ms.map(|_| unsigned(row, 2)).transpose()?;
    Ok(SecretHolder { record: record_of(row, 0)?, plan, valid_until_ms })
}

fn record_of(row: &Row<'_>, column: usize) -> rusqlite::Result<KeyRecord> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|_| corrupt(column))
}

fn key(db: &Connection, id: KeyId) -> rusqlite::Result<Option<KeyRecord>> {
    db.prepare_cached("SELECT record FROM keys WHERE id = ?1")?.query_row([id.0], |row| record_of(row, 0)).optional()
}

/// Does all of it, or where it is refused none of it.
fn whole<T>(
    batch: &mut Batch<'_>,
    work: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<Result<T, KeyRefusal>>,
) -> rusqlite::Result<Result<T, KeyRefusal>> {
    batch.db.execute_batch("SAVEPOINT keys")?;
    let done = work(batch)?;
    let end = if done.is_ok() { "RELEASE keys" } else { "ROLLBACK TO keys; RELEASE keys" };
    batch.db.execute_batch(end)?;
    Ok(done)
}

fn make(batch: &mut Batch<'_>, key: &KeyToMake) -> rusqlite::Result<Result<(), KeyRefusal>> {
    let id = key.record.id;
    if let Err(refusal) = fits(batch.db, &key.record)? {
        return Ok(Err(refusal));
    }
    let is_there =
        "SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1) OR EXISTS (SELECT 1 FROM secrets WHERE hash = ?2)";
    if batch.db.prepare_cached(is_there)?.query_row(params![id.0, key.secret.0], |row| row.get(0))? {
        return Ok(Err(KeyRefusal::Exists));
    }
    open_account(batch, id, key.record.unit)?;
    put(batch, &key.record)?;
    add_secret(batch, id, key.secret, &key.shown)?;
    if let Some(opening) = &key.opening {
        if give(batch, opening)?.is_err() {
            return Ok(Err(KeyRefusal::Balance));
        }
    }
    Ok(Ok(()))
}

/// What only the other keys can say of a record.
fn fits(db: &Connection, record: &KeyRecord) -> rusqlite::Result<Result<(), KeyRefusal>> {
    if let Err(refusal) = record.check() {
        return Ok(Err(refusal));
    }
    let taken = "SELECT EXISTS (SELECT 1 FROM keys WHERE alias = ?1 AND id <> ?2)";
    if db.prepare_cached(taken)?.query_row(params![record.alias, record.id.0], |row| row.get(0))? {
        return Ok(Err(KeyRefusal::AliasTaken));
    }
    let planned = "SELECT ?1 IS NULL OR EXISTS (SELECT 1 FROM plans WHERE name = ?1)";
    if !db.prepare_cached(planned)?.query_row([&record.plan], |row| row.get(0))? {
        return Ok(Err(KeyRefusal::UnknownPlan));
    }
    Ok(Ok(()))
}

/// Writes a record as it stands after, and tells the money's side whether its account may pay.
fn put(batch: &mut Batch<'_>, record: &KeyRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO keys (id, name, alias, status, expires_at_ms, created_at_ms, plan, due_at_ms, record)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (id) DO UPDATE SET name = ?2, alias = ?3, status = ?4, expires_at_ms = ?5, plan = ?7, due_at_ms = ?8, record = ?9";
    let text = serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    batch.db.prepare_cached(sql)?.execute(params![
        record.id.0,
        record.name,
        record.alias,
        state_word(record.state),
        record.expires_at_ms.map(signed).transpose()?,
        signed(record.created_at_ms)?,
        record.plan,
        record.schedule.first().map(|due| signed(due.at_ms)).transpose()?,
        text,
    ])?;
    let now_ms = batch.now_ms;
    let closes_at_ms = record.closes_at_ms(now_ms).map(|at_ms| at_ms.min(i64::MAX.unsigned_abs()));
    close_account(batch, record.id, !record.standing(now_ms).is_usable(), closes_at_ms)?;
    batch.rekeyed = true;
    Ok(())
}

const fn state_word(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Suspended => "suspended",
        KeyState::Revoked => "revoked",
    }
}

fn add_secret(batch: &Batch<'_>, id: KeyId, secret: SecretDigest, shown: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO secrets (hash, key, shown, made_at_ms) VALUES (?1, ?2, ?3, ?4)";
    batch.db.prepare_cached(sql)?.execute(params![secret.0, id.0, shown, signed(batch.now_ms)?])?;
    Ok(())
}
