//! The journal on SQLite: one writer thread with group commit, `synchronous=FULL`, readers on WAL snapshots.
//!
//! A file belongs to one process: a second one is refused. What `ledger` decides is written here in one durable step.

mod accounts;
mod admin;
mod backup;
mod balances;
mod books;
mod budgets;
mod charges;
mod finality;
mod handle;
mod keys;
mod known;
mod lanes;
mod ledger;
mod listings;
mod note;
mod purchases;
mod receipts;
mod refunds;
mod rows;
mod seal;
mod spending;
mod tabs;
mod usage;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use facilitator::point::{self, Act};
use protocol::Network;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tracing::warn;

pub use accounts::{AccountRow, GrantRefusal, Granted};
pub use admin::{AdminRefusal, AdminRole, AdminRow, AuditQuery, AuditRow, KnownRequest, MaintenanceRow};
pub use backup::{BackupFault, Manifest, backup, restore};
pub use budgets::BudgetUse;
pub use handle::Handle;
pub use keys::{
    Brought, Conflict, Done, KeyFilter, KeyOrder, KeyOutcome, KeyRow, KeySort, KeyStatus, KeyTask, KeyToMake,
    NewSecret, RevokedToken, SecretHolder, Together, TokenKey,
};
use known::Known;
pub use ledger::{
    Balances, ChainTxRow, EntryRow, Fate, Ledger, LineRow, PAGE, Payment, Presence, ReadFault, SealRow, TabSum, Totals,
    Unsettled,
};
pub use note::{Note, Seen, Subject};
pub use receipts::ReceiptRow;
pub use seal::{SEAL_MAX, SealDigest, Unsealed};
pub use usage::{UsageGroup, UsageQuery, UsageSum};
use writer::{Home, Writer};

