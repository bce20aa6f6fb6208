//! What payments buy: balances and passes.

use facilitator::point::Act;
use gate::Fault;
use ledger::{Change, Grant, GrantId, HoldId, KeyId, Purchase, Record, State, Unit};
use rusqlite::{Connection, Row, params};

use crate::accounts::{close_account, grant_by_id, open_account, write};
use crate::handle::Handle;
use crate::rows::{self, corrupt, fixed, signed};
use crate::writer::Batch;

/// Writes what a change of a hold does to what it bought, in the batch that writes the change.
pub(crate) fn follow(batch: &mut Batch<'_>, before: &Record, change: &Change) -> rusqlite::Result<()> {
    let Some(purchase) = &change.record.hold.buys else { return Ok(()) };
    let is_posted = |record: &Record| matches!(record.state, State::Posted(_));
    match (is_posted(before), is_posted(&change.record)) {
        // A time has no grant that could be taken back.
        (true, false) if purchase.amount == 0 => {
            revoke(batch, &change.record, true)?;
        }
        (false, true) if purchase.amount == 0 => restore(batch, change.record.hold.id)?,
        _ => {}
    }
    let grant = bought(batch.db, &change.record)?;
    let Some(granted) = ledger::bought(before, &change.record, grant.as_ref(), batch.now_ms) else { return Ok(()) };
    if grant.is_none() {
        // A pass has an account of its own, from now on. A key has one already.
        open_account(batch, purchase.key, purchase.unit)?;
    }
    write(batch, &granted)
}

/// The grant that a payment bought.
pub(crate) fn bought(db: &Connection, record: &Record) -> rusqlite::Result<Option<Grant>> {
    let Some(purchase) = &record.hold.buys else { return Ok(None) };
    grant_by_id(db, GrantId(record.hold.id.0), purchase.unit)
}

/// In a column: 16 bytes of the account, the unit, how much, and when it ends where it does.
pub(crate) fn encode(purchase: &Purchase) -> Vec<u8> {
    let unit = match purchase.unit {
        Unit::Usd => 1,
        Unit::Credit => 2,
        Unit::Call => 3,
    };
    let mut bytes = purchase.key.0.to_vec();
    bytes.push(unit);
    bytes.extend_from_slice(&purchase.amount.to_be_bytes());
    bytes.extend(purchase.expires_at_ms.iter().flat_map(|ends| ends.to_be_bytes()));
    bytes
}

pub(crate) fn decode(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Purchase>> {
    let Some(bytes) = row.get_ref(at)?.as_blob_or_null()? else { return Ok(None) };
    let read = || {
        let (key, rest) = bytes.split_first_chunk::<16>()?;
        let (unit, rest) = rest.split_first()?;
        let (amount, rest) = rest.split_first_chunk::<8>()?;
        let unit = match unit {
            1 => Unit::Usd,
            2 => Unit::Credit,
            3 => Unit::Call,
            _ => return None,
        };
        let expires_at_ms = match rest {
            [] => None,
            ends => Some(u64::from_be_bytes(ends.try_into().ok()?)),
        };
        Some(Purchase { key: KeyId(*key), unit, amount: u64::from_be_bytes(*amount), expires_at_ms })
    };
    read().map(Some).ok_or_else(|| corrupt(at))
}

impl Handle {
    /// Takes a pass back: from now on it opens nothing. What is left on its account stays where it is. `false` where no payment of this
    /// name bought a pass.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn revoke_pass(&self, payment: HoldId) -> Result<bool, Fault> {
        let work = move |batch: &mut Batch<'_>| {
            let Some(record) = rows::by_id(batch.db, payment)? else { return Ok(false) };
            revoke(batch, &record, false)
        };
        self.writer.run(&[Act::RevokePass], work).await
    }

    /// The passes that were taken back and would be good still.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn revoked_passes(&self, now_ms: u64) -> Result<Vec<HoldId>, Fault> {
        self.read(|db| {
            let sql = "SELECT payment FROM revoked_passes WHERE ends_at_ms IS NULL OR ends_at_ms > ?1";
            let mut statement = db.prepare_cached(sql)?;
            statement.query_map([signed(now_ms)?], |row| fixed(row, 0).map(HoldId))?.collect()
        })
    }
}

/// Takes a pass back within a batch: for good, or until its payment stands again. Every worker reads the list anew.
pub(crate) fn revoke(batch: &mut Batch<'_>, record: &Record, unpaid: bool) -> rusqlite::Result<bool> {
    let id = record.hold.id;
    let Some(purchase) = record.hold.buys.as_ref().filter(|bought| bought.key.0 == id.0) else { return Ok(false) };
    let ends = purchase.expires_at_ms.map(signed).transpose()?;
    let sql = "INSERT INTO revoked_passes (payment, at_ms, ends_at_ms, unpaid) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET unpaid = min(unpaid, excluded.unpaid)";
    batch.db.prepare_cached(sql)?.execute(params![id.0, signed(batch.now_ms)?, ends, unpaid])?;
    close_account(batch, purchase.key, true, None)?;
    batch.rekeyed = true;
    Ok(true)
}

/// Gives a pass back whose payment stands again. One that was taken back for good stays so. Its account was never opened: it has a
/// time alone.
fn restore(batch: &mut Batch<'_>, payment: HoldId) -> rusqlite::Result<()> {
    let sql = "DELETE FROM revoked_passes WHERE payment = ?1 AND unpaid = 1";
    batch.rekeyed |= batch.db.prepare_cached(sql)?.execute([payment.0])? > 0;
    Ok(())
}
