//! The journal as lanes and the reconciler see it.

use alloy_primitives::{Address, B256, Bytes};
use facilitator::engine::{Bid, BooksJournal, ChainTx, LaneJournal, Mined, Rejected, Unfinished};
use facilitator::point::Act;
use gate::Fault;
use ledger::{BlockRef, HoldId, Record, State, Step};
use protocol::Network;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tracing::error;

use crate::handle::{Handle, act, advance};
use crate::writer::Batch;
use crate::{finality, lanes, refunds, rows};

impl LaneJournal for Handle {
    async fn submit(&self, chain_txs: Vec<ChainTx>) -> Result<Result<(), Rejected>, Fault> {
        self.writer.run(&[Act::Submit], move |batch| submit(batch, &chain_txs)).await
    }

    async fn chain_txs_from(&self, network: Network, signer: Address, sequence: u64) -> Result<Vec<ChainTx>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(
                "SELECT network, signer, sequence, hash, raw, max(rowid) FROM chain_txs
                 WHERE network = ?1 AND signer = ?2 AND sequence >= ?3 GROUP BY sequence ORDER BY sequence",
            )?;
            let key = params![rows::signed(network.chain_id)?, signer.0.0, rows::signed(sequence)?];
            let chain_txs = statement.query_map(key, chain_tx)?;
            chain_txs.map(|tx| tx.and_then(|tx| Ok(ChainTx { holds: members(db, tx.hash)?, ..tx }))).collect()
        };
        self.read(query)
    }

    async fn valid_before_s(&self, holds: Vec<HoldId>) -> Result<Option<u64>, Fault> {
        self.read(|db| lanes::valid_before_s(db, &holds))
    }

    async fn spent_wei(&self, holds: Vec<HoldId>) -> Result<u128, Fault> {
        self.read(|db| lanes::spent_wei(db, &holds))
    }
}

impl BooksJournal for Handle {
    async fn unfinished(&self, network: Network, after: Option<HoldId>) -> Result<Vec<Unfinished>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {} FROM holds WHERE network = ?1 AND turn > ?2
                     AND (state IN ('open', 'submitted') OR answer = 'pending' OR (state = 'answered' AND answer = 'live'))
                     ORDER BY turn LIMIT 1000",
                rows::COLUMNS
            ))?;
            let records =
                statement.query_map(params![rows::signed(network.chain_id)?, turn(db, after)?], rows::record)?;
            records.map(|record| with_bids(db, record?)).collect()
        };
        self.read(query)
    }

    async fn due(&self, network: Network, after: Option<HoldId>) -> Result<Vec<Record>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {} FROM holds WHERE network = ?1 AND turn > ?2 AND state = 'answered' AND answer IN ('delivered', 'kept')
                     ORDER BY turn LIMIT 1000",
                rows::COLUMNS
            ))?;
            let key = params![rows::signed(network.chain_id)?, turn(db, after)?];
            statement.query_map(key, rows::record)?.collect()
        };
        self.read(query)
    }

    async fn advance_all(&self, steps: Vec<(HoldId, Step)>) -> Result<(), Fault> {
        if steps.is_empty() {
            return Ok(());
        }
        let acts: Vec<Act> = steps.iter().map(|(_, step)| act(step)).collect();
        let all = move |batch: &mut Batch<'_>| {
            for (hold, step) in &steps {
                if let Err(violation) = advance(batch, *hold, *step)? {
                    error!(%hold, %violation, "a step that must not happen was asked for");
                }
            }
            Ok(())
        };
        self.writer.run(&acts, all).await
    }

    async fn watched(&self, network: Network, time_s: u64) -> Result<Vec<Record>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {} FROM holds WHERE network = ?1 AND valid_before_s < ?2 AND watched = 0
                     AND (state = 'released' OR state = 'burnt' OR state = 'lost') ORDER BY valid_before_s LIMIT 100",
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
        self.writer.run(&[Act::Unwatch], unwatch).await
    }

    async fn unmined(&self, network: Network, signer: Address, below: u64) -> Result<Vec<B256>, Fault> {
        let query = |db: &Connection| {
            // The newest first: what a node no longer has receipts of must not stand in the way of the others.
            let mut statement = db.prepare_cached(
                "SELECT hash FROM chain_txs WHERE network = ?1 AND signer = ?2 AND sequence < ?3 AND fate IS NULL
                 ORDER BY sequence DESC LIMIT 100",
            )?;
            let key = params![rows::signed(network.chain_id)?, signer.0.0, rows::signed(below)?];
            statement.query_map(key, |row| rows::fixed(row, 0).map(B256::new))?.collect()
        };
        self.read(query)
    }

    async fn mined(&self, mined: Vec<Mined>) -> Result<(), Fault> {
        self.writer
            .run(&[Act::Mine], move |batch| mined.iter().try_for_each(|mined| finality::mined(batch, mined)))
            .await
    }

    async fn unmine(&self, chain_txs: Vec<B256>) -> Result<(), Fault> {
        self.writer
            .run(&[Act::Unmine], move |batch| chain_txs.iter().try_for_each(|hash| finality::unmine(batch, *hash)))
            .await
    }

    async fn unfinal(&self, network: Network) -> Result<Vec<BlockRef>, Fault> {
        self.unfinal_blocks(network)
    }

    async fn posted_in(&self, network: Network, block: BlockRef) -> Result<Vec<Record>, Fault> {
        self.posted_in_block(network, block)
    }

    async fn mined_in(&self, network: Network, block: BlockRef) -> Result<Vec<B256>, Fault> {
        self.mined_in_block(network, block)
    }

    async fn finalize(&self, network: Network, blocks: Vec<BlockRef>) -> Result<(), Fault> {
        let all = move |batch: &mut Batch<'_>| blocks.iter().try_for_each(|at| finality::finalize(batch, network, *at));
        self.writer.run(&[Act::Final], all).await
    }
}

