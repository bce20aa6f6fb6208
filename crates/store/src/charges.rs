//! Charges: calls that are paid from balances.

use facilitator::point::Act;
use gate::{Accounts, Answer, Charging, Fault, FaultKind};
use ledger::{
    AnswerState, Charge, ChargeChange, ChargeRecord, ChargeState, ChargeStep, Charged, Draw, Grant, GrantId,
    GrantSource, Guards, HoldId, KeyId, State,
};
use protocol::MoneyState;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tracing::error;

use crate::accounts::{account, grant_by_id, unit_of, usable, write_rows};
use crate::budgets;
use crate::handle::{Handle, put_answer};
use crate::rows::{self, corrupt, fixed, optional, signed, unsigned};
use crate::spending::month;
use crate::writer::Batch;

pub(crate) const CHARGE: &str = "charges.id, account, unit, amount, route, fingerprint, idempotency, opened_at_ms, tags, draws, state, reason, captured,
    refunded, answer, micros, counted";

impl Accounts for Handle {
    async fn charge(&self, charge: Charge, guards: Guards) -> Result<Charging, Fault> {
        let work = move |batch: &mut Batch<'_>| open(batch, &charge, &guards);
        self.writer.run(&[Act::Charge], work).await
    }

    async fn advance_charge(&self, id: HoldId, step: ChargeStep) -> Result<Option<(ChargeRecord, u64)>, Fault> {
        let advanced = self.writer.run(&[act(&step)], move |batch| advance(batch, id, step)).await?;
        advanced.map_err(|_| Fault { kind: FaultKind::Invariant, money: MoneyState::Held })
    }

    async fn charged(&self, id: HoldId) -> Result<Option<ChargeRecord>, Fault> {
        self.read(|db| by_id(db, id))
    }

    async fn keep_charged_answer(&self, id: HoldId, answer: Answer) -> Result<bool, Fault> {
        let keep = move |batch: &mut Batch<'_>| {
            let step = if put_answer(batch, id, &answer)? { ChargeStep::KeepAnswer } else { ChargeStep::LoseAnswer };
            Ok(matches!(advance(batch, id, step)?, Ok(Some(_))) && step == ChargeStep::KeepAnswer)
        };
        self.writer.run(&[Act::KeepChargedAnswer], keep).await
    }
}

impl Handle {
    /// An account's charges, newest first, from before a place in their order; each with its place.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn charges(&self, id: KeyId, before: Option<u64>, most: u64) -> Result<Vec<(u64, ChargeRecord)>, Fault> {
        self.read(|db| {
            let sql = format!(
                "SELECT {CHARGE}, turn FROM charges JOIN accounts ON accounts.id = account
                 WHERE account = ?1 AND turn < ?2 ORDER BY turn DESC LIMIT ?3"
            );
            let before = before.and_then(|turn| i64::try_from(turn).ok()).unwrap_or(i64::MAX);
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement
                .query_map(params![id.0, before, signed(most)?], |row| Ok((unsigned(row, 17)?, charge_of(row)?)))?;
            rows.collect()
        })
    }

    /// At start: charges that a crash left open are given back. The call may have run; nobody can say what was delivered. An answer that
    /// was being given out is lost to who asks for it again by its name.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn recover_charges(&self) -> Result<usize, Fault> {
        let (mut ended, mut behind) = (0usize, 0i64);
        loop {
            let recover = move |batch: &mut Batch<'_>| {
                let sql = "SELECT id, turn FROM charges WHERE state = 'open' AND turn > ?1 ORDER BY turn LIMIT 256";
                let mut statement = batch.db.prepare_cached(sql)?;
                let open = statement.query_map([behind], |row| Ok((fixed(row, 0).map(HoldId)?, row.get(1)?)))?;
                let open = open.collect::<rusqlite::Result<Vec<(HoldId, i64)>>>()?;
                let mut ended = 0usize;
                for (id, _) in &open {
                    // One that cannot end, for its file was changed, is logged and left to the audit.
                    let burnt = advance(batch, *id, ChargeStep::Burn(ledger::BurnReason::Interrupted))?;
                    ended = ended.saturating_add(usize::from(burnt.is_ok()));
                }
                Ok((ended, open.last().map(|(_, turn)| *turn)))
            };
            let (more, last) = self.writer.run(&[Act::Recover], recover).await?;
            ended = ended.saturating_add(more);
            match last {
                Some(last) => behind = last,
                None => break,
            }
        }
        let lose = |batch: &mut Batch<'_>| {
            let sql = "UPDATE charges SET answer = 'lost'
                       WHERE idempotency IS NOT NULL AND state = 'captured' AND answer = 'live'";
            batch.db.prepare_cached(sql)?.execute([])
        };
        self.writer.run(&[Act::Recover], lose).await?;
        Ok(ended)
    }
}

