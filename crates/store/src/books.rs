//! The journal as lanes and the reconciler see it.

use alloy_primitives::{Address, B256, Bytes};
use facilitator::engine::{BooksJournal, ChainTx, LaneJournal, Rejected, Unfinished};
use gate::Fault;
use ledger::{HoldId, Record, State, Step};
use protocol::Network;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::handle::{Handle, advance};
use crate::rows;
use crate::writer::Batch;

impl LaneJournal for Handle {
    async fn submit(&self, chain_txs: Vec<ChainTx>) -> Result<Result<(), Rejected>, Fault> {
        self.writer.run(move |batch| submit(batch, &chain_txs)).await
    }

    async fn chain_txs_from(&self, network: Network, signer: Address, sequence: u64) -> Result<Vec<ChainTx>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(
                "SELECT network, signer, sequence, hash, raw, hold, max(rowid) FROM chain_txs
                 WHERE network = ?1 AND signer = ?2 AND sequence >= ?3 GROUP BY sequence ORDER BY sequence",
            )?;
            let key = params![rows::signed(network.chain_id)?, signer.0.0, rows::signed(sequence)?];
            statement.query_map(key, chain_tx)?.collect()
        };
        self.read(query)
    }
}

impl BooksJournal for Handle {
    async fn unfinished(&self, network: Network, after: Option<HoldId>) -> Result<Vec<Unfinished>, Fault> {
        let query = |db: &Connection| {
            let turn: i64 = match after {
                None => 0,
                Some(hold) => db
                    .prepare_cached("SELECT turn FROM holds WHERE id = ?1")?
                    .query_row([hold.0], |row| row.get(0))
                    .optional()?
                    .unwrap_or(i64::MAX),
            };
            let mut statement = db.prepare_cached(&format!(
                "SELECT {} FROM holds WHERE network = ?1 AND (state IN ('open', 'submitted') OR answer = 'pending') AND turn > ?2 ORDER BY turn LIMIT 1000",
                rows::COLUMNS
            ))?;
            let records = statement.query_map(params![rows::signed(network.chain_id)?, turn], rows::record)?;
            records.map(|record| with_chain_txs(db, record?)).collect()
        };
        self.read(query)
    }

    async fn watched(&self, network: Network, time_s: u64) -> Result<Vec<Record>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {} FROM holds WHERE network = ?1 AND valid_before_s < ?2 AND watched = 0
                     AND state IN ('released', 'burnt') ORDER BY valid_before_s LIMIT 100",
                rows::COLUMNS
            ))?;
            statement
                .query_map(params![rows::signed(network.chain_id)?, rows::signed(time_s)?], rows::record)?
                .collect()
        };
        let records: Vec<Record> = self.read(query)?;
        let mut newest = Vec::new();
        for record in records {
            // A claim that was won again is that hold's matter.
            match self.read(|db| rows::latest(db, &record.hold.authorization.key))? {
                Some(latest) if latest.hold.id != record.hold.id => self.unwatch(record.hold.id).await?,
                Some(_) | None => newest.push(record),
            }
        }
        Ok(newest)
    }

    async fn unwatch(&self, hold: HoldId) -> Result<(), Fault> {
        let unwatch = move |batch: &mut Batch<'_>| {
            batch.db.prepare_cached("UPDATE holds SET watched = 1 WHERE id = ?1")?.execute([hold.0])?;
            Ok(())
        };
        self.writer.run(unwatch).await
    }
}

fn submit(batch: &mut Batch<'_>, chain_txs: &[ChainTx]) -> rusqlite::Result<Result<(), Rejected>> {
    let mut rejected = Vec::new();
    let mut steps = Vec::new();
    for tx in chain_txs {
        let state = rows::by_id(batch.db, tx.hold)?.map(|record| record.state);
        let goes_on = matches!(state, Some(State::Open | State::Submitted(_)));
        match sequence_of(batch.db, tx)? {
            Some(hold) if hold != tx.hold => rejected.push(tx.hold),
            Some(_) => {}
            None if goes_on => {}
            None => rejected.push(tx.hold),
        }
        if goes_on {
            steps.push((tx.hold, Step::Submit(tx.hash)));
        }
    }
    if !rejected.is_empty() {
        return Ok(Err(Rejected(rejected)));
    }
    for (hold, step) in steps {
        // The state was looked at above; a violation now would be a fault of this function, and undoes the whole batch.
        let outcome = advance(batch, hold, step)?;
        outcome.map_err(|violation| rusqlite::Error::ToSqlConversionFailure(Box::new(violation)))?;
    }
    for tx in chain_txs {
        batch
            .db
            .prepare_cached(
                "INSERT INTO chain_txs (hash, network, signer, sequence, raw, hold, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                tx.hash.0,
                rows::signed(tx.network.chain_id)?,
                tx.signer.0.0,
                rows::signed(tx.sequence)?,
                tx.raw.as_ref(),
                tx.hold.0,
                rows::signed(batch.now_ms)?
            ])?;
    }
    Ok(Ok(()))
}

/// Which hold has a chain_tx's sequence already.
fn sequence_of(db: &Connection, tx: &ChainTx) -> rusqlite::Result<Option<HoldId>> {
    let mut statement =
        db.prepare_cached("SELECT hold FROM chain_txs WHERE network = ?1 AND signer = ?2 AND sequence = ?3 LIMIT 1")?;
    let key = params![rows::signed(tx.network.chain_id)?, tx.signer.0.0, rows::signed(tx.sequence)?];
    statement.query_row(key, |row| rows::fixed(row, 0).map(HoldId)).optional()
}

fn with_chain_txs(db: &Connection, record: Record) -> rusqlite::Result<Unfinished> {
    let mut statement = db.prepare_cached("SELECT hash, sequence FROM chain_txs WHERE hold = ?1 ORDER BY rowid")?;
    let pairs = statement
        .query_map([record.hold.id.0], |row| Ok((B256::new(rows::fixed(row, 0)?), rows::unsigned(row, 1)?)))?;
    let chain_txs = pairs.collect::<rusqlite::Result<_>>()?;
    Ok(Unfinished { record, chain_txs })
}

fn chain_tx(row: &Row<'_>) -> rusqlite::Result<ChainTx> {
    Ok(ChainTx {
        network: Network { chain_id: rows::unsigned(row, 0)? },
        signer: Address::new(rows::fixed(row, 1)?),
        sequence: rows::unsigned(row, 2)?,
        hash: B256::new(rows::fixed(row, 3)?),
        raw: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        hold: HoldId(rows::fixed(row, 5)?),
    })
}
