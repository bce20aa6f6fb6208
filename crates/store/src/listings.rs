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
    /// Writes an entry in the place of the one with the same key.
    ///
    /// # Errors
    /// A [`Fault`] when the journal does not take it.
    pub async fn keep_listing(&self, listing: Listing) -> Result<(), Fault> {
        let (item, key) = (listing.item.to_string(), listing.key);
        self.writer
            .run(&[Act::KeepListing], move |batch| {
                let sql = "INSERT OR REPLACE INTO listings (resource, tool, payee, item, proven, settled, updated_s)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
                batch.db.prepare_cached(sql)?.execute(params![
                    key.resource,
                    key.tool,
                    key.payee.0.0.0,
                    item,
                    listing.proven,
                    rows::signed(listing.settled)?,
                    rows::signed(listing.updated_s)?
                ])?;
                Ok(())
            })
            .await
    }

    /// Takes an entry out.
    ///
    /// # Errors
    /// A [`Fault`] when the journal does not take it.
    pub async fn drop_listing(&self, key: ListingKey) -> Result<(), Fault> {
        self.writer
            .run(&[Act::DropListing], move |batch| {
                let sql = "DELETE FROM listings WHERE resource = ?1 AND tool = ?2 AND payee = ?3";
                batch.db.prepare_cached(sql)?.execute(params![key.resource, key.tool, key.payee.0.0.0])?;
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
            let mut statement =
                db.prepare("SELECT resource, tool, payee, item, proven, settled, updated_s FROM listings")?;
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
        proven: row.get(4)?,
        settled: rows::unsigned(row, 5)?,
        updated_s: rows::unsigned(row, 6)?,
    })
}