/// The fault points of a step.
const fn act(step: &ChargeStep) -> Act {
    match step {
        ChargeStep::Capture(_) => Act::Capture,
        ChargeStep::Release(_) => Act::ReleaseCharge,
        ChargeStep::Burn(_) => Act::BurnCharge,
        ChargeStep::Refund(_) | ChargeStep::TakeBack => Act::GiveBack,
        ChargeStep::KeepAnswer | ChargeStep::LoseAnswer => Act::KeepChargedAnswer,
    }
}

fn open(batch: &mut Batch<'_>, charge: &Charge, guards: &Guards) -> rusqlite::Result<Charging> {
    let Some(account) = account(batch.db, charge.key)? else { return Ok(Charging::Closed) };
    if let Some(named) = charge.idempotency {
        let sql = format!(
            "SELECT {CHARGE} FROM charges JOIN accounts ON accounts.id = account
             WHERE account = ?1 AND idempotency = ?2 AND route = ?3 AND (state <> 'released'
                 OR (answer = 'kept' AND EXISTS (SELECT 1 FROM answers WHERE hold = charges.id)))
             ORDER BY turn DESC LIMIT 1"
        );
        let mut statement = batch.db.prepare_cached(&sql)?;
        let found = statement.query_row(params![charge.key.0, named.0, charge.route], charge_of).optional()?;
        if let Some(record) = found {
            return Ok(Charging::Taken(record));
        }
    }
    if !account.may_pay(charge.opened_at_ms) || account.unit != charge.unit {
        return Ok(Charging::Closed);
    }
    if account.is_suspended(charge.opened_at_ms) {
        return Ok(Charging::Suspended { until_ms: account.reopens_at_ms() });
    }
    let judged = budgets::judge(batch, charge, &guards.budgets)?;
    if let Some(over) = judged.over {
        return Ok(Charging::Over(over));
    }
    if let Some(refill) = guards.refill {
        budgets::refill(batch, charge, refill)?;
    }
    match ledger::charge(&usable(batch.db, charge.key)?, charge.clone()) {
        Charged::Short { available } => Ok(Charging::Short { available }),
        Charged::Won(mut change) => {
            change.record.counted = budgets::counted(&judged.counters);
            budgets::write_counters(batch.db, charge, &judged.counters)?;
            insert(batch.db, &change.record)?;
            write_rows(batch, &change.grants, &change.entries)?;
            Ok(Charging::Won { available: change.available, warned: judged.warned })
        }
    }
}

type Advanced = Result<Option<(ChargeRecord, u64)>, ledger::ChargeViolation>;

pub(crate) fn advance(batch: &mut Batch<'_>, id: HoldId, step: ChargeStep) -> rusqlite::Result<Advanced> {
    let Some(record) = by_id(batch.db, id)? else { return Ok(Ok(None)) };
    let mut grants = usable(batch.db, record.charge.key)?;
    for draw in &record.draws {
        if grants.iter().all(|grant| grant.id != draw.grant) {
            grants.extend(grant_by_id(batch.db, draw.grant, record.charge.unit)?);
        }
    }
    match ledger::advance_charge(&record, &grants, step, batch.now_ms) {
        Err(violation) => {
            error!(charge = %id, %violation, "a step that must not happen was asked for");
            Ok(Err(violation))
        }
        Ok(None) => Ok(Ok(Some((record, ledger::available(&grants, batch.now_ms))))),
        Ok(Some(mut change)) => {
            let unpaid = unpaid(batch.db, &change.grants)?;
            ledger::give_back_unpaid(&mut change, |payment| unpaid.contains(&payment), batch.now_ms);
            update(batch, &record, &change)?;
            budgets::give_back(batch.db, &record, &change.record)?;
            write_rows(batch, &change.grants, &change.entries)?;
            Ok(Ok(Some((change.record, change.available))))
        }
    }
}

/// The payments of grants that do not stand: a reorg took them.
fn unpaid(db: &Connection, grants: &[Grant]) -> rusqlite::Result<Vec<HoldId>> {
    let mut unpaid = Vec::new();
    for grant in grants {
        if let GrantSource::Payment(payment) = grant.source
            && rows::by_id(db, payment)?.is_none_or(|record| !matches!(record.state, State::Posted(_)))
        {
            unpaid.push(payment);
        }
    }
    Ok(unpaid)
}

pub(crate) fn by_id(db: &Connection, id: HoldId) -> rusqlite::Result<Option<ChargeRecord>> {
    let sql = format!("SELECT {CHARGE} FROM charges JOIN accounts ON accounts.id = account WHERE charges.id = ?1");
    db.prepare_cached(&sql)?.query_row([id.0], charge_of).optional()
}

fn insert(db: &Connection, record: &ChargeRecord) -> rusqlite::Result<()> {
    let charge = &record.charge;
    let mut draws = Vec::with_capacity(record.draws.len().saturating_mul(24));
    for draw in &record.draws {
        draws.extend_from_slice(&draw.grant.0);
        draws.extend_from_slice(&draw.amount.to_be_bytes());
    }
    db.prepare_cached(
        "INSERT INTO charges (id, account, amount, route, fingerprint, idempotency, opened_at_ms, tags, draws, state, answer,
             micros, counted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'open', 'live', ?10, ?11)",
    )?
    .execute(params![
        charge.id.0,
        charge.key.0,
        signed(charge.amount)?,
        charge.route,
        charge.fingerprint.0,
        charge.idempotency.map(|digest| digest.0),
        signed(charge.opened_at_ms)?,
        charge.tags,
        draws,
        signed(charge.micros)?,
        budgets::print_counted(&record.counted),
    ])?;
    Ok(())
}

