//! Rows of the journal as records, and back.

use alloy_primitives::{Address, B256};
use ledger::{
    About, AnswerState, BlockRef, BurnReason, Entry, HANDED, Hold, HoldId, LossReason, Rail, Record, ReleaseReason,
    Side, Source, State,
};
use protocol::{Amount, Asset, AssetAddress, Authorization, ClaimKey, Network, Payee, Payer, Settled, Signature};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::purchases;

/// Every column of a hold, in the order that [`record`] reads.
pub(crate) const COLUMNS: &str = "id, network, asset, payer, nonce, payee, amount, valid_after_s, valid_before_s, signature, route, \
     fingerprint, idempotency, seen_block, seen_hash, opened_at_ms, state, reason, chain_tx, settled_block, answer, refund_due, late, \
     rail, source, exposure, settled_hash, reorgs, final, buys";

/// Reads a hold.
pub(crate) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let asset = Asset { network: network(row, 1)?, address: AssetAddress(address(row, 2)?) };
    let payer = Payer(address(row, 3)?);
    let amount_atomic = u128::from_be_bytes(fixed(row, 6)?);
    let signature: [u8; 65] = fixed(row, 9)?;
    let authorization = Authorization {
        key: ClaimKey { asset, payer, nonce: B256::new(fixed(row, 4)?) },
        payee: Payee(address(row, 5)?),
        amount_atomic,
        valid_after_s: unsigned(row, 7)?,
        valid_before_s: unsigned(row, 8)?,
        signature: Signature::from_bytes(&signature).ok_or_else(|| corrupt(9))?,
    };
    let hold = Hold {
        id: HoldId(fixed(row, 0)?),
        authorization,
        route: row.get(10)?,
        fingerprint: B256::new(fixed(row, 11)?),
        idempotency: optional(row, 12)?,
        seen: BlockRef { number: unsigned(row, 13)?, hash: B256::new(fixed(row, 14)?) },
        opened_at_ms: unsigned(row, 15)?,
        rail: if row.get_ref(23)?.as_str()? == "tab" { Rail::Tab } else { Rail::Direct },
        source: Source(fixed(row, 24)?),
        exposure_micros: unsigned(row, 25)?,
        buys: purchases::decode(row, 29)?,
    };
    let reason = row.get_ref(17)?.as_str_or_null()?;
    let state = match row.get_ref(16)?.as_str()? {
        "open" => State::Open,
        "answered" => State::Answered,
        "submitted" => State::Submitted(optional(row, 18)?.unwrap_or(HANDED)),
        "posted" => State::Posted(Settled {
            chain_tx: B256::new(fixed(row, 18)?),
            block: unsigned(row, 19)?,
            block_hash: optional(row, 26)?.unwrap_or_default(),
            amount: Amount::new(amount_atomic, asset),
            payer,
        }),
        "released" => State::Released(known(&RELEASES, reason)?),
        "burnt" => State::Burnt(known(&BURNS, reason)?),
        "lost" => State::Lost(known(&LOSSES, reason)?),
        _ => return Err(corrupt(16)),
    };
    let answer = match row.get_ref(20)?.as_str()? {
        "live" => AnswerState::Live,
        "pending" => AnswerState::Pending,
        "kept" => AnswerState::Kept,
        "delivered" => AnswerState::Delivered,
        "lost" => AnswerState::Lost,
        _ => return Err(corrupt(20)),
    };
    Ok(Record {
        hold,
        state,
        answer,
        refund_due: row.get(21)?,
        late: row.get(22)?,
        reorgs: row.get(27)?,
        is_final: row.get(28)?,
    })
}

/// The newest hold of a claim.
pub(crate) fn latest(db: &Connection, key: &ClaimKey) -> rusqlite::Result<Option<Record>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM holds WHERE payer = ?1 AND nonce = ?2 AND asset = ?3 AND network = ?4 ORDER BY turn DESC LIMIT 1"
    );
    let key = params![key.payer.0.0.0, key.nonce.0, key.asset.address.0.0.0, signed(key.asset.network.chain_id)?];
    db.prepare_cached(&sql)?.query_row(key, record).optional()
}

