//! What the journal knows of settlement keys and of what they have spent.

use alloy_primitives::Address;
use gate::Fault;
use ledger::{HoldId, REFUND_VALID_BEFORE_S};
use protocol::Network;
use rusqlite::{Connection, params};

use crate::handle::Handle;
use crate::{refunds, rows};

/// Of how many of a key's newest mined chain_txs the cost of a payment is the mean.
const COST_OF_LAST: i64 = 100;

impl Handle {
    /// Every key that has signed a chain_tx on a network.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn signers(&self, network: Network) -> Result<Vec<Address>, Fault> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT DISTINCT signer FROM chain_txs WHERE network = ?1")?;
            let signers =
                statement.query_map([rows::signed(network.chain_id)?], |row| rows::fixed(row, 0).map(Address::new))?;
            signers.collect()
        })
    }

    /// What a payment has cost a key in gas, in wei: the mean of its newest chain_txs. `None` before the first.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn wei_per_payment(&self, network: Network, signer: Address) -> Result<Option<u128>, Fault> {
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT fee, (SELECT count(*) FROM bids WHERE bids.chain_tx = hash) FROM chain_txs
                 WHERE network = ?1 AND signer = ?2 AND fate = 'mined' ORDER BY sequence DESC LIMIT ?3",
            )?;
            let key = params![rows::signed(network.chain_id)?, signer.0.0, COST_OF_LAST];
            let costs = statement.query_map(key, |row| Ok((wei(row)?, row.get::<_, u32>(1)?)))?;
            let (mut spent, mut payments) = (0u128, 0u128);
            for cost in costs {
                let (fee, members) = cost?;
                spent = spent.saturating_add(fee);
                payments = payments.saturating_add(u128::from(members));
            }
            Ok(spent.checked_div(payments))
        })
    }
}

/// The latest `validBefore` of those holds that have not ended.
pub(crate) fn valid_before_s(db: &Connection, holds: &[HoldId]) -> rusqlite::Result<Option<u64>> {
    let mut latest = None;
    for hold in holds {
        let until_s = match rows::by_id(db, *hold)? {
            Some(record) => (!record.state.ended()).then_some(record.hold.authorization.valid_before_s),
            None => refunds::goes_on(db, *hold)?.unwrap_or_default().then_some(REFUND_VALID_BEFORE_S),
        };
        latest = latest.max(until_s);
    }
    Ok(latest)
}

/// The most that mined chain_txs have cost one of these holds.
pub(crate) fn spent_wei(db: &Connection, holds: &[HoldId]) -> rusqlite::Result<u128> {
    let mut statement = db.prepare_cached(
        "SELECT fee, (SELECT count(*) FROM bids AS others WHERE others.chain_tx = hash)
         FROM bids JOIN chain_txs ON hash = chain_tx WHERE hold = ?1 AND fate = 'mined'",
    )?;
    let mut most = 0;
    for hold in holds {
        let shares =
            statement.query_map([hold.0], |row| Ok(wei(row)?.div_ceil(u128::from(row.get::<_, u32>(1)?.max(1)))))?;
        let spent = shares.sum::<rusqlite::Result<u128>>()?;
        most = spent.max(most);
    }
    Ok(most)
}

fn wei(row: &rusqlite::Row<'_>) -> rusqlite::Result<u128> {
    rows::fixed(row, 0).map(u128::from_be_bytes)
}
