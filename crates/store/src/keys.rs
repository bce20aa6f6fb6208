//! API keys: their records and the digests of their secrets. Whatever changes one tells the money's side in the same step.

mod list;
mod plans;
mod tokens;

use facilitator::point::Act;
use gate::{Fault, KeyRecord, KeyRefusal, KeyState, KeyStep, Policy, SecretDigest};
use ledger::{Grant, GrantId, GrantSource, KeyId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::accounts::{close_account, give, open_account};
use crate::budgets;
use crate::handle::Handle;
use crate::rows::{corrupt, fixed, signed, unsigned};
use crate::writer::Batch;

pub use list::{KeyFilter, KeyOrder, KeyRow, KeySort, KeyStatus};
pub use tokens::{RevokedToken, TokenKey};

/// How many secrets of one key may hold at a time.
const SECRETS_MAX: usize = 5;
/// How often a holder may rotate his key's secret.
const ROTATION_MS: u64 = 300_000;
/// How many keys one step looks at whose schedule is due.
const SWEPT_MAX: u32 = 500;

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

/// What is to be done about one key.
#[derive(Clone, Debug)]
pub enum KeyTask {
    /// It is made.
    Make(KeyToMake),
    /// It is made, unless one with its id, alias or secret is there. Whether the secret came with it: otherwise one that is there keeps
    /// its own.
    Import(KeyToMake, Conflict, bool),
    /// Its record takes a step.
    Step(KeyId, KeyStep),
    /// It gets another secret.
    Rotate(KeyId, NewSecret),
    /// Its balance is raised.
    TopUp(Grant),
}

/// Another secret for a key.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Its digest.
    pub secret: SecretDigest,
    /// How it begins.
    pub shown: String,
    /// Until when those that it had still hold.
    pub old_until_ms: u64,
    /// Whether its holder asks, who may do so only now and then.
    pub by_holder: bool,
}

/// What an import does about a key that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// It stays as it is.
    Skip,
    /// It is written anew; its balance stays.
    Overwrite,
    /// Nothing is imported.
    Refuse,
}

/// What was done about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There is a new one.
    Made,
    /// It has changed.
    Changed,
    /// It was there, and is as the import says.
    Overwritten,
    /// It was there, and stays as it was.
    Skipped,
}

/// What came of a task: the key after it, or why there is none.
pub type KeyOutcome = Result<(Done, KeyRecord), KeyRefusal>;

/// How tasks are done together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Together {
    /// Nothing is written: it is only found out what would come of them.
    pub dry_run: bool,
    /// One that is refused undoes the others.
    pub all_or_none: bool,
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
    /// How often keys, plans, secrets or tokens were changed: what was read before a change may be wrong after it.
    #[must_use]
    pub fn access_generation(&self) -> u64 {
        self.known.access_generation()
    }

    /// Does something about several keys in one step, each by itself: what is refused writes nothing.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn change_keys(&self, tasks: Vec<KeyTask>, together: Together) -> Result<Vec<KeyOutcome>, Fault> {
        let work = move |batch: &mut Batch<'_>| {
            // One that is refused must not undo what the step has done before: `whole` does that for each alone.
            let mut outcomes = Vec::with_capacity(tasks.len());
            let all = whole(batch, together.dry_run, |batch| {
                for task in &tasks {
                    outcomes.push(whole(batch, false, |batch| carry_out(batch, task))?);
                }
                let refused = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
                Ok(refused.filter(|_| together.all_or_none).map_or(Ok(()), |refusal| Err(*refusal)))
            });
            all.map(|_| outcomes)
        };
        self.writer.run(&[Act::ChangeKeys], work).await
    }

    /// Carries out the scheduled changes that are due, and says of which keys. At most some hundred at a time.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn sweep_keys(&self, now_ms: u64) -> Result<Vec<KeyRecord>, Fault> {
        // Most of the time there is nothing: the writer is not asked then.
        if self.read(|db| due(db, now_ms))?.is_empty() {
            return Ok(Vec::new());
        }
        let sweep = move |batch: &mut Batch<'_>| {
            let mut swept = Vec::new();
            for id in due(batch.db, now_ms)? {
                let Some(record) = key(batch.db, id)? else { continue };
                let (after, grants) = record.carried_out(now_ms);
                for (number, amount) in grants {
                    // Refused where the balance would be too large: it was asked for long ago, and nobody waits for an answer.
                    give(batch, &scheduled_grant(&after, number, amount, now_ms))?.ok();
                }
                put(batch, &after)?;
                swept.push(after);
            }
            Ok(swept)
        };
        self.writer.run(&[Act::ChangeKeys, Act::Grant], sweep).await
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

    /// The same for a key by its name, as a scoped token has it.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn key_holder(&self, id: KeyId) -> Result<Option<SecretHolder>, Fault> {
        self.read(|db| {
            let sql = "SELECT record, policy, NULL FROM keys LEFT JOIN plans ON plans.name = keys.plan WHERE id = ?1";
            db.prepare_cached(sql)?.query_row([id.0], holder).optional()
        })
    }

    /// The name of the key with an alias.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn key_by_alias(&self, alias: &str) -> Result<Option<KeyId>, Fault> {
        let sql = "SELECT id FROM keys WHERE alias = ?1";
        self.read(|db| db.prepare_cached(sql)?.query_row([alias], |row| fixed(row, 0).map(KeyId)).optional())
    }

    /// A key.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        self.read(|db| key(db, id))
    }
}