/// The newest claim of a hold's payer with its secret, but for those that were let go or burnt.
pub(crate) fn namesake(db: &Connection, hold: &Hold) -> rusqlite::Result<Option<Record>> {
    let Some(secret) = hold.idempotency else { return Ok(None) };
    let sql = format!(
        "SELECT {COLUMNS} FROM holds WHERE payer = ?1 AND idempotency = ?2 AND state NOT IN ('released', 'burnt') ORDER BY turn DESC LIMIT 1"
    );
    db.prepare_cached(&sql)?.query_row(params![hold.authorization.key.payer.0.0.0, secret.0], record).optional()
}

/// A hold by its name.
pub(crate) fn by_id(db: &Connection, id: HoldId) -> rusqlite::Result<Option<Record>> {
    let sql = format!("SELECT {COLUMNS} FROM holds WHERE id = ?1");
    db.prepare_cached(&sql)?.query_row([id.0], record).optional()
}

/// What a payer owes in an asset that his balance in block `seen` does not show: what is held, and what was settled after it.
pub(crate) fn unsettled(db: &Connection, key: &ClaimKey, seen: u64) -> rusqlite::Result<u128> {
    let who = params![key.payer.0.0.0, key.asset.address.0.0.0, signed(key.asset.network.chain_id)?, signed(seen)?];
    let mut held = db.prepare_cached(
        "SELECT amount FROM holds WHERE payer = ?1 AND asset = ?2 AND network = ?3 AND reason IS NULL AND settled_block IS NULL AND ?4 >= 0
         UNION ALL
         SELECT amount FROM holds WHERE payer = ?1 AND asset = ?2 AND network = ?3 AND state = 'posted' AND settled_block > ?4",
    )?;
    let mut sum = 0u128;
    for amount in held.query_map(who, |row| fixed::<16>(row, 0))? {
        sum = sum.saturating_add(u128::from_be_bytes(amount?));
    }
    Ok(sum)
}

/// Writes a new hold. `OR FAIL`, here and below: what a statement that fails has done is undone by the writer with all of its job, so
/// SQLite need not be ready to undo the statement alone.
pub(crate) fn insert(db: &Connection, record: &Record) -> rusqlite::Result<()> {
    let (hold, authorization) = (&record.hold, &record.hold.authorization);
    db.prepare_cached(
        "INSERT OR FAIL INTO holds (id, network, asset, payer, nonce, payee, amount, valid_after_s, valid_before_s, signature, route,
             fingerprint, idempotency, seen_block, seen_hash, opened_at_ms, rail, source, exposure, exposed, state, answer,
             refund_due, late, buys)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, 'open', 'live', 0, 0, ?21)",
    )?
    .execute(params![
        hold.id.0,
        signed(authorization.key.asset.network.chain_id)?,
        authorization.key.asset.address.0.0.0,
        authorization.key.payer.0.0.0,
        authorization.key.nonce.0,
        authorization.payee.0.0.0,
        authorization.amount_atomic.to_be_bytes(),
        signed(authorization.valid_after_s)?,
        signed(authorization.valid_before_s)?,
        authorization.signature.as_bytes(),
        hold.route,
        hold.fingerprint.0,
        hold.idempotency.map(|digest| digest.0),
        signed(hold.seen.number)?,
        hold.seen.hash.0,
        signed(hold.opened_at_ms)?,
        rail_word(hold.rail),
        hold.source.0,
        signed(hold.exposure_micros)?,
        signed(record.exposed_micros())?,
        hold.buys.as_ref().map(purchases::encode),
    ])?;
    Ok(())
}