/// Writes a charge as it stands after, and counts what it took for its account.
fn update(batch: &Batch<'_>, before: &ChargeRecord, change: &ChargeChange) -> rusqlite::Result<()> {
    let record = &change.record;
    let (state, reason, captured) = match record.state {
        ChargeState::Open => ("open", None, None),
        ChargeState::Captured(taken) => ("captured", None, Some(signed(taken)?)),
        ChargeState::Released(reason) => ("released", Some(rows::release_word(reason)), None),
        ChargeState::Burnt(reason) => ("burnt", Some(rows::burn_word(reason)), None),
    };
    let answer = match record.answer {
        AnswerState::Live | AnswerState::Pending => "live",
        AnswerState::Kept => "kept",
        AnswerState::Delivered | AnswerState::Lost => "lost",
    };
    let sql = "UPDATE charges SET state = ?2, reason = ?3, captured = ?4, refunded = ?5, answer = ?6 WHERE id = ?1";
    batch.db.prepare_cached(sql)?.execute(params![
        record.charge.id.0,
        state,
        reason,
        captured,
        signed(record.refunded)?,
        answer
    ])?;
    let net = |record: &ChargeRecord| match record.state {
        ChargeState::Captured(taken) => taken.saturating_sub(record.refunded),
        ChargeState::Open | ChargeState::Released(_) | ChargeState::Burnt(_) => 0,
    };
    let (was, is) = (signed(net(before))?, signed(net(record))?);
    let first = !matches!(before.state, ChargeState::Captured(_)) && matches!(record.state, ChargeState::Captured(_));
    let (key, taken, this) = (record.charge.key.0, is.saturating_sub(was), signed(month(batch.now_ms))?);
    if first {
        let sql = "UPDATE accounts SET calls = calls + 1, spent = spent + ?2, used_at_ms = ?3, month = ?4,
                          month_calls = iif(month = ?4, month_calls, 0) + 1,
                          month_spent = iif(month = ?4, month_spent, 0) + ?2
                   WHERE id = ?1";
        batch.db.prepare_cached(sql)?.execute(params![key, taken, signed(batch.now_ms)?, this])?;
    } else if was != is {
        // Nothing is used by what is given back. Of a call of an earlier month it is none of this month's.
        let opened = signed(month(record.charge.opened_at_ms))?;
        let sql = "UPDATE accounts SET spent = spent + ?2,
                          month_spent = iif(month = ?3 AND ?3 = ?4, max(0, month_spent + ?2), month_spent)
                   WHERE id = ?1";
        batch.db.prepare_cached(sql)?.execute(params![key, taken, this, opened])?;
    }
    Ok(())
}

pub(crate) fn charge_of(row: &Row<'_>) -> rusqlite::Result<ChargeRecord> {
    let reason: Option<String> = row.get(11)?;
    let reason = reason.as_deref();
    let state = match row.get_ref(10)?.as_str()? {
        "open" => ChargeState::Open,
        "captured" => ChargeState::Captured(unsigned(row, 12)?),
        "released" => ChargeState::Released(rows::release_of(reason)?),
        "burnt" => ChargeState::Burnt(rows::burn_of(reason)?),
        _ => return Err(corrupt(10)),
    };
    let answer = match row.get_ref(14)?.as_str()? {
        "live" => AnswerState::Live,
        "kept" => AnswerState::Kept,
        "lost" => AnswerState::Lost,
        _ => return Err(corrupt(14)),
    };
    let draw = |bytes: &[u8]| {
        let (grant, amount) = bytes.split_at_checked(16)?;
        let (grant, amount) = (grant.try_into().ok()?, amount.try_into().ok()?);
        Some(Draw { grant: GrantId(grant), amount: u64::from_be_bytes(amount) })
    };
    let draws = row.get_ref(9)?.as_blob()?.chunks(24).map(draw).collect::<Option<_>>().ok_or_else(|| corrupt(9))?;
    let charge = Charge {
        id: HoldId(fixed(row, 0)?),
        key: KeyId(fixed(row, 1)?),
        unit: unit_of(row, 2)?,
        amount: unsigned(row, 3)?,
        micros: unsigned(row, 15)?,
        route: row.get(4)?,
        fingerprint: fixed(row, 5)?.into(),
        idempotency: optional(row, 6)?,
        opened_at_ms: unsigned(row, 7)?,
        tags: row.get(8)?,
    };
    Ok(ChargeRecord {
        charge,
        draws,
        counted: budgets::counted_of(row, 16)?,
        state,
        answer,
        refunded: unsigned(row, 13)?,
    })
}