/// The turn of a hold, behind which a page begins; without one the first.
fn turn(db: &Connection, after: Option<HoldId>) -> rusqlite::Result<i64> {
    let Some(hold) = after else { return Ok(0) };
    let mut statement = db.prepare_cached("SELECT turn FROM holds WHERE id = ?1")?;
    Ok(statement.query_row([hold.0], |row| row.get(0)).optional()?.unwrap_or(i64::MAX))
}

fn submit(batch: &mut Batch<'_>, chain_txs: &[ChainTx]) -> rusqlite::Result<Result<(), Rejected>> {
    let mut rejected = Vec::new();
    let mut steps = Vec::new();
    for tx in chain_txs {
        let earlier = members_at(batch.db, tx)?;
        let same = earlier.as_ref().map(|earlier| sorted(earlier) == sorted(&tx.holds));
        for hold in &tx.holds {
            let goes_on = match rows::by_id(batch.db, *hold)? {
                Some(record) => matches!(record.state, State::Open | State::Answered | State::Submitted(_)),
                None => refunds::goes_on(batch.db, *hold)?.unwrap_or_default(),
            };
            match same {
                Some(true) => {}
                None if goes_on => {}
                // Its sequence belongs to other holds, or it has ended.
                Some(false) | None => rejected.push(*hold),
            }
            if goes_on {
                steps.push((*hold, Step::Submit(tx.hash)));
            }
        }
    }
    if !rejected.is_empty() {
        return Ok(Err(Rejected(rejected)));
    }
    for tx in chain_txs {
        insert(batch, tx)?;
    }
    for (hold, step) in steps {
        // The state was looked at above; a violation now would be a fault of this function, and undoes the whole batch.
        let outcome = advance(batch, hold, step)?;
        let record = outcome.map_err(|violation| rusqlite::Error::ToSqlConversionFailure(Box::new(violation)))?;
        if let (None, Step::Submit(chain_tx)) = (record, step) {
            refunds::submit(batch, hold, chain_tx)?;
        }
    }
    Ok(Ok(()))
}

fn insert(batch: &Batch<'_>, tx: &ChainTx) -> rusqlite::Result<()> {
    batch
        .db
        .prepare_cached(
            "INSERT INTO chain_txs (hash, network, signer, sequence, raw, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            tx.hash.0,
            rows::signed(tx.network.chain_id)?,
            tx.signer.0.0,
            rows::signed(tx.sequence)?,
            tx.raw.as_ref(),
            rows::signed(batch.now_ms)?
        ])?;
    let mut bid = batch.db.prepare_cached("INSERT INTO bids (hold, chain_tx) VALUES (?1, ?2)")?;
    for hold in &tx.holds {
        if !refunds::bid(batch.db, *hold, tx.hash)? {
            bid.execute(params![hold.0, tx.hash.0])?;
        }
    }
    Ok(())
}

fn sorted(holds: &[HoldId]) -> Vec<HoldId> {
    let mut sorted = holds.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Which holds have a chain_tx's sequence already.
fn members_at(db: &Connection, tx: &ChainTx) -> rusqlite::Result<Option<Vec<HoldId>>> {
    let mut statement =
        db.prepare_cached("SELECT hash FROM chain_txs WHERE network = ?1 AND signer = ?2 AND sequence = ?3 LIMIT 1")?;
    let key = params![rows::signed(tx.network.chain_id)?, tx.signer.0.0, rows::signed(tx.sequence)?];
    let hash = statement.query_row(key, |row| rows::fixed(row, 0).map(B256::new)).optional()?;
    hash.map(|hash| members(db, hash)).transpose()
}

/// For which holds a chain_tx was signed, in the order of their claims, or for which refund.
fn members(db: &Connection, chain_tx: B256) -> rusqlite::Result<Vec<HoldId>> {
    let mut statement =
        db.prepare_cached("SELECT hold FROM bids JOIN holds ON id = hold WHERE bids.chain_tx = ?1 ORDER BY turn")?;
    let holds: Vec<HoldId> =
        statement.query_map([chain_tx.0], |row| rows::fixed(row, 0).map(HoldId))?.collect::<rusqlite::Result<_>>()?;
    if holds.is_empty() { refunds::members(db, chain_tx) } else { Ok(holds) }
}

fn with_bids(db: &Connection, record: Record) -> rusqlite::Result<Unfinished> {
    let mut statement = db.prepare_cached(
        "SELECT hash, sequence, (SELECT count(*) FROM bids AS others WHERE others.chain_tx = hash), signer
         FROM bids JOIN chain_txs ON hash = chain_tx WHERE hold = ?1 ORDER BY chain_txs.rowid",
    )?;
    let bids = statement.query_map([record.hold.id.0], |row| {
        Ok(Bid {
            chain_tx: B256::new(rows::fixed(row, 0)?),
            signer: Address::new(rows::fixed(row, 3)?),
            sequence: rows::unsigned(row, 1)?,
            members: row.get::<_, u32>(2)? as usize,
        })
    })?;
    let bids = bids.collect::<rusqlite::Result<_>>()?;
    Ok(Unfinished { record, bids })
}

fn chain_tx(row: &Row<'_>) -> rusqlite::Result<ChainTx> {
    Ok(ChainTx {
        network: Network { chain_id: rows::unsigned(row, 0)? },
        signer: Address::new(rows::fixed(row, 1)?),
        sequence: rows::unsigned(row, 2)?,
        hash: B256::new(rows::fixed(row, 3)?),
        raw: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        holds: Vec::new(),
    })
}