/// Bounds of what is kept for callers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All stored answers together; the oldest make room.
    pub answers_max_bytes: u64,
    /// How long an answer is kept, in seconds.
    pub answers_keep_s: u64,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// Another process has it.
    #[error("another pontage process has this journal open")]
    Locked,
    /// The file cannot be made or opened.
    #[error("the file cannot be opened")]
    File(#[source] std::io::Error),
    /// A file of another program.
    #[error("this SQLite file is not a pontage journal")]
    Foreign,
    /// SQLite says no.
    #[error("the journal cannot be opened")]
    Sqlite(#[from] rusqlite::Error),
    /// Written by another version.
    #[error("the journal has schema {found}, this version writes schema {SCHEMA}")]
    Schema {
        /// What the file says.
        found: i64,
    },
    /// The file system cannot share memory between connections.
    #[error("the journal's file system has no write-ahead log; put the journal on a local disk")]
    NoWal,
    /// Its thread cannot be started.
    #[error("the writer thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// The write-ahead log is folded into the file at 32 MiB.
const WAL_MAX_PAGES: i64 = 8_192;
const WRITER_CACHE_KIB: i64 = 16_384;
const SCHEMA: i64 = 5;
/// `pont` in ASCII: what SQLite files of this program carry.
const APPLICATION: i64 = 0x706f_6e74;

/// An open journal. Clones share the writer; [`Store::handle`] gives a thread its own reader.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    writer: Writer,
    known: Arc<Known>,
    _lock: Arc<File>,
}

impl Store {
    /// Opens or makes a journal and starts its writer. `now_ms` is the clock of entries and answers.
    ///
    /// # Errors
    /// [`OpenFault`]; nothing was written in that case.
    pub fn open(path: &Path, limits: Limits, now_ms: fn() -> u64) -> Result<Self, OpenFault> {
        let existed = path.exists();
        let lock = lock(path)?;
        let connection = Connection::open(path)?;
        configure(&connection)?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(OpenFault::NoWal);
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        // Claims are scattered over their indexes: what is written again and again is folded into the file less often, and is not
        // read back each time. In pages, and in KiB.
        connection.pragma_update(None, "wal_autocheckpoint", WAL_MAX_PAGES)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        if application != APPLICATION && tables > 0 {
            return Err(OpenFault::Foreign);
        }
        if tables == 0 && existed {
            warn!(path = %path.display(), "this file was there and holds no books: new ones begin in it");
        }
        connection.pragma_update(None, "application_id", APPLICATION)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != 0 && found != SCHEMA {
            return Err(OpenFault::Schema { found });
        }
        connection.execute_batch(include_str!("schema.sql"))?;
        connection.pragma_update(None, "user_version", SCHEMA)?;
        let home = Home::new(path, &lock).map_err(OpenFault::File)?;
        let known = Arc::new(Known::new());
        let writer = Writer::start(connection, home, limits, now_ms, Arc::clone(&known)).map_err(OpenFault::Thread)?;
        let store = Self { path: path.to_owned(), writer, known, _lock: Arc::new(lock) };
        store.fill_known()?;
        Ok(store)
    }

    /// Reads what the file holds of claims, beside whatever else is done: until then every question is one to the file.
    fn fill_known(&self) -> Result<(), OpenFault> {
        let (reader, known) = (self.reader()?, Arc::clone(&self.known));
        let fill = move || {
            if let Err(error) = known.fill(&reader) {
                warn!(%error, "the claims of the journal were not read: each is looked up in it");
            }
        };
        thread::Builder::new().name("claims".to_owned()).spawn(fill).map_err(OpenFault::Thread)?;
        Ok(())
    }

    /// A handle for the calling thread, with a reader of its own.
    ///
    /// # Errors
    /// SQLite's, when the file cannot be opened again.
    pub fn handle(&self) -> Result<Handle, OpenFault> {
        Ok(Handle::new(self.writer.clone(), self.reader()?, Arc::clone(&self.known)))
    }

    fn reader(&self) -> Result<Connection, OpenFault> {
        // A connection stays within its thread, so that SQLite need not lock it.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&self.path, flags)?;
        configure(&reader)?;
        Ok(reader)
    }

    /// Where the journal is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends when the writer's thread has ended: nothing can be written any more, and the process must stop.
    pub async fn ended(&self) {
        self.writer.ended().await;
    }

    /// Folds the write-ahead log into the file, so that it is whole by itself.
    ///
    /// # Errors
    /// SQLite's; the journal is whole together with its log in that case.
    pub fn fold(&self) -> Result<(), OpenFault> {
        point::before(Act::Fold);
        let connection = Connection::open(&self.path)?;
        configure(&connection)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        point::after(Act::Fold);
        Ok(())
    }

    /// The networks with holds that have not ended.
    ///
    /// # Errors
    /// SQLite's.
    pub fn unfinished_networks(&self) -> Result<Vec<Network>, OpenFault> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        configure(&connection)?;
        let mut statement =
            connection.prepare("SELECT DISTINCT network FROM holds WHERE reason IS NULL AND settled_block IS NULL")?;
        let networks = statement.query_map([], |row| rows::unsigned(row, 0).map(|chain_id| Network { chain_id }))?;
        Ok(networks.collect::<rusqlite::Result<_>>()?)
    }

    /// Binds the journal to what it is kept for. `false` when it is kept for something else: the same rows mean other things in a gate's
    /// journal than in a facilitator's.
    ///
    /// # Errors
    /// SQLite's.
    pub fn bind_purpose(&self, purpose: &str) -> Result<bool, OpenFault> {
        self.bind("purpose", purpose.as_bytes())
    }

    /// Binds the journal to a chain by its genesis hash. `false` when it is bound to another chain of the same id: a fresh test
    /// chain, whose nonces and sequences have nothing to do with what is written here.
    ///
    /// # Errors
    /// SQLite's.
    pub fn bind_chain(&self, network: Network, genesis: &[u8]) -> Result<bool, OpenFault> {
        self.bind(&format!("genesis {network}"), genesis)
    }

    /// A secret of the journal's: what was `drawn` when it was first asked for by this name.
    ///
    /// # Errors
    /// SQLite's.
    pub fn secret(&self, name: &str, drawn: &[u8]) -> Result<Vec<u8>, OpenFault> {
        self.bind(name, drawn)?;
        let connection = Connection::open(&self.path)?;
        configure(&connection)?;
        Ok(connection.query_row("SELECT value FROM about WHERE name = ?1", [name], |row| row.get(0))?)
    }

    /// Writes something about the journal, once. `false` when something else was written before.
    fn bind(&self, name: &str, value: &[u8]) -> Result<bool, OpenFault> {
        let connection = Connection::open(&self.path)?;
        configure(&connection)?;
        connection.execute("INSERT OR IGNORE INTO about (name, value) VALUES (?1, ?2)", params![name, value])?;
        let bound: Option<Vec<u8>> =
            connection.query_row("SELECT value FROM about WHERE name = ?1", [name], |row| row.get(0)).optional()?;
        Ok(bound.as_deref() == Some(value))
    }
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(std::time::Duration::from_millis(1_000))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Opens or makes the file, readable by its owner alone, and takes a lock on it, which goes with the process however that ends.
/// It is another kind of lock than SQLite's own, and the file stays open, so the two do not meet.
fn lock(path: &Path) -> Result<File, OpenFault> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let file = options.open(path).map_err(OpenFault::File)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenFault::Locked),
        Err(TryLockError::Error(error)) => Err(OpenFault::File(error)),
    }
}

#[cfg(test)]
mod tests;
