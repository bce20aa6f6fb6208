//! What a reorg may still take out of the chain: payments and chain_txs whose block is not final.

use alloy_primitives::{Address, B256};
use facilitator::engine::Mined;
use gate::Fault;
use ledger::{BlockRef, Entry, Record};
use protocol::{Amount, Asset, Network};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::handle::Handle;
use crate::rows;
use crate::writer::Batch;

impl Handle {
    pub(crate) fn unfinal_blocks(&self, network: Network) -> Result<Vec<BlockRef>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(
                "SELECT settled_block, settled_hash FROM holds WHERE network = ?1 AND settled_hash IS NOT NULL AND final = 0
                 UNION SELECT block, block_hash FROM chain_txs WHERE network = ?1 AND block_hash IS NOT NULL AND final = 0
                 ORDER BY 1",
            )?;
            let block =
                |row: &Row<'_>| Ok(BlockRef { number: rows::unsigned(row, 0)?, hash: B256::new(rows::fixed(row, 1)?) });
            statement.query_map([rows::signed(network.chain_id)?], block)?.collect()
        };
        self.read(query)
    }

    pub(crate) fn posted_in_block(&self, network: Network, block: BlockRef) -> Result<Vec<Record>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {} FROM holds WHERE network = ?1 AND settled_block = ?2 AND settled_hash = ?3
                     AND settled_hash IS NOT NULL AND final = 0 ORDER BY turn",
                rows::COLUMNS
            ))?;
            let key = params![rows::signed(network.chain_id)?, rows::signed(block.number)?, block.hash.0];
            statement.query_map(key, rows::record)?.collect()
        };
        self.read(query)
    }

    pub(crate) fn mined_in_block(&self, network: Network, block: BlockRef) -> Result<Vec<B256>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(
                "SELECT hash FROM chain_txs WHERE network = ?1 AND block = ?2 AND block_hash = ?3
                     AND block_hash IS NOT NULL AND final = 0 ORDER BY sequence",
            )?;
            let key = params![rows::signed(network.chain_id)?, rows::signed(block.number)?, block.hash.0];
            statement.query_map(key, |row| rows::fixed(row, 0).map(B256::new))?.collect()
        };
        self.read(query)
    }
}

/// Notes that a block is final. Nothing is read of the rows: thousands are of one block.
pub(crate) fn finalize(batch: &Batch<'_>, network: Network, block: BlockRef) -> rusqlite::Result<()> {
    let key = params![rows::signed(network.chain_id)?, rows::signed(block.number)?, block.hash.0];
    for sql in [
        "UPDATE holds SET final = 1 WHERE network = ?1 AND settled_block = ?2 AND settled_hash = ?3
             AND settled_hash IS NOT NULL AND final = 0",
        "UPDATE chain_txs SET final = 1 WHERE network = ?1 AND block = ?2 AND block_hash = ?3
             AND block_hash IS NOT NULL AND final = 0",
    ] {
        batch.db.prepare_cached(sql)?.execute(key)?;
    }
    Ok(())
}

/// A chain_tx of ours as far as its gas goes.
struct Booked {
    network: Network,
    signer: Address,
    sequence: u64,
    /// The fee that is in the books, while it counts as mined.
    fee_wei: Option<u128>,
}

impl Booked {
    /// `None` for one that is not ours, or final.
    fn read(db: &Connection, chain_tx: B256) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT network, signer, sequence, fee FROM chain_txs WHERE hash = ?1 AND final = 0
                       AND (fate IS NULL OR fate = 'mined')";
        let booked = |row: &Row<'_>| {
            let fee: Option<Vec<u8>> = row.get(3)?;
            let fee = fee.map(|fee| fee.try_into().map(u128::from_be_bytes).map_err(|_| rows::corrupt(3)));
            Ok(Self {
                network: Network { chain_id: rows::unsigned(row, 0)? },
                signer: Address::new(rows::fixed(row, 1)?),
                sequence: rows::unsigned(row, 2)?,
                fee_wei: fee.transpose()?,
            })
        };
        db.prepare_cached(sql)?.query_row([chain_tx.0], booked).optional()
    }

    /// Sets the fate of the others with the same sequence.
    fn others(&self, db: &Connection, before: Option<&str>, after: Option<&str>) -> rusqlite::Result<()> {
        let sql = "UPDATE chain_txs SET fate = ?5 WHERE network = ?1 AND signer = ?2 AND sequence = ?3 AND fate IS ?4";
        let (chain_id, sequence) = (rows::signed(self.network.chain_id)?, rows::signed(self.sequence)?);
        db.prepare_cached(sql)?.execute(params![chain_id, self.signer.0.0, sequence, before, after])?;
        Ok(())
    }

    fn wei(&self, fee_wei: u128) -> Amount {
        Amount::new(fee_wei, Asset::native(self.network))
    }
}

/// Notes a mined chain_tx and its gas, and that others with its sequence are outbid. What is known of it in another block is
/// replaced.
pub(crate) fn mined(batch: &Batch<'_>, mined: &Mined) -> rusqlite::Result<()> {
    let Some(booked) = Booked::read(batch.db, mined.chain_tx)? else { return Ok(()) };
    let sql = "UPDATE chain_txs SET fate = 'mined', block = ?2, block_hash = ?3, fee = ?4 WHERE hash = ?1";
    let block = (rows::signed(mined.block.number)?, mined.block.hash.0);
    let values = params![mined.chain_tx.0, block.0, block.1, mined.fee_wei.to_be_bytes()];
    batch.db.prepare_cached(sql)?.execute(values)?;
    booked.others(batch.db, None, Some("outbid"))?;
    if booked.fee_wei == Some(mined.fee_wei) {
        return Ok(());
    }
    if let Some(before) = booked.fee_wei {
        let voided = Entry::gas_voided(mined.chain_tx, booked.signer, booked.wei(before));
        rows::append(batch.db, &voided, batch.now_ms)?;
    }
    rows::append(batch.db, &Entry::gas(mined.chain_tx, booked.signer, booked.wei(mined.fee_wei)), batch.now_ms)
}

/// Takes back that a chain_tx was mined. It, or another with its sequence, may be mined again.
pub(crate) fn unmine(batch: &Batch<'_>, chain_tx: B256) -> rusqlite::Result<()> {
    let Some(booked) = Booked::read(batch.db, chain_tx)? else { return Ok(()) };
    let Some(fee_wei) = booked.fee_wei else { return Ok(()) };
    let sql = "UPDATE chain_txs SET fate = NULL, block = NULL, block_hash = NULL, fee = NULL WHERE hash = ?1";
    batch.db.prepare_cached(sql)?.execute([chain_tx.0])?;
    // Unless another one with its sequence has been mined meanwhile.
    let (chain_id, sequence) = (rows::signed(booked.network.chain_id)?, rows::signed(booked.sequence)?);
    let sql = "SELECT EXISTS (SELECT 1 FROM chain_txs WHERE network = ?1 AND signer = ?2 AND sequence = ?3 AND fate = 'mined')";
    let place = params![chain_id, booked.signer.0.0, sequence];
    if batch.db.prepare_cached(sql)?.query_row(place, |row| row.get(0))? {
        booked.others(batch.db, None, Some("outbid"))?;
    } else {
        booked.others(batch.db, Some("outbid"), None)?;
    }
    rows::append(batch.db, &Entry::gas_voided(chain_tx, booked.signer, booked.wei(fee_wei)), batch.now_ms)
}
