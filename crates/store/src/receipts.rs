//! What the receipts of calls are made of: digests of what was asked and answered, never the text.

use alloy_primitives::B256;
use facilitator::point::Act;
use gate::Fault;
use ledger::HoldId;
use rusqlite::{OptionalExtension, Row, params};

use crate::writer::Batch;
use crate::{Handle, rows};

/// How many are forgotten in one commit: others wait for it.
const FORGET_MAX: u16 = 500;

const COLUMNS: &str = "hold, at_ms, method, path, request_hash, response_hash";

/// One call. Everything else that its receipt says is in its hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    /// The payment.
    pub hold: HoldId,
    /// When the answer began.
    pub at_ms: u64,
    /// The method of the call.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Digest of the request's body, where it was read to its end.
    pub request_hash: Option<B256>,
    /// Digest of the answer's body, where it was given out to its end.
    pub response_hash: Option<B256>,
}

impl Handle {
    /// Writes a row. What is written of a whole answer stays.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn keep_receipt(&self, row: ReceiptRow) -> Result<(), Fault> {
        let sql = "INSERT INTO receipts (hold, at_ms, method, path, request_hash, response_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (hold) DO UPDATE SET
                 request_hash = coalesce(excluded.request_hash, request_hash),
                 response_hash = coalesce(excluded.response_hash, response_hash)";
        let keep = move |batch: &mut Batch<'_>| {
            batch.db.prepare_cached(sql)?.execute(params![
                row.hold.0,
                rows::signed(row.at_ms)?,
                row.method,
                row.path,
                row.request_hash.map(|digest| digest.0),
                row.response_hash.map(|digest| digest.0),
            ])?;
            Ok(())
        };
        self.writer.run(&[Act::KeepReceipt], keep).await
    }

    /// The row of a payment.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn receipt(&self, hold: HoldId) -> Result<Option<ReceiptRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM receipts WHERE hold = ?1");
        self.read(|db| db.prepare_cached(&sql)?.query_row([hold.0], read).optional())
    }

    /// The row of the payment whose name ends so. `None` where several do: nobody is given another's receipt.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn receipt_named(&self, end: [u8; 6]) -> Result<Option<ReceiptRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM receipts WHERE substr(hold, 11) = ?1 LIMIT 2");
        let mut found =
            self.read(|db| db.prepare_cached(&sql)?.query_map([end], read)?.collect::<rusqlite::Result<Vec<_>>>())?;
        Ok(found.pop().filter(|_| found.is_empty()))
    }

    /// Forgets what is older than `before_ms`, the oldest first, some at a time. Says how many.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn forget_receipts(&self, before_ms: u64) -> Result<usize, Fault> {
        let sql = "DELETE FROM receipts WHERE hold IN
             (SELECT hold FROM receipts WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";
        let mut forgotten = 0_usize;
        loop {
            let forget = move |batch: &mut Batch<'_>| {
                batch.db.prepare_cached(sql)?.execute(params![rows::signed(before_ms)?, FORGET_MAX])
            };
            let some = self.writer.run(&[Act::ForgetReceipts], forget).await?;
            forgotten = forgotten.saturating_add(some);
            if some < usize::from(FORGET_MAX) {
                return Ok(forgotten);
            }
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<ReceiptRow> {
    Ok(ReceiptRow {
        hold: HoldId(rows::fixed(row, 0)?),
        at_ms: rows::unsigned(row, 1)?,
        method: row.get(2)?,
        path: row.get(3)?,
        request_hash: rows::optional(row, 4)?,
        response_hash: rows::optional(row, 5)?,
    })
}
