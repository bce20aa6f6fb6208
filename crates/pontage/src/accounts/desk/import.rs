//! Keys from and for elsewhere. Secrets come in; none goes out.

use gate::{KeyRecord, KeyRefusal, KeyState, new_secret};
use ledger::KeyId;
use serde_json::{Map, Value};
use store::{Brought, Conflict, KeyRow, KeyTask, Together};

use super::{Desk, DeskError, ExportedKey, Format, ITEMS_MAX, ImportMode, ItemResult, KeyQuery, bounded, csv};
use super::{key_to_make, notes};
use crate::host::{entropy, now_ms};

/// A page of an export.
const EXPORTED: u64 = 1_000;

const COLUMNS: [&str; 15] = [
    "id",
    "name",
    "alias",
    "unit",
    "credits",
    "status",
    "plan",
    "policy",
    "expires_at_ms",
    "grace_ms",
    "sunset_at_ms",
    "sandbox",
    "tags",
    "notes",
    "secret",
];

/// Keys as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exported {
    /// The keys.
    pub(crate) text: String,
    /// Where it goes on; nothing at the end.
    pub(crate) next: Option<String>,
}

impl Desk {
    /// Keys as text: a thousand at a time, or fewer. It holds no secret and no digest of one.
    pub(crate) fn export(&self, query: &KeyQuery, format: Format) -> Result<Exported, DeskError> {
        let most = query.limit.unwrap_or(EXPORTED);
        bounded("limit", most, EXPORTED)?;
        let (rows, next) = self.page(query, most, now_ms())?;
        let keys: Vec<Value> = rows.into_iter().filter_map(|row| serde_json::to_value(exported(row)).ok()).collect();
        let text = match format {
            Format::Json => serde_json::to_string(&keys).map_err(|_| KeyRefusal::BadValue("keys"))?,
            Format::Csv => {
                let columns = COLUMNS.iter().filter(|column| **column != "secret");
                let head = columns.clone().map(|column| (*column).to_owned()).collect();
                let line = |key: &Value| columns.clone().map(|column| cell(&key[*column])).collect();
                csv::write(std::iter::once(head).chain(keys.iter().map(line)))
            }
        };
        Ok(Exported { text, next })
    }

    /// Takes keys in, in one step. Those that come without a secret get one, which is in the answer and nowhere else.
    pub(crate) async fn import(
        &self,
        text: &str,
        format: Format,
        mode: ImportMode,
        dry_run: bool,
    ) -> Result<Vec<ItemResult>, DeskError> {
        let items = match format {
            Format::Json => serde_json::from_str(text).map_err(|_| KeyRefusal::BadValue("keys"))?,
            Format::Csv => table(text)?,
        };
        bounded("keys", u64::try_from(items.len()).unwrap_or(u64::MAX), ITEMS_MAX)?;
        let (conflict, all_or_none) = match mode {
            ImportMode::Skip => (Conflict::Skip, false),
            ImportMode::Overwrite => (Conflict::Overwrite, false),
            ImportMode::Error => (Conflict::Refuse, true),
        };
        let now_ms = now_ms();
        let tasks = items.into_iter().map(|item| {
            let key: ExportedKey = serde_json::from_value(item).map_err(|_| KeyRefusal::BadValue("keys"))?;
            self.imported(key, conflict, now_ms)
        });
        Ok(self.all(tasks.collect(), Together { dry_run, all_or_none }).await?)
    }

    fn imported(
        &self,
        key: ExportedKey,
        conflict: Conflict,
        now_ms: u64,
    ) -> Result<(KeyTask, Option<String>), KeyRefusal> {
        let id = match key.id.as_deref() {
            None => KeyId(entropy()),
            Some(id) => id.parse().map_err(|_| KeyRefusal::BadValue("id"))?,
        };
        let state = match key.status.as_deref() {
            // One that has expired is active, and its end is in the record.
            None | Some("active" | "grace" | "expired") => KeyState::Active,
            Some("suspended") => KeyState::Suspended,
            Some("revoked") => KeyState::Revoked,
            Some(_) => return Err(KeyRefusal::BadValue("status")),
        };
        let brought = Brought { secret: key.secret.is_some(), state: key.status.is_some() };
        let notes = notes(key.notes, now_ms);
        let record = KeyRecord {
            alias: key.alias,
            state,
            expires_at_ms: key.expires_at_ms,
            grace_ms: key.grace_ms,
            sunset_at_ms: key.sunset_at_ms,
            plan: key.plan,
            policy: key.policy,
            sandbox: key.sandbox,
            tags: key.tags,
            numbered: u32::try_from(notes.len()).unwrap_or(u32::MAX),
            notes,
            ..KeyRecord::new(id, self.unit(key.unit.as_deref())?, key.name, now_ms)
        };
        // Whoever has brought his secret knows it.
        let (secret, made) = match key.secret {
            Some(secret) => (secret, None),
            None => {
                let secret = new_secret(entropy());
                (secret.clone(), Some(secret))
            }
        };
        let make = key_to_make(record, &secret, key.credits, now_ms)?;
        Ok((KeyTask::Import(make, conflict, brought), made))
    }
}

fn exported(row: KeyRow) -> ExportedKey {
    let KeyRow { record, balance, .. } = row;
    let status = match record.state {
        KeyState::Active => "active",
        KeyState::Suspended => "suspended",
        KeyState::Revoked => "revoked",
    };
    ExportedKey {
        id: Some(record.id.to_string()),
        secret: None,
        name: record.name,
        alias: record.alias,
        unit: Some(record.unit.code().to_owned()),
        credits: balance,
        status: Some(status.to_owned()),
        plan: record.plan,
        policy: record.policy,
        expires_at_ms: record.expires_at_ms,
        grace_ms: record.grace_ms,
        sunset_at_ms: record.sunset_at_ms,
        sandbox: record.sandbox,
        tags: record.tags,
        notes: record.notes.into_iter().map(|note| note.text).collect(),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The lines of a table as objects. An empty cell says nothing.
fn table(text: &str) -> Result<Vec<Value>, KeyRefusal> {
    let bad = KeyRefusal::BadValue("keys");
    let mut lines = csv::read(text).ok_or(bad)?.into_iter();
    let Some(head) = lines.next() else { return Ok(Vec::new()) };
    if !head.iter().all(|column| COLUMNS.contains(&column.as_str())) {
        return Err(bad);
    }
    let object = |line: Vec<String>| {
        if line.len() != head.len() {
            return Err(bad);
        }
        let mut object = Map::new();
        for (column, cell) in head.iter().zip(line).filter(|(_, cell)| !cell.is_empty()) {
            let value = match column.as_str() {
                "credits" | "expires_at_ms" | "grace_ms" | "sunset_at_ms" | "sandbox" | "policy" | "tags" | "notes" => {
                    serde_json::from_str(&cell).map_err(|_| bad)?
                }
                _ => Value::String(cell),
            };
            object.insert(column.clone(), value);
        }
        Ok(Value::Object(object))
    };
    lines.map(object).collect()
}
