//! The journal as an auditor reads it: from the file, without our own code.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};

/// A journal that is open for reading.
pub(crate) struct Books(Connection);

impl Books {
    pub(crate) fn open(path: PathBuf) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Connection::open_with_flags(path, flags).expect("the journal opens");
        db.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
        Self(db)
    }

    /// How many holds are in a state.
    pub(crate) fn holds(&self, state: &str) -> usize {
        self.0
            .query_row("SELECT count(*) FROM holds WHERE state = ?1", [state], |row| row.get::<_, i64>(0))
            .expect("a count")
            .try_into()
            .expect("not negative")
    }

    /// State and reason of the newest hold.
    pub(crate) fn newest(&self) -> (String, Option<String>) {
        let sql = "SELECT state, reason FROM holds ORDER BY turn DESC LIMIT 1";
        self.0.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("a hold")
    }

    /// Whether any hold has not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.holds("open") + self.holds("answered") + self.holds("submitted")
    }

    /// Credits less debits of every account whose name starts so.
    pub(crate) fn balance(&self, account: &str) -> i128 {
        let mut statement =
            self.0.prepare("SELECT side, amount FROM lines WHERE account LIKE ?1 || '%'").expect("a statement");
        let rows = statement
            .query_map([account], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .expect("rows");
        rows.map(|row| {
            let (side, amount) = row.expect("a row");
            let amount = i128::try_from(u128::from_be_bytes(amount.try_into().expect("16 bytes"))).expect("fits");
            if side == "credit" { amount } else { -amount }
        })
        .sum()
    }

    /// Entries whose two sides differ.
    pub(crate) fn unbalanced(&self) -> usize {
        let sql = "SELECT count(*) FROM (SELECT entry FROM lines GROUP BY entry, network, asset
                   HAVING count(*) <> 2 OR count(DISTINCT amount) <> 1 OR count(DISTINCT side) <> 2)";
        let count: i64 = self.0.query_row(sql, [], |row| row.get(0)).expect("a count");
        usize::try_from(count).expect("not negative")
    }

    /// The chain_txs of the posted holds, in hex, sorted.
    pub(crate) fn posted_chain_txs(&self) -> Vec<String> {
        let mut statement =
            self.0.prepare("SELECT lower(hex(chain_tx)) FROM holds WHERE state = 'posted'").expect("a statement");
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        let mut hashes: Vec<_> = rows.map(|row| format!("0x{}", row.expect("a row"))).collect();
        hashes.sort();
        hashes
    }

    /// Every hold, oldest first.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        let sql = "SELECT lower(hex(nonce)), state, reason, lower(hex(chain_tx)), answer, refund_due, late,
                   lower(hex(id)), lower(hex(payer)), rail FROM holds ORDER BY turn";
        let mut statement = self.0.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| {
            Ok(Claim {
                nonce: format!("0x{}", row.get::<_, String>(0)?),
                state: row.get(1)?,
                reason: row.get(2)?,
                chain_tx: row.get::<_, Option<String>>(3)?.map(|hash| format!("0x{hash}")),
                answer: row.get(4)?,
                refund_due: row.get(5)?,
                late: row.get(6)?,
                id: row.get(7)?,
                payer: format!("0x{}", row.get::<_, String>(8)?),
                rail: row.get(9)?,
            })
        });
        rows.expect("rows").map(|row| row.expect("a row")).collect()
    }

    /// For every chain_tx that was signed on the tab: how many payments it carries, and how long the youngest of them had waited
    /// when it was signed, in milliseconds; in order.
    pub(crate) fn batches(&self) -> Vec<(usize, i64)> {
        let sql =
            "SELECT count(*), chain_txs.at_ms - max(opened_at_ms) FROM bids JOIN chain_txs ON hash = bids.chain_tx
                   JOIN holds ON id = hold WHERE rail = 'tab' GROUP BY hash ORDER BY chain_txs.rowid";
        let mut statement = self.0.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).expect("rows");
        let counted = |row: rusqlite::Result<(i64, i64)>| row.expect("a row");
        rows.map(counted).map(|(count, age)| (usize::try_from(count).expect("not negative"), age)).collect()
    }

    /// What is on the tab of everyone, in millionths of a dollar, as the caps see it.
    pub(crate) fn exposed(&self) -> i64 {
        let sql = "SELECT coalesce(sum(micros), 0) FROM tabs WHERE scope = 'gate'";
        self.0.query_row(sql, [], |row| row.get(0)).expect("a sum")
    }

    /// What the caps see and what is really on the tab, of every scope, where the two differ.
    pub(crate) fn exposure_off(&self) -> Vec<String> {
        let sql = "WITH real AS (
                SELECT 'payer' AS scope, payer AS who, sum(exposed) AS micros FROM holds GROUP BY payer
                UNION ALL SELECT 'source', source, sum(exposed) FROM holds GROUP BY source
                UNION ALL SELECT 'gate', x'', sum(exposed) FROM holds)
            SELECT real.scope || ' ' || hex(real.who) || ': ' || coalesce(tabs.micros, 0) || ' for ' || real.micros
            FROM real LEFT JOIN tabs ON tabs.scope = real.scope AND tabs.who = real.who
            WHERE coalesce(tabs.micros, 0) <> real.micros";
        let mut statement = self.0.prepare(sql).expect("a statement");
        statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a row")).collect()
    }

    /// The sequences that each key has signed for, in order.
    pub(crate) fn sequences_by_signer(&self) -> BTreeMap<String, Vec<u64>> {
        let sql = "SELECT DISTINCT lower(hex(signer)), sequence FROM chain_txs ORDER BY signer, sequence";
        let mut statement = self.0.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).expect("rows");
        let mut by_signer: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for row in rows {
            let (signer, sequence) = row.expect("a row");
            let sequence = u64::try_from(sequence).expect("not negative");
            by_signer.entry(format!("0x{signer}")).or_default().push(sequence);
        }
        by_signer
    }

    /// The sequences of every chain_tx that was signed, in order.
    pub(crate) fn sequences(&self) -> Vec<u64> {
        let mut statement =
            self.0.prepare("SELECT DISTINCT sequence FROM chain_txs ORDER BY sequence").expect("a statement");
        let rows = statement.query_map([], |row| row.get::<_, i64>(0)).expect("rows");
        rows.map(|row| u64::try_from(row.expect("a row")).expect("not negative")).collect()
    }
}

/// A hold as it stands in the journal.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) nonce: String,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) chain_tx: Option<String>,
    pub(crate) answer: String,
    pub(crate) refund_due: bool,
    pub(crate) late: bool,
    pub(crate) id: String,
    pub(crate) payer: String,
    pub(crate) rail: String,
}
