//! The command.

use std::fmt;
use std::process::{Child, Command, Stdio};

use rusqlite::{Connection, OpenFlags};

use super::kit::{Gate, REFUNDER, SETTLER};

/// What a command printed and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Waits for its end.
    pub(crate) fn of(child: Child) -> Self {
        let output = child.wait_with_output().expect("the binary ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code().expect("an exit code"), out: text(output.stdout), err: text(output.stderr) }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}\n{}\n{}", self.code, self.out, self.err)
    }
}

fn start(gate: &Gate, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    let folder = gate.journal().parent().expect("a folder").to_owned();
    command.args(args).arg("--config").arg(folder.join("pontage.yaml"));
    command.env("PONTAGE_SIGNER_KEY", SETTLER.secret).env("PONTAGE_REFUNDS_KEY", REFUNDER.secret);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

/// Any command on a gate's configuration.
pub(crate) fn pontage(gate: &Gate, args: &[&str]) -> Ran {
    Ran::of(start(gate, args))
}

/// Starts `pontage refund` and does not wait.
pub(crate) fn start_refund(gate: &Gate, args: &[&str]) -> Child {
    start(gate, &[&["refund"], args].concat())
}

/// `pontage refund`.
pub(crate) fn refund(gate: &Gate, args: &[&str]) -> Ran {
    Ran::of(start_refund(gate, args))
}

/// A number of the journal.
pub(crate) fn count(gate: &Gate, sql: &str) -> u32 {
    let db = Connection::open_with_flags(gate.journal(), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the journal opens");
    db.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    db.query_row(sql, [], |row| row.get(0)).expect("a count")
}
