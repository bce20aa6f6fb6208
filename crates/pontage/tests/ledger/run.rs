//! The command, and hands on the journal's file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::kit::Gate;

/// What a command printed and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}\n{}\n{}", self.code, self.out, self.err)
    }
}

/// The books of a folder with a `pontage.yaml`.
pub(crate) struct Books(PathBuf);

impl Books {
    pub(crate) fn of(gate: &Gate) -> Self {
        Self(folder(gate))
    }

    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
        command.arg("ledger").args(args).arg("--config").arg(self.0.join("pontage.yaml"));
        // Reading needs no key.
        let output = command.env_remove("PONTAGE_SIGNER_KEY").stdin(Stdio::null()).output().expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: output.status.code().expect("an exit code"), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn folder(gate: &Gate) -> PathBuf {
    gate.journal().parent().expect("a folder").to_owned()
}

/// Configuration and journal of a gate that has ended, somewhere else.
pub(crate) fn copy(gate: &Gate) -> tempfile::TempDir {
    let there = tempfile::tempdir().expect("a temporary folder");
    for name in ["pontage.yaml", "pontage.db", "pontage.db-wal"] {
        let from = folder(gate).join(name);
        // Without a write-ahead log everything is in the journal's file.
        if from.exists() {
            std::fs::copy(from, there.path().join(name)).expect("a copy");
        }
    }
    there
}

/// Changes a journal as somebody with the file would: past the triggers, so that no sum follows either.
pub(crate) fn tamper(folder: &Path, sql: &str) {
    let db = Connection::open(folder.join("pontage.db")).expect("the journal opens");
    db.pragma_update(None, "foreign_keys", false).expect("a pragma");
    let mut statement = db.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").expect("a statement");
    let triggers = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    let triggers: Vec<String> = triggers.map(|name| name.expect("a name")).collect();
    for trigger in triggers {
        db.execute_batch(&format!("DROP TRIGGER {trigger}")).expect("a trigger goes");
    }
    assert!(db.execute(sql, []).expect(sql) > 0, "{sql}");
}

/// Points the configuration at another node.
pub(crate) fn set_node(gate: &Gate, url: &str) {
    let file = folder(gate).join("pontage.yaml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let start = text.find("rpc_urls: [\"").expect("a node") + "rpc_urls: [\"".len();
    let end = start + text[start..].find('"').expect("its end");
    std::fs::write(&file, format!("{}{url}{}", &text[..start], &text[end..])).expect("the configuration");
}

fn open(journal: &Path) -> Connection {
    let db = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the journal opens");
    db.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    db
}

/// The id of the newest payment with a nonce.
pub(crate) fn payment_of(journal: &Path, nonce: &str) -> Option<String> {
    let sql = "SELECT lower(hex(id)) FROM holds WHERE '0x' || lower(hex(nonce)) = ?1 ORDER BY turn DESC";
    open(journal).query_row(sql, [nonce], |row| row.get(0)).optional().expect("a query")
}

fn count(journal: &Path, sql: &str) -> usize {
    open(journal).query_row(sql, [], |row| row.get::<_, u32>(0)).expect("a count") as usize
}

/// The columns of a table, in order.
pub(crate) fn columns(journal: &Path, table: &str) -> Vec<String> {
    let db = open(journal);
    let mut statement = db.prepare("SELECT name FROM pragma_table_info(?1)").expect("a statement");
    let names = statement.query_map([table], |row| row.get(0)).expect("rows");
    names.map(|name| name.expect("a name")).collect()
}

/// Chain_txs whose gas is not booked.
pub(crate) fn unmined(journal: &Path) -> usize {
    count(journal, "SELECT count(*) FROM chain_txs WHERE fate IS NULL")
}

pub(crate) fn seals(journal: &Path) -> usize {
    count(journal, "SELECT count(*) FROM seals")
}

pub(crate) fn lines(journal: &Path) -> usize {
    count(journal, "SELECT count(*) FROM lines")
}
