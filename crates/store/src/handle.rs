//! The journal as the gate sees it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use facilitator::point::Act;
use gate::{Answer, Fault, FaultKind, Journal, Standing, Until};
use ledger::{Change, Exposure, Funds, Hold, HoldId, Record, Reservation, State, Step, Violation};
use protocol::{ClaimKey, Payer};
use rusqlite::{Connection, OptionalExtension, params};
use tracing::{error, warn};

use crate::known::Known;
use crate::writer::{Batch, Writer};
use crate::{refunds, rows};

/// A thread's way to the journal: writes go to the writer, reads to a connection of its own. Cheap to clone within its thread.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) writer: Writer,
    reader: Rc<RefCell<Connection>>,
    pub(crate) known: Arc<Known>,
}

impl Handle {
    pub(crate) fn new(writer: Writer, reader: Connection, known: Arc<Known>) -> Self {
        Self { writer, reader: Rc::new(RefCell::new(reader)), known }
    }

    /// Reads on a snapshot. Short: it runs on the caller's thread.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        query(&self.reader.borrow()).map_err(|error| {
            error!(%error, "the journal cannot be read");
            Fault::untouched(FaultKind::Journal)
        })
    }
}

/// The hold after a step, or none if there is no such hold.
pub(crate) type Advanced = Result<Option<Record>, Violation>;

/// Takes a step on a hold within a batch. A violation writes nothing.
pub(crate) fn advance(batch: &mut Batch<'_>, hold: HoldId, step: Step) -> rusqlite::Result<Advanced> {
    let running = batch.running.get(&hold).cloned();
    let Some(record) = running.map_or_else(|| rows::by_id(batch.db, hold), |record| Ok(Some(record)))? else {
        return Ok(Ok(None));
    };
    match ledger::advance(&record, step) {
        Ok(None) => Ok(Ok(Some(record))),
        Ok(Some(mut change)) => {
            refunds::less_refunded(batch.db, &record, &mut change)?;
            batch.write(&record, &change)?;
            if let (State::Lost(reason), false) = (change.record.state, record.state.ended()) {
                let authorization = &record.hold.authorization;
                warn!(%hold, route = record.hold.route, payer = %authorization.key.payer, ?reason,
                    amount_atomic = authorization.amount_atomic, "a call was served and cannot be collected: it is a loss");
            }
            if let (State::Posted(settled), State::Submitted(_)) = (record.state, change.record.state) {
                warn!(%hold, chain_tx = %settled.chain_tx, block = settled.block,
                    "a reorg took the money of a payment out of the chain: it is submitted again");
            }
            Ok(Ok(Some(change.record)))
        }
        Err(violation) => Ok(Err(violation)),
    }
}

/// The fault points of a step.
pub(crate) const fn act(step: &Step) -> Act {
    match step {
        Step::Answer => Act::Answer,
        Step::Deliver => Act::Deliver,
        // A lane submits with the signed bytes, not by itself.
        Step::Submit(_) => Act::HandOver,
        Step::Post(_) => Act::Post,
        Step::Arrive(_) => Act::Arrive,
        Step::Unsettle(_) => Act::Unsettle,
        Step::Release(_) => Act::Release,
        Step::Burn(_) => Act::Burn,
        Step::Refuse(_) => Act::Refuse,
        Step::Expire => Act::Expire,
        Step::Pend => Act::Pend,
        Step::KeepAnswer => Act::KeepAnswer,
        Step::TakeBack => Act::TakeBack,
        Step::LoseAnswer => Act::LoseAnswer,
    }
}

/// A violation is ours: it is logged, and nobody repeats it.
fn allowed<T>(hold: HoldId, outcome: Result<T, Violation>) -> Result<T, Fault> {
    outcome.map_err(|violation| {
        error!(%hold, %violation, "a step that must not happen was asked for");
        Fault::untouched(FaultKind::Invariant)
    })
}

impl Journal for Handle {
    async fn recall(&self, key: &ClaimKey) -> Result<Option<Record>, Fault> {
        if self.known.is_unclaimed(key) {
            return Ok(None);
        }
        self.read(|db| rows::latest(db, key))
    }

