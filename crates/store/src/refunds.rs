//! Refunds: their rows, and the journal as those who pay them see it.

use alloy_primitives::{Address, B256};
use facilitator::engine::{RefundBid, RefundJournal};
use facilitator::point::Act;
use gate::Fault;
use ledger::{
    BlockRef, Change, Grant, HoldId, Record, Refund, RefundChange, RefundId, RefundProblem, RefundRefusal, RefundState,
    RefundStep, Signed, Today,
};
use protocol::{Asset, AssetAddress, Network, Payer, Signature};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tracing::error;

use crate::accounts;
use crate::handle::Handle;
use crate::ledger::{Ledger, ReadFault};
use crate::purchases::{self, bought};
use crate::rows::{self, corrupt, fixed, optional, signed, unsigned};
use crate::writer::Batch;

const DAY_MS: u64 = 86_400_000;

const SELECT: &str = "SELECT refunds.id, refunds.hold, holds.network, holds.asset, holds.payer, refunds.amount, micros, own_due, wallet,
     refunds.signature, refunds.seen_block, refunds.seen_hash, refunds.at_ms, day, refunds.state, problem, refunds.chain_tx, block
     FROM refunds JOIN holds ON holds.id = refunds.hold";

impl RefundJournal for Handle {
    async fn open_refunds(&self, network: Network, young_block: u64) -> Result<Vec<RefundId>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare_cached(
                "SELECT refunds.id FROM refunds JOIN holds ON holds.id = refunds.hold
                 WHERE network = ?1 AND wallet IS NOT NULL AND (refunds.state <> 'refunded' OR block >= ?2)
                 ORDER BY refunds.turn LIMIT 1000",
            )?;
            let key = params![signed(network.chain_id)?, signed(young_block)?];
            statement.query_map(key, |row| fixed(row, 0).map(RefundId))?.collect()
        };
        self.read(query)
    }

    async fn refund(&self, id: RefundId) -> Result<Option<(Refund, Vec<RefundBid>)>, Fault> {
        self.read(|db| by_id(db, id)?.map(|refund| Ok((refund, bids(db, id)?))).transpose())
    }

    async fn advance_refund(&self, id: RefundId, step: RefundStep) -> Result<Option<Refund>, Fault> {
        self.writer.run(&[act(&step)], move |batch| advance(batch, id, step)).await
    }
}

