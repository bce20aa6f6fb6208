//! Copies of a journal: made while a gate runs, checked, and put back where there is none.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{APPLICATION, SCHEMA, configure};

/// What a copy is known by. It stands beside the copy in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// The schema of the journal.
    pub schema: i64,
    /// When it was made.
    pub made_at_ms: u64,
    /// How many entries of the books it has.
    pub entries: u64,
}

/// Why a copy was not made, or not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// The file system says no.
    #[error("{}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// SQLite says no.
    #[error("SQLite cannot copy or read it")]
    Sqlite(#[from] rusqlite::Error),
    /// Somebody holds the journal's lock.
    #[error("the journal is locked: try again")]
    Busy,
    /// Nothing is written over.
    #[error("{} is there already: nothing is written over", .0.display())]
    Exists(PathBuf),
    /// It has no manifest that can be read.
    #[error("{} is no manifest of a backup", .0.display())]
    Manifest(PathBuf),
    /// It is not what was made.
    #[error("the checksum is not that of the manifest: the copy was changed or is not whole")]
    Checksum,
    /// Of another version, or no journal.
    #[error("it is no journal of schema {SCHEMA}")]
    Schema,
    /// Damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl Manifest {
    /// Where the manifest of a copy is.
    #[must_use]
    pub fn path_of(copy: &Path) -> PathBuf {
        with_end(copy, ".manifest.json")
    }

    /// The form in which it is written.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "format": "pontage-backup",
            "sha256": self.sha256,
            "bytes": self.bytes,
            "schema": self.schema,
            "made_at_ms": self.made_at_ms,
            "entries": self.entries,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        (value["format"] == "pontage-backup").then_some(())?;
        Some(Self {
            sha256: value["sha256"].as_str()?.to_owned(),
            bytes: value["bytes"].as_u64()?,
            schema: value["schema"].as_i64()?,
            made_at_ms: value["made_at_ms"].as_u64()?,
            entries: value["entries"].as_u64()?,
        })
    }
}

/// Copies a journal, also while a gate writes to it: the copy is one moment of it. It is read again and checked before its manifest is
/// written.
///
/// # Errors
/// [`BackupFault`]; there is no manifest then, and what was copied is removed.
pub fn backup(journal: &Path, to: &Path, now_ms: u64) -> Result<Manifest, BackupFault> {
    let manifest = Manifest::path_of(to);
    if let Some(there) = [to, manifest.as_path()].into_iter().find(|path| path.exists()) {
        return Err(BackupFault::Exists(there.to_owned()));
    }
    let part = with_end(to, ".part");
    let made = copy(journal, &part, now_ms).and_then(|made| {
        link(&part, to)?;
        write(&manifest, format!("{:#}\n", made.to_json()).as_bytes())?;
        Ok(made)
    });
    std::fs::remove_file(&part).ok();
    made
}

/// Checks a copy and puts it where a journal is to be. A journal that is there is not written over.
///
/// # Errors
/// [`BackupFault`]; nothing was put there then.
pub fn restore(from: &Path, journal: &Path) -> Result<Manifest, BackupFault> {
    // A log of an earlier journal would be read into this one.
    let beside = [journal.to_owned(), with_end(journal, "-wal"), with_end(journal, "-shm")];
    if let Some(there) = beside.into_iter().find(|path| path.exists()) {
        return Err(BackupFault::Exists(there));
    }
    let path = Manifest::path_of(from);
    let text = std::fs::read(&path).map_err(|error| BackupFault::File(path.clone(), error))?;
    let manifest = serde_json::from_slice(&text).ok().as_ref().and_then(Manifest::from_json);
    let manifest = manifest.ok_or(BackupFault::Manifest(path))?;
    let part = with_end(journal, ".part");
    let put = (|| {
        // What is checked is what is put there, whoever writes to the copy meanwhile.
        let mut source = File::open(from).map_err(|error| BackupFault::File(from.to_owned(), error))?;
        let mut target = private(&part)?;
        io::copy(&mut source, &mut target).map_err(|error| BackupFault::File(part.clone(), error))?;
        target.sync_all().map_err(|error| BackupFault::File(part.clone(), error))?;
        if digest(&part)? != (manifest.sha256.clone(), manifest.bytes) {
            return Err(BackupFault::Checksum);
        }
        check(&part)?;
        link(&part, journal)
    })();
    std::fs::remove_file(&part).ok();
    put.map(|()| manifest)
}