    async fn reserve(&self, hold: Hold, balance_atomic: Option<u128>, caps: Exposure) -> Result<Reservation, Fault> {
        let reserve = move |batch: &mut Batch<'_>| {
            let key = hold.authorization.key;
            let latest = if batch.known.is_unclaimed(&key) { None } else { rows::latest(batch.db, &key)? };
            // Without a balance there is nothing to measure what is owed by, and a payer may owe for thousands of calls.
            let unsettled = |_| rows::unsettled(batch.db, &key, hold.seen.number);
            let funds = Funds {
                balance_atomic,
                unsettled_atomic: balance_atomic.map_or(Ok(0), unsettled)?,
                exposed: batch.tabs.exposed(batch.db, &hold)?,
                caps,
            };
            let namesake = rows::namesake(batch.db, &hold)?;
            let reservation = ledger::reserve(latest, namesake, hold.clone(), &funds);
            if let Reservation::Won(Change { record, .. }) = &reservation {
                batch.known.claimed(&key);
                batch.open(record)?;
            }
            Ok(reservation)
        };
        self.writer.run(&[Act::Claim], reserve).await
    }

    async fn advance(&self, hold: HoldId, step: Step) -> Result<Option<Record>, Fault> {
        allowed(hold, self.writer.run(&[act(&step)], move |batch| advance(batch, hold, step)).await?)
    }

    async fn wait(&self, key: &ClaimKey, until: Until, wait_ms: u64) -> Result<Option<Record>, Fault> {
        match tokio::time::timeout(Duration::from_millis(wait_ms), self.writer.wait(*key, until)).await {
            Ok(Err(fault)) => Err(fault),
            Ok(Ok(())) | Err(_) => self.recall(key).await,
        }
    }

    async fn pend(&self, hold: HoldId, pickup: B256) -> Result<(), Fault> {
        let pend = move |batch: &mut Batch<'_>| {
            if let Err(violation) = advance(batch, hold, Step::Pend)? {
                return Ok(Err(violation));
            }
            batch
                .db
                .prepare_cached("UPDATE holds SET pickup = ?2 WHERE id = ?1")?
                .execute(params![hold.0, pickup.0])?;
            Ok(Ok(()))
        };
        allowed(hold, self.writer.run(&[Act::Pend], pend).await?)
    }

    async fn keep_answer(&self, hold: HoldId, answer: Answer) -> Result<bool, Fault> {
        allowed(hold, self.writer.run(&[Act::KeepAnswer], move |batch| keep(batch, hold, &answer)).await?)
    }

    async fn standing(&self, payer: Payer) -> Result<Standing, Fault> {
        // What expired did so by our delay. What a stranger landed may be his own doing. Each term is that of an index.
        let sql = "SELECT EXISTS (SELECT 1 FROM holds WHERE payer = ?1 AND state = 'posted'),
                          EXISTS (SELECT 1 FROM holds WHERE payer = ?1 AND state = 'lost' AND reason <> 'expired')
                              OR EXISTS (SELECT 1 FROM holds WHERE payer = ?1 AND reason = 'settlement_refused')
                              OR EXISTS (SELECT 1 FROM holds WHERE payer = ?1 AND reason = 'foreign_transfer')";
        let asked_at = match self.known.standing(&payer) {
            Ok(standing) => return Ok(standing),
            Err(asked_at) => asked_at,
        };
        let standing = self.read(|db| {
            db.prepare_cached(sql)?
                .query_row([payer.0.0.0], |row| Ok(Standing { settled: row.get(0)?, risky: row.get(1)? }))
        })?;
        self.known.keep_standing(payer, standing, asked_at);
        Ok(standing)
    }

    async fn paid_before(&self, payer: Payer, fingerprint: B256, since_ms: u64) -> Result<bool, Fault> {
        // Each half reads an index of the payer's own, newest first, and no more of it than a payer is owed patience for.
        let sql = "SELECT EXISTS (
                SELECT 1 FROM (SELECT fingerprint, opened_at_ms, refund_due FROM holds
                    WHERE payer = ?1 AND state = 'posted' ORDER BY settled_block DESC LIMIT 10000)
                WHERE fingerprint = ?2 AND opened_at_ms >= ?3 AND refund_due = 0
            ) OR EXISTS (
                SELECT 1 FROM holds WHERE payer = ?1 AND reason IS NULL AND settled_block IS NULL
                    AND rail = 'tab' AND answer IN ('delivered', 'kept') AND fingerprint = ?2 AND opened_at_ms >= ?3
            )";
        let since_ms = i64::try_from(since_ms).unwrap_or(i64::MAX);
        self.read(|db| {
            db.prepare_cached(sql)?.query_row(rusqlite::params![payer.0.0.0, fingerprint.0, since_ms], |row| row.get(0))
        })
    }

    async fn payment(&self, hold: HoldId) -> Result<Option<Record>, Fault> {
        self.read(|db| rows::by_id(db, hold))
    }

    async fn answer(&self, hold: HoldId) -> Result<Option<Answer>, Fault> {
        let sql = "SELECT status, headers, body, request_digest FROM answers WHERE hold = ?1";
        self.read(|db| db.prepare_cached(sql)?.query_row([hold.0], answer_row).optional())
    }

    async fn picked(&self, pickup: B256) -> Result<Option<Record>, Fault> {
        let sql = format!("SELECT {} FROM holds WHERE pickup = ?1", rows::COLUMNS);
        self.read(|db| db.prepare_cached(&sql)?.query_row([pickup.0], rows::record).optional())
    }
}

