//! What a facilitator lists.

use facilitator::point::Act;
use facilitator::service::{Listing, ListingKey};
use gate::Fault;
use protocol::Payee;
use rusqlite::{Row, params};
use serde_json::Value;

use crate::handle::Handle;
use crate::rows;

impl Handle {
    /// Writes an entry in the place of an older one with the same key, and takes out the one that made room for it.
    ///
    /// # Errors
    /// A [`Fault`] when the journal does not take it.
    pub async fn keep_listing(&self, listing: Listing, room: Option<ListingKey>) -> Result<(), Fault> {
        let (item, key) = (listing.item.to_string(), listing.key);
        self.writer
            .run(&[Act::KeepListing], move |batch| {
                // Two threads may come here in another order than they made the entries.
                let sql =
                    "INSERT INTO listings (resource, tool, payee, item, signed_at_s, settled, updated_s, revision)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                           ON CONFLICT (resource, tool, payee) DO UPDATE SET item = excluded.item,
                               signed_at_s = excluded.signed_at_s, settled = excluded.settled,
                               updated_s = excluded.updated_s, revision = excluded.revision
                           WHERE excluded.revision > listings.revision";
                batch.db.prepare_cached(sql)?.execute(params![
                    key.resource,
                    key.tool,
                    key.payee.0.0.0,
                    item,
                    rows::signed(listing.signed_at_s)?,
                    rows::signed(listing.settled)?,
                    rows::signed(listing.updated_s)?,
                    rows::signed(listing.revision)?
                ])?;
                if let Some(room) = &room {
                    let sql = "DELETE FROM listings WHERE resource = ?1 AND tool = ?2 AND payee = ?3 AND revision < ?4";
                    let revision = rows::signed(listing.revision)?;
                    let out = params![room.resource, room.tool, room.payee.0.0.0, revision];
                    batch.db.prepare_cached(sql)?.execute(out)?;
                }
                Ok(())
            })
            .await
    }

    /// All entries.
    ///
    /// # Errors
    /// A [`Fault`] when the journal cannot be read.
    pub fn listings(&self) -> Result<Vec<Listing>, Fault> {
        self.read(|db| {
            let sql = "SELECT resource, tool, payee, item, signed_at_s, settled, updated_s, revision FROM listings";
            let mut statement = db.prepare(sql)?;
            statement.query_map([], listing)?.collect()
        })
    }
}

fn listing(row: &Row<'_>) -> rusqlite::Result<Listing> {
    let payee = Payee(alloy_primitives::Address::new(rows::fixed(row, 2)?));
    let item: String = row.get(3)?;
    Ok(Listing {
        key: ListingKey { resource: row.get(0)?, tool: row.get(1)?, payee },
        // It was printed by us; a file that was changed by hand shows nothing.
        item: serde_json::from_str(&item).unwrap_or(Value::Null),
        signed_at_s: rows::unsigned(row, 4)?,
        settled: rows::unsigned(row, 5)?,
        updated_s: rows::unsigned(row, 6)?,
        revision: rows::unsigned(row, 7)?,
    })
}