/// Writes what has changed of a hold.
pub(crate) fn update(db: &Connection, before: &Record, record: &Record) -> rusqlite::Result<()> {
    if update_plain(db, before, record)? {
        return Ok(());
    }
    let (state, reason, chain_tx, block) = match record.state {
        State::Open => ("open", None, None, None),
        State::Answered => ("answered", None, None, None),
        State::Submitted(chain_tx) => ("submitted", None, ledger::told(chain_tx), None),
        State::Posted(settled) => ("posted", None, Some(settled.chain_tx), Some(signed(settled.block)?)),
        State::Released(reason) => ("released", Some(word(&RELEASES, reason)), None, None),
        State::Burnt(reason) => ("burnt", Some(word(&BURNS, reason)), None, None),
        State::Lost(reason) => ("lost", Some(word(&LOSSES, reason)), None, None),
    };
    let answer = answer_word(record.answer);
    // A facilitator's word names no block.
    let block_hash = match record.state {
        State::Posted(settled) if settled.block_hash != B256::ZERO => Some(settled.block_hash.0),
        _ => None,
    };
    db.prepare_cached(
        "UPDATE holds SET state = ?2, reason = ?3, chain_tx = coalesce(?4, chain_tx), settled_block = ?5, answer = ?6,
             refund_due = ?7, late = ?8, exposed = ?9, settled_hash = ?10, reorgs = ?11 WHERE id = ?1",
    )?
    .execute(params![
        record.hold.id.0,
        state,
        reason,
        chain_tx.map(|hash| hash.0),
        block,
        answer,
        record.refund_due,
        record.late,
        signed(record.exposed_micros())?,
        block_hash,
        record.reorgs,
    ])?;
    Ok(())
}

/// Writes the steps that every call on the tab takes, which end nothing: SQLite then leaves the indexes of the other columns alone.
/// `false` when it is none of them.
fn update_plain(db: &Connection, before: &Record, record: &Record) -> rusqlite::Result<bool> {
    let rest = |record: &Record| (record.refund_due, record.late, record.exposed_micros());
    let state = match (before.state, record.state) {
        _ if rest(before) != rest(record) => return Ok(false),
        (State::Open, State::Answered) => Some("answered"),
        (before, after) if before == after => None,
        _ => return Ok(false),
    };
    let (id, answer) = (record.hold.id.0, (before.answer != record.answer).then(|| answer_word(record.answer)));
    match (state, answer) {
        (Some(state), Some(answer)) => {
            let sql = "UPDATE OR FAIL holds SET state = ?2, answer = ?3 WHERE id = ?1";
            db.prepare_cached(sql)?.execute(params![id, state, answer])?;
        }
        (Some(state), None) => {
            db.prepare_cached("UPDATE OR FAIL holds SET state = ?2 WHERE id = ?1")?.execute(params![id, state])?;
        }
        (None, Some(answer)) => {
            db.prepare_cached("UPDATE OR FAIL holds SET answer = ?2 WHERE id = ?1")?.execute(params![id, answer])?;
        }
        (None, None) => {}
    }
    Ok(true)
}

const fn answer_word(answer: AnswerState) -> &'static str {
    match answer {
        AnswerState::Live => "live",
        AnswerState::Pending => "pending",
        AnswerState::Kept => "kept",
        AnswerState::Delivered => "delivered",
        AnswerState::Lost => "lost",
    }
}