impl Handle {
    /// Takes a refund into the books, once: whoever asks again reads the one that is there.
    ///
    /// # Errors
    /// The journal's [`Fault`]. The inner error is for who asked.
    pub async fn request_refund(&self, refund: Refund) -> Result<Result<Refund, RefundRefusal>, Fault> {
        let request = move |batch: &mut Batch<'_>| {
            let Some(record) = rows::by_id(batch.db, refund.payment)? else {
                return Err(rusqlite::Error::QueryReturnedNoRows);
            };
            let refunds = of_payment(batch.db, refund.payment)?;
            let asked = Refund { at_ms: batch.now_ms, ..refund };
            match ledger::request_refund(&record, &refunds, bought(batch.db, &record)?.as_ref(), asked) {
                Err(refusal) => Ok(Err(refusal)),
                Ok(None) => Ok(Ok(refunds.into_iter().find(|known| known.id == refund.id).unwrap_or(refund))),
                Ok(Some(change)) => {
                    insert(batch.db, &change.refund)?;
                    accounts::write(batch, &change.gives_up)?;
                    if record.hold.buys.as_ref().is_some_and(|bought| bought.amount == 0) {
                        // A time cannot be given back in part: nobody has both it and his money.
                        purchases::revoke(batch, &record, false)?;
                    }
                    write_entries(batch, &change)?;
                    Ok(Ok(change.refund))
                }
            }
        };
        self.writer.run(&[Act::AskRefund], request).await
    }

    /// Notes that somebody paid a refund by hand, in a chain_tx that pays `times` refunds like it. `None` where all of those are
    /// taken by others, and where there is no such refund.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn paid_by_hand(
        &self,
        id: RefundId,
        (chain_tx, block): (B256, u64),
        times: usize,
    ) -> Result<Option<Refund>, Fault> {
        let paid = move |batch: &mut Batch<'_>| {
            let Some(refund) = by_id(batch.db, id)?.filter(|refund| refund.signed.is_none()) else { return Ok(None) };
            let mut statement = batch.db.prepare_cached(&format!("{SELECT} WHERE refunds.chain_tx = ?1"))?;
            let others = statement.query_map([chain_tx.0], refund_of)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let like = |other: &&Refund| {
                other.id != id
                    && (other.asset, other.to, other.amount_atomic) == (refund.asset, refund.to, refund.amount_atomic)
            };
            if others.iter().filter(like).count() >= times {
                return Ok(None);
            }
            advance(batch, id, RefundStep::Settle { chain_tx, block })
        };
        self.writer.run(&[Act::PayRefund], paid).await
    }

    /// The part of a balance that a payment bought, if it did.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn bought(&self, payment: &Record) -> Result<Option<Grant>, Fault> {
        self.read(|db| bought(db, payment))
    }

    /// The refunds of a payment, oldest first.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn refunds_of(&self, payment: HoldId) -> Result<Vec<Refund>, Fault> {
        self.read(|db| of_payment(db, payment))
    }

    /// The refunds that somebody is to pay by hand, oldest first.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn awaited_refunds(&self) -> Result<Vec<RefundId>, Fault> {
        let query = |db: &Connection| {
            let mut statement =
                db.prepare("SELECT id FROM refunds WHERE wallet IS NULL AND state <> 'refunded' ORDER BY turn")?;
            statement.query_map([], |row| fixed(row, 0).map(RefundId))?.collect()
        };
        self.read(query)
    }

    /// The payments that are owed back and of which something is left to give, oldest first.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn owed_back(&self) -> Result<Vec<HoldId>, Fault> {
        let query = |db: &Connection| {
            let mut statement = db.prepare("SELECT id, amount FROM holds WHERE refund_due = 1 ORDER BY turn")?;
            let owed =
                statement.query_map([], |row| Ok((HoldId(fixed(row, 0)?), u128::from_be_bytes(fixed(row, 1)?))))?;
            let mut left = Vec::new();
            for owed in owed {
                let (hold, amount) = owed?;
                let given =
                    of_payment(db, hold)?.iter().fold(0u128, |sum, refund| sum.saturating_add(refund.amount_atomic));
                if given < amount {
                    left.push(hold);
                }
            }
            Ok(left)
        };
        self.read(query)
    }
}

impl Ledger {
    /// Every refund, oldest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn refunds(&self) -> Result<Vec<Refund>, ReadFault> {
        let mut statement = self.db.prepare(&format!("{SELECT} ORDER BY refunds.turn"))?;
        Ok(statement.query_map([], refund_of)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Payments whose call was served though an earlier one by the same authorization was: that must never be.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn served_twice(&self) -> Result<Vec<HoldId>, ReadFault> {
        const SERVED: &str = "state IN ('answered', 'submitted', 'posted', 'lost') AND answer <> 'lost'";
        let sql = format!(
            "SELECT id FROM holds WHERE {SERVED} AND EXISTS (
                 SELECT 1 FROM (SELECT * FROM holds AS earlier
                     WHERE earlier.payer = holds.payer AND earlier.nonce = holds.nonce AND earlier.turn < holds.turn
                         AND earlier.asset = holds.asset AND earlier.network = holds.network)
                 WHERE {SERVED})
             ORDER BY turn"
        );
        let mut statement = self.db.prepare(&sql)?;
        let twice = statement.query_map([], |row| fixed(row, 0).map(HoldId))?;
        Ok(twice.collect::<rusqlite::Result<_>>()?)
    }

    /// The refunds of a payment, oldest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn refunds_of(&self, payment: HoldId) -> Result<Vec<Refund>, ReadFault> {
        Ok(of_payment(&self.db, payment)?)
    }
}

/// The fault points of a step.
const fn act(step: &RefundStep) -> Act {
    match step {
        RefundStep::Admit { .. } => Act::AdmitRefund,
        RefundStep::Submit(_) => Act::Submit,
        RefundStep::Settle { .. } => Act::SettleRefund,
        RefundStep::Undo => Act::UndoRefund,
        RefundStep::Stop(_) => Act::StopRefund,
    }
}