fn copy(journal: &Path, part: &Path, made_at_ms: u64) -> Result<Manifest, BackupFault> {
    let source = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    configure(&source)?;
    drop(private(part)?);
    let mut target = Connection::open(part)?;
    // In one step: between two of them a gate that writes would make it begin again.
    let whole = Backup::new(&source, &mut target)?.step(-1)?;
    if whole != StepResult::Done {
        return Err(BackupFault::Busy);
    }
    // One file, that is whole by itself.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    drop(target);
    let entries = check(part)?;
    File::open(part).and_then(|file| file.sync_all()).map_err(|error| BackupFault::File(part.to_owned(), error))?;
    let (sha256, bytes) = digest(part)?;
    Ok(Manifest { sha256, bytes, schema: SCHEMA, made_at_ms, entries })
}

/// Reads a copy as SQLite and as a journal, and says how many entries it has.
fn check(path: &Path) -> Result<u64, BackupFault> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? != APPLICATION || pragma("user_version")? != SCHEMA {
        return Err(BackupFault::Schema);
    }
    let whole: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if whole != "ok" {
        return Err(BackupFault::Damaged("pages or indexes do not fit together".to_owned()));
    }
    if db.prepare("PRAGMA foreign_key_check")?.exists([])? {
        return Err(BackupFault::Damaged("a row names another one that is not there".to_owned()));
    }
    let (entries, first, last): (u64, u64, u64) =
        db.query_row("SELECT count(*), coalesce(min(id), 1), coalesce(max(id), 0) FROM entries", [], |row| {
            Ok((crate::rows::unsigned(row, 0)?, crate::rows::unsigned(row, 1)?, crate::rows::unsigned(row, 2)?))
        })?;
    if entries != last.saturating_sub(first).saturating_add(1) && entries > 0 {
        return Err(BackupFault::Damaged("entries are missing".to_owned()));
    }
    balanced(&db)?;
    Ok(entries)
}

/// Every entry balances in each asset.
fn balanced(db: &Connection) -> Result<(), BackupFault> {
    let mut statement = db.prepare("SELECT entry, side, network, asset, amount FROM lines ORDER BY entry")?;
    let mut rows = statement.query([])?;
    let (mut current, mut sums) = (None, BTreeMap::<(i64, Vec<u8>), i128>::new());
    let even = |sums: &BTreeMap<_, i128>| sums.values().all(|sum| *sum == 0);
    let uneven = || BackupFault::Damaged("an entry does not balance".to_owned());
    while let Some(row) = rows.next()? {
        let entry: i64 = row.get(0)?;
        if current != Some(entry) {
            if !even(&sums) {
                return Err(uneven());
            }
            (current, sums) = (Some(entry), BTreeMap::new());
        }
        let amount = i128::try_from(u128::from_be_bytes(row.get(4)?)).map_err(|_| uneven())?;
        let amount = if row.get_ref(1)?.as_str().is_ok_and(|side| side == "debit") { amount } else { -amount };
        let sum = sums.entry((row.get(2)?, row.get(3)?)).or_default();
        *sum = sum.checked_add(amount).ok_or_else(uneven)?;
    }
    if even(&sums) { Ok(()) } else { Err(uneven()) }
}

fn digest(path: &Path) -> Result<(String, u64), BackupFault> {
    let fault = |error| BackupFault::File(path.to_owned(), error);
    let (mut file, mut hash, mut bytes) = (File::open(path).map_err(fault)?, Sha256::new(), 0u64);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(fault)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        bytes = bytes.saturating_add(part.len() as u64);
    }
    Ok((alloy_primitives::hex::encode(hash.finalize()), bytes))
}

/// A new file for its owner alone.
fn private(path: &Path) -> Result<File, BackupFault> {
    std::fs::remove_file(path).ok();
    let mut options = OpenOptions::new();
    let made = options.create_new(true).read(true).write(true).mode(0o600).open(path);
    made.map_err(|error| BackupFault::File(path.to_owned(), error))
}

/// Gives a file its name, unless something has it.
fn link(part: &Path, name: &Path) -> Result<(), BackupFault> {
    std::fs::hard_link(part, name).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupFault::Exists(name.to_owned()),
        _ => BackupFault::File(name.to_owned(), error),
    })
}

fn write(path: &Path, text: &[u8]) -> Result<(), BackupFault> {
    use io::Write as _;
    let mut file = private(path)?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(|error| BackupFault::File(path.to_owned(), error))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
