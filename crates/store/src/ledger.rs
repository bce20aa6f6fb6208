//! The journal as an auditor reads it: without the lock, on one snapshot, while a gate may be writing.
//!
//! Rows are given as they are written. What must hold between them is for the reader to find out, so nothing is left out here that
//! looks wrong.

use std::collections::BTreeMap;
use std::path::Path;

use alloy_primitives::{Address, B256};
use ledger::{About, GrantId, HoldId, Record, Side};
use protocol::{Asset, AssetAddress, ClaimKey, Network, Payee, Payer};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::{APPLICATION, OpenFault, SCHEMA, configure, rows};

/// The journal cannot be read, or holds a row that no version of this program writes.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read")]
pub struct ReadFault(#[from] rusqlite::Error);

type Read<T> = Result<T, ReadFault>;

/// A journal that is open for reading, at one moment: everything that is read of it belongs together.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) db: Connection,
}

/// A hold as it stands, with what only the journal knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its place in the order of all claims.
    pub turn: u64,
    /// The hold and what became of it.
    pub record: Record,
    /// What the journal counts for it on the tab, in millionths of a dollar.
    pub exposed_micros: u64,
    /// Whether it ended without money and was looked at after its time.
    pub watched: bool,
    /// Posted: where the money moved. Otherwise the newest that was signed for it, if any.
    pub chain_tx: Option<B256>,
}

/// An entry with its lines in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Its number. Numbers have no gaps.
    pub id: u64,
    /// What it belongs to.
    pub about: About,
    /// Why it was written.
    pub kind: String,
    /// When.
    pub at_ms: u64,
    /// Its lines: two, if nobody tampered with them.
    pub lines: Vec<LineRow>,
}

/// One side of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRow {
    /// Where.
    pub account: String,
    /// Which side.
    pub side: Side,
    /// Of what.
    pub asset: Asset,
    /// How much, in atomic units.
    pub amount_atomic: u128,
}

/// What became of a chain_tx, as far as the journal knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in a block.
    Mined {
        /// Which.
        block: u64,
        /// What it cost.
        fee_wei: u128,
    },
    /// Another one has its sequence.
    Outbid,
}

/// A chain_tx that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainTxRow {
    /// Its hash.
    pub hash: B256,
    /// Its chain.
    pub network: Network,
    /// Who signed it.
    pub signer: Address,
    /// The signer's transaction counter.
    pub sequence: u64,
    /// When it was signed.
    pub at_ms: u64,
    /// `None` while it is not known.
    pub fate: Option<Fate>,
}

/// A seal as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealRow {
    /// Its number. Numbers have no gaps.
    pub id: u64,
    /// The first entry that it covers.
    pub first_entry: u64,
    /// The last one.
    pub last_entry: u64,
    /// The digest that was signed.
    pub hash: B256,
    /// Who signed it.
    pub signer: Address,
    /// The signature's bytes.
    pub signature: Vec<u8>,
    /// When.
    pub at_ms: u64,
}

/// A sum of what is on the tab: as the journal keeps it, and as its holds add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TabSum {
    /// `payer`, `source` or `gate`.
    pub scope: String,
    /// Whose; empty for the gate.
    pub who: Vec<u8>,
    /// What is kept.
    pub kept_micros: u64,
    /// What the holds come to.
    pub held_micros: u64,
}

/// What has been claimed and has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// How many payments.
    pub payments: u64,
    /// When the oldest of them was claimed.
    pub oldest_at_ms: Option<u64>,
    /// What the gate has on the tab, in millionths of a dollar.
    pub exposed_micros: u64,
}

/// What a network has in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Which.
    pub network: Network,
    /// How many holds.
    pub holds: u64,
    /// The lowest block that one of them was admitted at.
    pub first_block: u64,
    /// What they are in.
    pub assets: Vec<AssetAddress>,
    /// Whom they pay.
    pub payees: Vec<Payee>,
    /// The hash of the chain's first block, where a gate has run on it.
    pub genesis: Option<B256>,
}

/// The account of an asset: what came to it and what left it, in atomic units.
pub type Balances = BTreeMap<(Asset, String), (u128, u128)>;

/// How many holds are in a state, and their amounts.
pub type Totals = BTreeMap<(Asset, String), (u64, u128)>;

/// One page of what is read page by page.
pub const PAGE: u64 = 1_000;