fn by_id(db: &Connection, id: RefundId) -> rusqlite::Result<Option<Refund>> {
    db.prepare_cached(&format!("{SELECT} WHERE refunds.id = ?1"))?.query_row([id.0], refund_of).optional()
}

fn of_payment(db: &Connection, payment: HoldId) -> rusqlite::Result<Vec<Refund>> {
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE refunds.hold = ?1 ORDER BY refunds.turn"))?;
    statement.query_map([payment.0], refund_of)?.collect()
}

fn bids(db: &Connection, id: RefundId) -> rusqlite::Result<Vec<RefundBid>> {
    let mut statement = db.prepare_cached(
        "SELECT signer, sequence FROM refund_bids JOIN chain_txs ON hash = chain_tx WHERE refund = ?1",
    )?;
    let bid = |row: &Row<'_>| Ok(RefundBid { signer: Address::new(fixed(row, 0)?), sequence: unsigned(row, 1)? });
    statement.query_map([id.0], bid)?.collect()
}

/// What went out on a day, in millionths of a dollar.
fn spent(db: &Connection, day: u64) -> rusqlite::Result<u64> {
    let mut statement = db.prepare_cached("SELECT coalesce(sum(micros), 0) FROM refunds WHERE day = ?1")?;
    statement.query_row([signed(day)?], |row| unsigned(row, 0))
}

/// Takes a step on a refund within a batch. A violation is ours: it writes nothing and is logged.
fn advance(batch: &mut Batch<'_>, id: RefundId, step: RefundStep) -> rusqlite::Result<Option<Refund>> {
    let Some(refund) = by_id(batch.db, id)? else { return Ok(None) };
    let day = batch.now_ms / DAY_MS;
    let today = Today { day, spent_micros: spent(batch.db, day)? };
    match ledger::advance_refund(&refund, step, today) {
        Ok(None) => Ok(Some(refund)),
        Ok(Some(change)) => {
            update(batch.db, &change.refund)?;
            write_entries(batch, &change)?;
            Ok(Some(change.refund))
        }
        Err(violation) => {
            error!(refund = %id, %violation, "a step that must not happen was asked for");
            Ok(Some(refund))
        }
    }
}

fn write_entries(batch: &Batch<'_>, change: &RefundChange) -> rusqlite::Result<()> {
    change.entries.iter().try_for_each(|entry| rows::append(batch.db, entry, batch.now_ms))
}

/// A payment is owed back: what refunds of it have booked as owed is not owed twice.
pub(crate) fn less_refunded(db: &Connection, before: &Record, change: &mut Change) -> rusqlite::Result<()> {
    if change.record.refund_due && !before.refund_due {
        let refunds = of_payment(db, before.hold.id)?;
        let booked = refunds.iter().filter(|refund| refund.own_due).map(|refund| refund.amount_atomic);
        ledger::less_refunded(change, booked.fold(0, u128::saturating_add));
    }
    Ok(())
}

/// Whether a chain_tx may be signed for a refund: it was let out and has not moved. `None` where there is no refund of this name.
pub(crate) fn goes_on(db: &Connection, id: HoldId) -> rusqlite::Result<Option<bool>> {
    let refund = by_id(db, RefundId(id.0))?;
    Ok(refund.map(|refund| refund.day.is_some() && !matches!(refund.state, RefundState::Refunded { .. })))
}

/// Notes that a chain_tx was signed for a refund.
pub(crate) fn submit(batch: &mut Batch<'_>, id: HoldId, chain_tx: B256) -> rusqlite::Result<()> {
    advance(batch, RefundId(id.0), RefundStep::Submit(chain_tx)).map(drop)
}

/// Writes for which refund a chain_tx was signed. `false` where there is no refund of this name.
pub(crate) fn bid(db: &Connection, id: HoldId, chain_tx: B256) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO refund_bids (refund, chain_tx) SELECT id, ?2 FROM refunds WHERE id = ?1";
    Ok(db.prepare_cached(sql)?.execute(params![id.0, chain_tx.0])? > 0)
}

