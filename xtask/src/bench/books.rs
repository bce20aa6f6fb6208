//! A gate that charges balances, and the journal of one that has done so for long.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::process::{Server, command, free_port};
use super::systems::World;

/// The admin's token, for a gate on loopback that ends with the run.
const TOKEN: &str = "the-token-of-the-bench";
/// More than all windows together take.
const CREDITS: u64 = 1_000_000_000_000;
/// A pass until 2100 for the scope `bench`, and what it was signed with.
pub(super) const PASS: &str = "eyJleHAiOjQxMDI0NDQ4MDAsImp0aSI6ImFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiIiwia2luZCI6InRpbWUiLCJwYXllciI6IjB4MjA5NjkzQmM2YWZjMEM1MzI4YkEzNkZhRjAzQzUxNEVGMzEyMjg3QyIsInNjb3BlIjoiYmVuY2gifQ.l_3HtuK4bUf5SubRnv4yvR8lZf_nsX5VwUE3heJohJU";
const PASS_SECRET: &str = "the secret of the bench, 32 bytes and more";
const KEYS: u64 = 100_000;
const ENTRIES: u64 = 5_000_000;
const START_LIMIT: Duration = Duration::from_secs(60);

/// What is in the books of a gate that has charged for long: keys with their secrets and grants, and charges of which each was taken and
/// given back.
const FILL: &str = r#"
import sqlite3, sys
path, keys, charges = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
db = sqlite3.connect(path)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA synchronous = OFF")
db.execute("PRAGMA foreign_keys = OFF")
count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
name = "CAST(printf('%s%%015d', i) AS BLOB)"
key, charge = name % 'k', name % 'c'
of = "CAST(printf('k%%015d', i %% %d + 1) AS BLOB)" % keys
amount = "CAST(zeroblob(15) || x'01' AS BLOB)"
credit = "CAST(zeroblob(19) || x'02' AS BLOB)"
columns, record = db.execute("SELECT id, record FROM keys LIMIT 1").fetchone()
def fill(sql, most): db.execute(sql.replace("COUNT ", count % most))
fill("INSERT INTO accounts (id, unit, calls, spent) COUNT SELECT %s, 'credit', 0, 0 FROM n" % key, keys)
fill("INSERT INTO keys (id, name, status, created_at_ms, record) COUNT SELECT %s, 'filler', 'active', i, '%s' FROM n"
     % (key, record.replace("'", "''")), keys)
fill("INSERT INTO secrets (hash, key, shown, made_at_ms) COUNT SELECT CAST(printf('%%032d', i) AS BLOB), %s, 'pg_', i FROM n" % key, keys)
fill("INSERT INTO grants COUNT SELECT %s, %s, 'operator', NULL, '', 100, 1000, 1000, i, NULL FROM n" % (name % 'g', key), keys)
fill("INSERT INTO charges (id, account, amount, micros, route, fingerprint, opened_at_ms, draws, counted, state, captured, refunded, answer) "
     "COUNT SELECT %s, %s, 1, 100, '/paid/*', zeroblob(32), i, zeroblob(24), x'', 'captured', 1, 1, 'live' FROM n" % (charge, of), charges)
first = db.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()[0]
for at, kind, source, target in ((0, 'captured', 'balance', 'earned'), (1, 'given_back', 'earned', 'balance')):
    entry = "%d + 2 * i - 1 + %d" % (first, at)
    fill("INSERT INTO entries (id, kind, at_ms, charge) COUNT SELECT %s, '%s', i, %s FROM n" % (entry, kind, charge), charges)
    for side, account in (('debit', source), ('credit', target)):
        account = "'earned'" if account == 'earned' else "printf('balance:%%032d', i %% %d + 1)" % keys
        fill("INSERT INTO lines COUNT SELECT %s, %s, '%s', 0, %s, %s FROM n" % (entry, account, side, credit, amount), charges)
db.commit()
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
"#;

impl World {
    /// A gate with balances, in the folder `name`, with a journal that was filled if `full`. Says what a call is sent with.
    pub(super) fn holder(&self, name: &str, full: bool) -> Result<(Server, String)> {
        let (server, admin) = self.with_accounts(name)?;
        if !full {
            let secret = make_key(&admin)?;
            return Ok((server, secret));
        }
        // One key there is already, to be like.
        make_key(&admin)?;
        drop(server);
        let journal = self.folder().join(name).join("pontage.db");
        eprintln!("filling a journal with {KEYS} keys and {ENTRIES} entries; this takes some minutes");
        fill(&journal)?;
        let (server, admin) = self.with_accounts(name)?;
        Ok((server, make_key(&admin)?))
    }

    fn with_accounts(&self, name: &str) -> Result<(Server, String)> {
        let port = free_port()?;
        let mut command = self.pontage_command(name, &[])?;
        let file = self.folder().join(name).join("pontage.yaml");
        let config = fs::read_to_string(&file)?.replace(
            "\nnetworks:",
            "\n  - { path: /passed/*, price: \"0.0001\", settlement: tab, pass_scope: bench }\nnetworks:",
        );
        let more = format!(
            "accounts: {{}}\nadmin: {{ listen: \"127.0.0.1:{port}\" }}\npasses: {{ secret: {{ env: PASS_SECRET }} }}\n"
        );
        fs::write(&file, config + &more)?;
        command.env("PONTAGE_ADMIN_TOKEN", TOKEN).env("PASS_SECRET", PASS_SECRET);
        let server = Server::that_says(command, &self.folder().join(name).join("log"))?;
        Ok((server, format!("http://127.0.0.1:{port}")))
    }
}

/// Makes a key with a balance, and says its secret.
fn make_key(admin: &str) -> Result<String> {
    let begun = Instant::now();
    let body = json!({ "name": "bench", "credits": CREDITS }).to_string();
    loop {
        let asked = ureq::post(format!("{admin}/admin/v1/keys"))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .send(&body);
        match asked {
            Ok(mut answer) => {
                let made: Value = answer.body_mut().read_json()?;
                return made["secret"].as_str().map(str::to_owned).with_context(|| format!("no secret: {made}"));
            }
            Err(error) => {
                ensure!(begun.elapsed() < START_LIMIT, "the admin API made no key: {error}");
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
}

fn fill(journal: &Path) -> Result<()> {
    let charges = (ENTRIES / 2).to_string();
    let mut python = Command::new(command(Path::new("python3"), false).get_program());
    python.args(command(Path::new("python3"), false).get_args());
    let filled = python.args(["-c", FILL]).arg(journal).args([KEYS.to_string(), charges]).status();
    ensure!(filled.context("python3")?.success(), "the journal was not filled");
    Ok(())
}