impl Ledger {
    /// Opens a journal at this moment. Takes no lock and writes nothing; a gate may go on meanwhile.
    ///
    /// # Errors
    /// [`OpenFault`] when there is no journal of this version at `path`.
    pub fn open(path: &Path) -> Result<Self, OpenFault> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        configure(&db)?;
        let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if application != APPLICATION {
            return Err(OpenFault::Foreign);
        }
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != SCHEMA {
            return Err(OpenFault::Schema { found });
        }
        db.execute_batch("BEGIN")?;
        // A db_tx sees the journal as it is at its first read, which is this one.
        db.query_row("SELECT count(*) FROM about", [], |_| Ok(()))?;
        Ok(Self { db })
    }

    /// The networks that have holds.
    ///
    /// # Errors
    /// [`ReadFault`], as everywhere here.
    pub fn networks(&self) -> Read<Vec<Presence>> {
        let sql = "SELECT network, count(*), min(seen_block) FROM holds GROUP BY network ORDER BY network";
        let mut statement = self.db.prepare(sql)?;
        let found = statement.query_map([], |row| {
            let network = Network { chain_id: rows::unsigned(row, 0)? };
            Ok((network, rows::unsigned(row, 1)?, rows::unsigned(row, 2)?))
        })?;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        found.into_iter().map(|(network, holds, first_block)| self.presence(network, holds, first_block)).collect()
    }

    fn presence(&self, network: Network, holds: u64, first_block: u64) -> Read<Presence> {
        let chain_id = rows::signed(network.chain_id)?;
        let distinct = |column: &str| -> Read<Vec<Address>> {
            let sql = format!("SELECT DISTINCT {column} FROM holds WHERE network = ?1 ORDER BY {column}");
            let mut statement = self.db.prepare(&sql)?;
            let found = statement.query_map([chain_id], |row| rows::fixed(row, 0).map(Address::new))?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        };
        let assets = distinct("asset")?.into_iter().map(AssetAddress).collect();
        let payees = distinct("payee")?.into_iter().map(Payee).collect();
        Ok(Presence { network, holds, first_block, assets, payees, genesis: self.genesis(network)? })
    }

    /// The hash of the first block of the chain that the journal is bound to.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn genesis(&self, network: Network) -> Read<Option<B256>> {
        let name = format!("genesis {network}");
        let value = self.db.query_row("SELECT value FROM about WHERE name = ?1", [name], |row| rows::fixed(row, 0));
        Ok(value.optional()?.map(B256::new))
    }

    /// The holds behind a turn, at most [`PAGE`], in the order of their claims.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn payments(&self, after_turn: u64) -> Read<Vec<Payment>> {
        self.holds("turn > ?1 ORDER BY turn LIMIT ?2", params![rows::signed(after_turn)?, rows::signed(PAGE)?])
    }

    /// The payment of this id.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn payment(&self, id: HoldId) -> Read<Option<Payment>> {
        Ok(self.holds("id = ?1", params![id.0])?.pop())
    }

    /// Every hold of a claim, oldest first. A released claim may have been won again.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn payments_of_claim(&self, key: &ClaimKey) -> Read<Vec<Payment>> {
        let values =
            params![key.payer.0.0.0, key.nonce.0, key.asset.address.0.0.0, rows::signed(key.asset.network.chain_id)?];
        self.holds("payer = ?1 AND nonce = ?2 AND asset = ?3 AND network = ?4 ORDER BY turn", values)
    }

    /// Every hold of an authorization with this nonce, whoever signed it.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn payments_of_nonce(&self, nonce: B256) -> Read<Vec<Payment>> {
        self.holds("nonce = ?1 ORDER BY turn", params![nonce.0])
    }

    /// Every hold that a chain_tx was signed for, settled or gave back.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn payments_of_chain_tx(&self, hash: B256) -> Read<Vec<Payment>> {
        let which = "chain_tx = ?1 OR id IN (SELECT hold FROM bids WHERE bids.chain_tx = ?1)
                     OR id IN (SELECT hold FROM refunds WHERE refunds.chain_tx = ?1
                         OR refunds.id IN (SELECT refund FROM refund_bids WHERE refund_bids.chain_tx = ?1))
                     ORDER BY turn";
        self.holds(which, params![hash.0])
    }

    fn holds(&self, which: &str, values: &[&dyn rusqlite::ToSql]) -> Read<Vec<Payment>> {
        let sql = format!("SELECT {}, turn, exposed, watched FROM holds WHERE {which}", rows::COLUMNS);
        let mut statement = self.db.prepare_cached(&sql)?;
        Ok(statement.query_map(values, payment)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The entries behind one, at most [`PAGE`], in order.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn entries(&self, after_id: u64) -> Read<Vec<EntryRow>> {
        Ok(entries_behind(&self.db, after_id, PAGE)?)
    }

    /// The entries of a payment or a chain_tx.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn entries_of(&self, about: About) -> Read<Vec<EntryRow>> {
        let (column, key) = match &about {
            About::Hold(id) => ("hold", id.0.as_slice()),
            About::ChainTx(hash) => ("chain_tx", hash.as_slice()),
            About::Charge(id) => ("charge", id.0.as_slice()),
            About::Grant(id) => ("grant_id", id.0.as_slice()),
        };
        let sql = format!("SELECT {ENTRY} FROM entries WHERE {column} = ?1 ORDER BY id");
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut entries = statement.query_map([key], entry)?.collect::<rusqlite::Result<Vec<_>>>()?;
        for entry in &mut entries {
            entry.lines = lines_of(&self.db, entry.id)?;
        }
        Ok(entries)
    }

    /// Entries that are not there though lines of theirs are, and entries about a payment or a chain_tx that is not there; each with
    /// what is missing.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn orphans(&self) -> Read<Vec<(u64, String)>> {
        let sql = "SELECT DISTINCT entry AS id, 'entry' FROM lines WHERE entry NOT IN (SELECT id FROM entries)
                   UNION SELECT id, 'payment' FROM entries WHERE hold IS NOT NULL AND hold NOT IN (SELECT id FROM holds)
                   UNION SELECT id, 'transaction' FROM entries
                       WHERE chain_tx IS NOT NULL AND chain_tx NOT IN (SELECT hash FROM chain_txs)
                   UNION SELECT id, 'charge' FROM entries WHERE charge IS NOT NULL AND charge NOT IN (SELECT id FROM charges)
                   UNION SELECT id, 'grant' FROM entries WHERE grant_id IS NOT NULL AND grant_id NOT IN (SELECT id FROM grants)
                   ORDER BY id";
        let mut statement = self.db.prepare(sql)?;
        let orphans = statement.query_map([], |row| Ok((rows::unsigned(row, 0)?, row.get(1)?)))?;
        Ok(orphans.collect::<rusqlite::Result<_>>()?)
    }

    /// Payments whose authorization moved money for an earlier payment as well, by the books. It can move once.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn booked_twice(&self) -> Read<Vec<HoldId>> {
        let sql = "SELECT id FROM holds WHERE (state = 'posted' OR late = 1) AND EXISTS (
                       SELECT 1 FROM holds AS earlier
                       WHERE earlier.payer = holds.payer AND earlier.nonce = holds.nonce AND earlier.turn < holds.turn
                           AND earlier.asset = holds.asset AND earlier.network = holds.network
                           AND (earlier.state = 'posted' OR earlier.late = 1))
                   ORDER BY turn";
        let mut statement = self.db.prepare(sql)?;
        let twice = statement.query_map([], |row| rows::fixed(row, 0).map(HoldId))?;
        Ok(twice.collect::<rusqlite::Result<_>>()?)
    }

    /// Every chain_tx that was signed, by network, signer and sequence; of several with one sequence the oldest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn chain_txs(&self) -> Read<Vec<ChainTxRow>> {
        self.signed("1 ORDER BY network, signer, sequence, rowid", params![])
    }

    /// The chain_txs that were signed for a hold and its refunds, oldest first.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn chain_txs_of(&self, hold: HoldId) -> Read<Vec<ChainTxRow>> {
        let which = "hash IN (SELECT chain_tx FROM bids WHERE hold = ?1
                         UNION SELECT refund_bids.chain_tx FROM refund_bids JOIN refunds ON id = refund WHERE hold = ?1)
                     ORDER BY rowid";
        self.signed(which, params![hold.0])
    }

    /// A chain_tx of ours.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn chain_tx(&self, hash: B256) -> Read<Option<ChainTxRow>> {
        Ok(self.signed("hash = ?1", params![hash.0])?.pop())
    }

    fn signed(&self, which: &str, values: &[&dyn rusqlite::ToSql]) -> Read<Vec<ChainTxRow>> {
        let sql =
            format!("SELECT hash, network, signer, sequence, at_ms, fate, block, fee FROM chain_txs WHERE {which}");
        let mut statement = self.db.prepare_cached(&sql)?;
        Ok(statement.query_map(values, chain_tx)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Every seal, in order.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn seals(&self) -> Read<Vec<SealRow>> {
        let sql = "SELECT id, first_entry, last_entry, hash, signer, signature, at_ms FROM seals ORDER BY id";
        let mut statement = self.db.prepare(sql)?;
        let seal = |row: &Row<'_>| {
            Ok(SealRow {
                id: rows::unsigned(row, 0)?,
                first_entry: rows::unsigned(row, 1)?,
                last_entry: rows::unsigned(row, 2)?,
                hash: B256::new(rows::fixed(row, 3)?),
                signer: Address::new(rows::fixed(row, 4)?),
                signature: row.get(5)?,
                at_ms: rows::unsigned(row, 6)?,
            })
        };
        Ok(statement.query_map([], seal)?.collect::<rusqlite::Result<_>>()?)
    }

    /// What is on the tab, by payer, source and for the gate: as it is kept, and as the holds add up.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn tab_sums(&self) -> Read<Vec<TabSum>> {
        let sql = "WITH open AS (SELECT payer, source, exposure FROM holds
                       WHERE rail = 'tab' AND reason IS NULL AND settled_block IS NULL),
                   parts AS (
                       SELECT scope, who, micros AS kept, 0 AS held FROM tabs
                       UNION ALL SELECT 'payer', payer, 0, exposure FROM open
                       UNION ALL SELECT 'source', source, 0, exposure FROM open
                       UNION ALL SELECT 'gate', x'', 0, exposure FROM open)
                   SELECT scope, who, sum(kept), sum(held) FROM parts GROUP BY scope, who ORDER BY scope, who";
        let mut statement = self.db.prepare(sql)?;
        let sum = |row: &Row<'_>| {
            Ok(TabSum {
                scope: row.get(0)?,
                who: row.get(1)?,
                kept_micros: rows::unsigned(row, 2)?,
                held_micros: rows::unsigned(row, 3)?,
            })
        };
        Ok(statement.query_map([], sum)?.collect::<rusqlite::Result<_>>()?)
    }

    /// What is on the tab of the payers who have most on it, in millionths of a dollar, and how many payments that is.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn tab_by_payer(&self, most: u32) -> Read<Vec<(Payer, u64, u64)>> {
        let sql = "SELECT payer, sum(exposed), count(*) FROM holds
                   WHERE exposed <> 0 AND reason IS NULL AND settled_block IS NULL
                   GROUP BY payer ORDER BY sum(exposed) DESC, payer LIMIT ?1";
        let mut statement = self.db.prepare(sql)?;
        let payer = |row: &Row<'_>| {
            Ok((Payer(Address::new(rows::fixed(row, 0)?)), rows::unsigned(row, 1)?, rows::unsigned(row, 2)?))
        };
        Ok(statement.query_map([most], payer)?.collect::<rusqlite::Result<_>>()?)
    }

    /// What has not ended, summed up. Reads an index, not the table.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn unsettled(&self) -> Read<Unsettled> {
        let sql = "SELECT count(*), min(opened_at_ms), (SELECT coalesce(sum(micros), 0) FROM tabs WHERE scope = 'gate')
                   FROM holds WHERE reason IS NULL AND settled_block IS NULL";
        Ok(self.db.query_row(sql, [], |row| {
            let oldest_at_ms = row.get::<_, Option<i64>>(1)?.map(|_| rows::unsigned(row, 1)).transpose()?;
            Ok(Unsettled { payments: rows::unsigned(row, 0)?, oldest_at_ms, exposed_micros: rows::unsigned(row, 2)? })
        })?)
    }

    /// The number of the newest entry; 0 where there is none.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn last_entry(&self) -> Read<u64> {
        Ok(self.db.query_row("SELECT coalesce(max(id), 0) FROM entries", [], |row| rows::unsigned(row, 0))?)
    }

    /// What came to every account and what left it, in each asset.
    ///
    /// # Errors
    /// [`ReadFault`], also where a sum does not fit.
    pub fn balances(&self) -> Read<Balances> {
        let mut statement = self.db.prepare("SELECT account, side, network, asset, amount FROM lines")?;
        let mut balances = Balances::new();
        for line in statement.query_map([], |row| line(row, 0))? {
            let line = line?;
            let (credit, debit) = balances.entry((line.asset, line.account)).or_default();
            let sum = if line.side == Side::Credit { credit } else { debit };
            *sum = sum.checked_add(line.amount_atomic).ok_or_else(|| rows::corrupt(4))?;
        }
        Ok(balances)
    }

    /// How many holds are in each state, and what they are about.
    ///
    /// # Errors
    /// [`ReadFault`], also where a sum does not fit.
    pub fn totals(&self) -> Read<Totals> {
        let mut statement = self.db.prepare("SELECT state, network, asset, amount FROM holds")?;
        let mut totals = Totals::new();
        let hold =
            |row: &Row<'_>| Ok((row.get::<_, String>(0)?, asset(row, 1)?, u128::from_be_bytes(rows::fixed(row, 3)?)));
        for hold in statement.query_map([], hold)? {
            let (state, asset, amount) = hold?;
            let (count, sum) = totals.entry((asset, state)).or_default();
            *count += 1;
            *sum = sum.checked_add(amount).ok_or_else(|| rows::corrupt(3))?;
        }
        Ok(totals)
    }
}