/// For which refunds a chain_tx was signed.
pub(crate) fn members(db: &Connection, chain_tx: B256) -> rusqlite::Result<Vec<HoldId>> {
    let mut statement = db.prepare_cached("SELECT refund FROM refund_bids WHERE chain_tx = ?1")?;
    statement.query_map([chain_tx.0], |row| fixed(row, 0).map(HoldId))?.collect()
}

fn insert(db: &Connection, refund: &Refund) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO refunds (id, hold, amount, micros, own_due, wallet, signature, seen_block, seen_hash, at_ms, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'due')",
    )?
    .execute(params![
        refund.id.0,
        refund.payment.0,
        refund.amount_atomic.to_be_bytes(),
        signed(refund.micros)?,
        refund.own_due,
        refund.signed.map(|signed| signed.wallet.0.0.0),
        refund.signed.as_ref().map(|signed| signed.signature.as_bytes()),
        signed(refund.seen.number)?,
        refund.seen.hash.0,
        signed(refund.at_ms)?,
    ])?;
    Ok(())
}

fn update(db: &Connection, refund: &Refund) -> rusqlite::Result<()> {
    let (state, chain_tx, block) = match refund.state {
        RefundState::Due => ("due", None, None),
        RefundState::Submitted(chain_tx) => ("submitted", Some(chain_tx), None),
        RefundState::Refunded { chain_tx, block } => ("refunded", Some(chain_tx), Some(signed(block)?)),
    };
    let day = refund.day.map(signed).transpose()?;
    db.prepare_cached(
        "UPDATE refunds SET day = ?2, state = ?3, problem = ?4, chain_tx = ?5, block = ?6 WHERE id = ?1",
    )?
    .execute(params![
        refund.id.0,
        day,
        state,
        refund.problem.map(RefundProblem::code),
        chain_tx.map(|hash| hash.0),
        block
    ])?;
    Ok(())
}

fn refund_of(row: &Row<'_>) -> rusqlite::Result<Refund> {
    let network = Network { chain_id: unsigned(row, 2)? };
    let asset = Asset { network, address: AssetAddress(Address::new(fixed(row, 3)?)) };
    let has = |at: usize| Ok::<_, rusqlite::Error>(row.get_ref(at)?.data_type() != rusqlite::types::Type::Null);
    let signed = if has(8)? {
        let signature: [u8; 65] = fixed(row, 9)?;
        let signature = Signature::from_bytes(&signature).ok_or_else(|| corrupt(9))?;
        Some(Signed { wallet: Payer(Address::new(fixed(row, 8)?)), signature })
    } else {
        None
    };
    let chain_tx = || optional(row, 16)?.ok_or_else(|| corrupt(16));
    let state = match row.get_ref(14)?.as_str()? {
        "due" => RefundState::Due,
        "submitted" => RefundState::Submitted(chain_tx()?),
        "refunded" => RefundState::Refunded { chain_tx: chain_tx()?, block: unsigned(row, 17)? },
        _ => return Err(corrupt(14)),
    };
    let problem = match row.get_ref(15)?.as_str_or_null()? {
        None => None,
        Some(word) => {
            let all = [RefundProblem::WalletEmpty, RefundProblem::DailyCap, RefundProblem::TokenRefuses];
            Some(all.into_iter().find(|problem| problem.code() == word).ok_or_else(|| corrupt(15))?)
        }
    };
    Ok(Refund {
        id: RefundId(fixed(row, 0)?),
        payment: HoldId(fixed(row, 1)?),
        asset,
        to: Payer(Address::new(fixed(row, 4)?)),
        amount_atomic: u128::from_be_bytes(fixed(row, 5)?),
        micros: unsigned(row, 6)?,
        own_due: row.get(7)?,
        signed,
        seen: BlockRef { number: unsigned(row, 10)?, hash: B256::new(fixed(row, 11)?) },
        at_ms: unsigned(row, 12)?,
        day: if has(13)? { Some(unsigned(row, 13)?) } else { None },
        state,
        problem,
    })
}