fn answer_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Answer> {
    Ok(Answer {
        status: row.get(0)?,
        headers: read_headers(row.get_ref(1)?.as_blob()?),
        body: row.get(2)?,
        request_digest: rows::optional(row, 3)?,
    })
}

/// Stores an answer; what is too old, and the oldest beyond the limit, makes room. An answer that its caller has not had, and whose
/// payment may still move, is never put out: where nothing else makes room, the new one is not kept.
fn keep(batch: &mut Batch<'_>, hold: HoldId, answer: &Answer) -> rusqlite::Result<Result<bool, Violation>> {
    if !make_room(batch, hold, answer)? {
        return Ok(Ok(false));
    }
    match advance(batch, hold, Step::KeepAnswer)? {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(Ok(false)),
        Err(violation) => return Ok(Err(violation)),
    }
    insert_answer(batch, hold, answer)?;
    Ok(Ok(true))
}

/// Stores the answer of a charge; `false` when there is no room.
pub(crate) fn put_answer(batch: &Batch<'_>, charge: HoldId, answer: &Answer) -> rusqlite::Result<bool> {
    let has_room = make_room(batch, charge, answer)?;
    if has_room {
        insert_answer(batch, charge, answer)?;
    }
    Ok(has_room)
}

fn size(answer: &Answer) -> i64 {
    // A colon, a space, and a line's end.
    let headers = answer.headers.iter().map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(4));
    i64::try_from(headers.fold(answer.body.len(), usize::saturating_add)).unwrap_or(i64::MAX)
}

/// Forgets what is too old, and the oldest beyond the limit. `false` when nothing else makes room.
fn make_room(batch: &Batch<'_>, hold: HoldId, answer: &Answer) -> rusqlite::Result<bool> {
    const ENDED: &str = "(EXISTS (SELECT 1 FROM holds WHERE id = answers.hold
                             AND (rail = 'tab' OR state IN ('posted', 'released', 'burnt', 'lost')))
                          OR EXISTS (SELECT 1 FROM charges WHERE id = answers.hold))";
    let room = rows::signed(batch.limits.answers_max_bytes)?.saturating_sub(size(answer));
    let oldest_ms = batch.now_ms.saturating_sub(batch.limits.answers_keep_s.saturating_mul(1_000));
    let old = format!("DELETE FROM answers WHERE at_ms < ?1 AND {ENDED}");
    batch.db.prepare_cached(&old)?.execute([rows::signed(oldest_ms)?])?;
    loop {
        // One that is stored for this hold makes room by itself.
        let total = "SELECT coalesce(sum(bytes), 0) - (SELECT coalesce(sum(bytes), 0) FROM answers WHERE hold = ?1) FROM answers_size";
        let total: i64 = batch.db.prepare_cached(total)?.query_row([hold.0], |row| row.get(0))?;
        if total <= room {
            break;
        }
        let oldest = format!(
            "DELETE FROM answers WHERE hold = (SELECT hold FROM answers WHERE {ENDED} ORDER BY at_ms, rowid LIMIT 1)"
        );
        if batch.db.prepare_cached(&oldest)?.execute([])? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn insert_answer(batch: &Batch<'_>, hold: HoldId, answer: &Answer) -> rusqlite::Result<()> {
    batch.db.prepare_cached("DELETE FROM answers WHERE hold = ?1")?.execute([hold.0])?;
    batch
        .db
        .prepare_cached(
            "INSERT INTO answers (hold, status, headers, body, request_digest, bytes, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            hold.0,
            answer.status,
            print_headers(&answer.headers),
            answer.body,
            answer.request_digest.map(|digest| digest.0),
            size(answer),
            rows::signed(batch.now_ms)?
        ])?;
    Ok(())
}

/// One line for each header. A header holds no CR and no LF, so the form cannot be confused.
fn print_headers(headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn read_headers(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let line = |line: &[u8]| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.windows(2).position(|pair| pair == b": ")?;
        let (name, value) = line.split_at(colon);
        Some((String::from_utf8_lossy(name).into_owned(), value.get(2..)?.to_vec()))
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}