/// The entries behind one, at most `most`, with their lines.
pub(crate) fn entries_behind(db: &Connection, after_id: u64, most: u64) -> rusqlite::Result<Vec<EntryRow>> {
    let sql = format!("SELECT {ENTRY} FROM entries WHERE id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = db.prepare_cached(&sql)?;
    let values = params![rows::signed(after_id)?, rows::signed(most)?];
    let mut entries = statement.query_map(values, entry)?.collect::<rusqlite::Result<Vec<_>>>()?;
    for entry in &mut entries {
        entry.lines = lines_of(db, entry.id)?;
    }
    Ok(entries)
}

fn lines_of(db: &Connection, entry: u64) -> rusqlite::Result<Vec<LineRow>> {
    let sql = "SELECT account, side, network, asset, amount FROM lines WHERE entry = ?1 ORDER BY rowid";
    db.prepare_cached(sql)?.query_map([rows::signed(entry)?], |row| line(row, 0))?.collect()
}

fn payment(row: &Row<'_>) -> rusqlite::Result<Payment> {
    Ok(Payment {
        record: rows::record(row)?,
        chain_tx: rows::optional(row, 18)?,
        turn: rows::unsigned(row, 30)?,
        exposed_micros: rows::unsigned(row, 31)?,
        watched: row.get(32)?,
    })
}

const ENTRY: &str = "id, hold, chain_tx, kind, at_ms, charge, grant_id";

fn entry(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
    let charge: Option<[u8; 16]> = row.get(5)?;
    let grant: Option<[u8; 16]> = row.get(6)?;
    let about = match (rows::optional(row, 2)?, charge, grant) {
        (Some(hash), _, _) => About::ChainTx(hash),
        (None, Some(id), _) => About::Charge(HoldId(id)),
        (None, None, Some(id)) => About::Grant(GrantId(id)),
        (None, None, None) => About::Hold(HoldId(rows::fixed(row, 1)?)),
    };
    Ok(EntryRow {
        id: rows::unsigned(row, 0)?,
        about,
        kind: row.get(3)?,
        at_ms: rows::unsigned(row, 4)?,
        lines: Vec::new(),
    })
}

fn line(row: &Row<'_>, from: usize) -> rusqlite::Result<LineRow> {
    let side = match row.get::<_, String>(from + 1)?.as_str() {
        "debit" => Side::Debit,
        "credit" => Side::Credit,
        _ => return Err(rows::corrupt(from + 1)),
    };
    Ok(LineRow {
        account: row.get(from)?,
        side,
        asset: asset(row, from + 2)?,
        amount_atomic: u128::from_be_bytes(rows::fixed(row, from + 4)?),
    })
}

/// The asset in two columns: chain id and contract.
fn asset(row: &Row<'_>, from: usize) -> rusqlite::Result<Asset> {
    let network = Network { chain_id: rows::unsigned(row, from)? };
    Ok(Asset { network, address: AssetAddress(Address::new(rows::fixed(row, from + 1)?)) })
}

fn chain_tx(row: &Row<'_>) -> rusqlite::Result<ChainTxRow> {
    let fate = match row.get::<_, Option<String>>(5)?.as_deref() {
        None => None,
        Some("mined") => {
            Some(Fate::Mined { block: rows::unsigned(row, 6)?, fee_wei: u128::from_be_bytes(rows::fixed(row, 7)?) })
        }
        Some("outbid") => Some(Fate::Outbid),
        Some(_) => return Err(rows::corrupt(5)),
    };
    Ok(ChainTxRow {
        hash: B256::new(rows::fixed(row, 0)?),
        network: Network { chain_id: rows::unsigned(row, 1)? },
        signer: Address::new(rows::fixed(row, 2)?),
        sequence: rows::unsigned(row, 3)?,
        at_ms: rows::unsigned(row, 4)?,
        fate,
    })
}