/// Appends an entry with its lines.
pub(crate) fn append(db: &Connection, entry: &Entry, at_ms: u64) -> rusqlite::Result<()> {
    let (mut hold, mut chain_tx, mut charge, mut grant) = (None, None, None, None);
    match entry.about {
        About::Hold(id) => hold = Some(id.0),
        About::ChainTx(hash) => chain_tx = Some(hash.0),
        About::Charge(id) => charge = Some(id.0),
        About::Grant(id) => grant = Some(id.0),
    }
    db.prepare_cached(
        "INSERT INTO entries (hold, chain_tx, charge, grant_id, kind, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![hold, chain_tx, charge, grant, entry.kind.code(), signed(at_ms)?])?;
    let id = db.last_insert_rowid();
    for line in entry.lines {
        let side = match line.side {
            Side::Debit => "debit",
            Side::Credit => "credit",
        };
        db.prepare_cached(
            "INSERT INTO lines (entry, account, side, network, asset, amount) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            id,
            line.account.to_string(),
            side,
            signed(line.amount.asset.network.chain_id)?,
            line.amount.asset.address.0.0.0,
            line.amount.atomic.to_be_bytes(),
        ])?;
    }
    Ok(())
}

const RELEASES: [(&str, ReleaseReason); 3] = [
    ("not_sent", ReleaseReason::NotSent),
    ("free_status", ReleaseReason::FreeStatus),
    ("expired", ReleaseReason::Expired),
];
const BURNS: [(&str, BurnReason); 5] = [
    ("unanswered", BurnReason::Unanswered),
    ("interrupted", BurnReason::Interrupted),
    ("settlement_refused", BurnReason::SettlementRefused),
    ("foreign_transfer", BurnReason::ForeignTransfer),
    ("broken", BurnReason::Broken),
];
const LOSSES: [(&str, LossReason); 5] = [
    ("emptied", LossReason::Emptied),
    ("gone", LossReason::Gone),
    ("failed", LossReason::Failed),
    ("expired", LossReason::Expired),
    ("reorged", LossReason::Reorged),
];

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], reason: T) -> &'static str {
    words.iter().find(|(_, known)| *known == reason).map_or("", |(word, _)| word)
}

/// Why a charge was let go or burnt, in the words that holds have for it.
pub(crate) fn release_word(reason: ReleaseReason) -> &'static str {
    RELEASES.iter().find(|(_, known)| *known == reason).map_or("", |(word, _)| word)
}

pub(crate) fn burn_word(reason: BurnReason) -> &'static str {
    BURNS.iter().find(|(_, known)| *known == reason).map_or("", |(word, _)| word)
}

pub(crate) fn release_of(word: Option<&str>) -> rusqlite::Result<ReleaseReason> {
    known(&RELEASES, word)
}

pub(crate) fn burn_of(word: Option<&str>) -> rusqlite::Result<BurnReason> {
    known(&BURNS, word)
}

fn known<T: Copy>(words: &[(&'static str, T)], word: Option<&str>) -> rusqlite::Result<T> {
    let found = words.iter().find(|(known, _)| Some(*known) == word);
    found.map(|(_, reason)| *reason).ok_or_else(|| corrupt(17))
}

const fn rail_word(rail: Rail) -> &'static str {
    match rail {
        Rail::Direct => "direct",
        Rail::Tab => "tab",
    }
}

/// SQLite integers are signed; what does not fit is no time, block or chain id.
pub(crate) fn signed(number: u64) -> rusqlite::Result<i64> {
    i64::try_from(number).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

pub(crate) fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(at)?).map_err(|_| corrupt(at))
}

pub(crate) fn fixed<const N: usize>(row: &Row<'_>, at: usize) -> rusqlite::Result<[u8; N]> {
    row.get_ref(at)?.as_blob()?.try_into().map_err(|_| corrupt(at))
}

pub(crate) fn optional(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<B256>> {
    if row.get_ref(at)?.data_type() == Type::Null { Ok(None) } else { fixed(row, at).map(B256::new).map(Some) }
}

fn address(row: &Row<'_>, at: usize) -> rusqlite::Result<Address> {
    fixed(row, at).map(Address::new)
}

fn network(row: &Row<'_>, at: usize) -> rusqlite::Result<Network> {
    unsigned(row, at).map(|chain_id| Network { chain_id })
}

/// A row that this version never wrote.
pub(crate) fn corrupt(at: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Blob, "not what this column holds".into())
}