fn due(db: &Connection, now_ms: u64) -> rusqlite::Result<Vec<KeyId>> {
    let sql = "SELECT id FROM keys WHERE due_at_ms IS NOT NULL AND due_at_ms <= ?1 ORDER BY due_at_ms LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    statement.query_map(params![signed(now_ms)?, SWEPT_MAX], |row| fixed(row, 0).map(KeyId))?.collect()
}

/// Named by the key and the change's number: it is granted once.
fn scheduled_grant(record: &KeyRecord, number: u32, amount: u64, now_ms: u64) -> Grant {
    let digest = SecretDigest::of(&format!("scheduled {} {number}", record.id)).0;
    let mut name = [0; 16];
    name.copy_from_slice(digest.split_at(16).0);
    Grant {
        id: GrantId(name),
        key: record.id,
        unit: record.unit,
        source: GrantSource::Operator,
        label: "scheduled".to_owned(),
        priority: 100,
        granted: amount,
        left: amount,
        granted_at_ms: now_ms,
        expires_at_ms: None,
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

/// Does all of it; or where it is refused, or only tried, none of it.
fn whole<T>(
    batch: &mut Batch<'_>,
    dry_run: bool,
    work: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<Result<T, KeyRefusal>>,
) -> rusqlite::Result<Result<T, KeyRefusal>> {
    batch.db.execute_batch("SAVEPOINT keys")?;
    let done = work(batch)?;
    let end = if done.is_ok() && !dry_run { "RELEASE keys" } else { "ROLLBACK TO keys; RELEASE keys" };
    batch.db.execute_batch(end)?;
    Ok(done)
}

fn carry_out(batch: &mut Batch<'_>, task: &KeyTask) -> rusqlite::Result<KeyOutcome> {
    match task {
        KeyTask::Make(key) => make(batch, key),
        KeyTask::Import(key, conflict, brings_secret) => import(batch, key, *conflict, *brings_secret),
        KeyTask::Step(id, step) => step_key(batch, *id, step.clone()),
        KeyTask::Rotate(id, secret) => rotate(batch, *id, secret),
        KeyTask::TopUp(grant) => {
            let Some(record) = key(batch.db, grant.key)? else { return Ok(Err(KeyRefusal::UnknownKey)) };
            if record.state == KeyState::Revoked {
                return Ok(Err(KeyRefusal::Revoked));
            }
            Ok(give(batch, grant)?.map(|_| (Done::Changed, record)).map_err(|_| KeyRefusal::Balance))
        }
    }
}

/// Takes a step on a key within a batch. What is refused writes nothing.
pub(crate) fn step_key(batch: &mut Batch<'_>, id: KeyId, step: KeyStep) -> rusqlite::Result<KeyOutcome> {
    let Some(record) = key(batch.db, id)? else { return Ok(Err(KeyRefusal::UnknownKey)) };
    let resumes = step == KeyStep::Resume;
    match record.step(step, batch.now_ms) {
        Err(refusal) => Ok(Err(refusal)),
        Ok(after) => {
            if resumes {
                budgets::reopen(batch, id)?;
            }
            write(batch, after)
        }
    }
}

/// Writes a record that is there already.
fn write(batch: &mut Batch<'_>, record: KeyRecord) -> rusqlite::Result<KeyOutcome> {
    if let Err(refusal) = fits(batch.db, &record)? {
        return Ok(Err(refusal));
    }
    put(batch, &record)?;
    Ok(Ok((Done::Changed, record)))
}

fn make(batch: &mut Batch<'_>, key: &KeyToMake) -> rusqlite::Result<KeyOutcome> {
    let id = key.record.id;
    if let Err(refusal) = fits(batch.db, &key.record)? {
        return Ok(Err(refusal));
    }
    let is_there = "SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1)";
    let is_there: bool = batch.db.prepare_cached(is_there)?.query_row([id.0], |row| row.get(0))?;
    if is_there || owner(batch.db, key.secret)?.is_some() {
        return Ok(Err(KeyRefusal::Exists));
    }
    open_account(batch, id, key.record.unit)?;
    put(batch, &key.record)?;
    add_secret(batch, id, key.secret, &key.shown)?;
    let opened = key.opening.as_ref().map(|opening| give(batch, opening)).transpose()?;
    if opened.is_some_and(|opened| opened.is_err()) {
        return Ok(Err(KeyRefusal::Balance));
    }
    Ok(Ok((Done::Made, key.record.clone())))
}

fn import(
    batch: &mut Batch<'_>,
    asked: &KeyToMake,
    conflict: Conflict,
    brings_secret: bool,
) -> rusqlite::Result<KeyOutcome> {
    let alias = "SELECT id FROM keys WHERE id = ?1 OR alias = ?2";
    let mut statement = batch.db.prepare_cached(alias)?;
    let found = statement.query_map(params![asked.record.id.0, asked.record.alias], |row| fixed(row, 0).map(KeyId))?;
    let mut found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    found.extend(owner(batch.db, asked.secret)?);
    found.sort_unstable();
    found.dedup();
    let there = match *found.as_slice() {
        [] => return make(batch, asked),
        [one] => one,
        // It would be two keys in one.
        _ => return Ok(Err(KeyRefusal::Exists)),
    };
    let Some(record) = key(batch.db, there)? else { return Ok(Err(KeyRefusal::Exists)) };
    match conflict {
        Conflict::Refuse => return Ok(Err(KeyRefusal::Exists)),
        Conflict::Skip => return Ok(Ok((Done::Skipped, record))),
        Conflict::Overwrite => {}
    }
    if record.state == KeyState::Revoked {
        return Ok(Err(KeyRefusal::Revoked));
    }
    if record.unit != asked.record.unit {
        return Ok(Err(KeyRefusal::OtherUnit));
    }
    let numbered = record.numbered.max(asked.record.numbered);
    let (created_at_ms, signing_round) = (record.created_at_ms, record.signing_round);
    let after = KeyRecord { id: there, created_at_ms, numbered, signing_round, ..asked.record.clone() };
    if brings_secret && owner(batch.db, asked.secret)?.is_none() {
        batch.db.prepare_cached("DELETE FROM secrets WHERE key = ?1")?.execute([there.0])?;
        add_secret(batch, there, asked.secret, &asked.shown)?;
    }
    Ok(write(batch, after)?.map(|(_, record)| (Done::Overwritten, record)))
}

fn rotate(batch: &mut Batch<'_>, id: KeyId, new: &NewSecret) -> rusqlite::Result<KeyOutcome> {
    let now_ms = batch.now_ms;
    let Some(record) = key(batch.db, id)? else { return Ok(Err(KeyRefusal::UnknownKey)) };
    if record.state == KeyState::Revoked {
        return Ok(Err(KeyRefusal::Revoked));
    }
    let lately = record.rotated_at_ms.is_some_and(|at_ms| now_ms < at_ms.saturating_add(ROTATION_MS));
    if new.by_holder && lately {
        return Ok(Err(KeyRefusal::RotatedLately));
    }
    if owner(batch.db, new.secret)?.is_some() {
        return Ok(Err(KeyRefusal::Exists));
    }
    let until_ms = signed(new.old_until_ms)?;
    let sql =
        "UPDATE secrets SET valid_until_ms = ?2 WHERE key = ?1 AND (valid_until_ms IS NULL OR valid_until_ms > ?2)";
    batch.db.prepare_cached(sql)?.execute(params![id.0, until_ms])?;
    let sql = "DELETE FROM secrets WHERE key = ?1 AND valid_until_ms <= ?2";
    batch.db.prepare_cached(sql)?.execute(params![id.0, signed(now_ms)?])?;
    let held = "SELECT count(*) FROM secrets WHERE key = ?1";
    let held: u64 = batch.db.prepare_cached(held)?.query_row([id.0], |row| unsigned(row, 0))?;
    if usize::try_from(held).unwrap_or(usize::MAX) >= SECRETS_MAX {
        return Ok(Err(KeyRefusal::TooMany { field: "overlap_s", most: 5 }));
    }
    add_secret(batch, id, new.secret, &new.shown)?;
    write(batch, KeyRecord { rotated_at_ms: Some(now_ms), ..record })
}

/// Whose secret it is or was.
fn owner(db: &Connection, secret: SecretDigest) -> rusqlite::Result<Option<KeyId>> {
    let sql = "SELECT key FROM secrets WHERE hash = ?1";
    db.prepare_cached(sql)?.query_row([secret.0], |row| fixed(row, 0).map(KeyId)).optional()
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
    let sql = "INSERT INTO keys (id, name, alias, status, ends_at_ms, created_at_ms, plan, due_at_ms, record)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (id) DO UPDATE SET name = ?2, alias = ?3, status = ?4, ends_at_ms = ?5, plan = ?7, due_at_ms = ?8, record = ?9";
    let text = serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    batch.db.prepare_cached(sql)?.execute(params![
        record.id.0,
        record.name,
        record.alias,
        state_word(record.state),
        record.ends_at_ms().map(signed).transpose()?,
        signed(record.created_at_ms)?,
        record.plan,
        record.schedule.first().map(|due| signed(due.at_ms)).transpose()?,
        text,
    ])?;
    let now_ms = batch.now_ms;
    close_account(batch, record.id, !record.standing(now_ms).is_usable(), record.closes_at_ms(now_ms))?;
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

fn add_secret(batch: &mut Batch<'_>, id: KeyId, secret: SecretDigest, shown: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO secrets (hash, key, shown, made_at_ms) VALUES (?1, ?2, ?3, ?4)";
    batch.db.prepare_cached(sql)?.execute(params![secret.0, id.0, shown, signed(batch.now_ms)?])?;
    batch.rekeyed = true;
    Ok(())
}
