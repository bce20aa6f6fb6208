//! What payments buy: balances and passes.

use ledger::{Change, Grant, GrantId, KeyId, Purchase, Record, Unit};
use rusqlite::{Connection, Row};

use crate::accounts::{grant_by_id, open_account, write};
use crate::rows::corrupt;
use crate::writer::Batch;

/// Writes what a change of a hold does to what it bought, in the batch that writes the change.
pub(crate) fn follow(batch: &mut Batch<'_>, before: &Record, change: &Change) -> rusqlite::Result<()> {
    let Some(purchase) = &change.record.hold.buys else { return Ok(()) };
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
