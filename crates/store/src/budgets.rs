//! What budgets have counted, and balances that are topped up by themselves. All of it is part of the step that charges.

use gate::Fault;
use ledger::{
    Budget, BudgetScope, Charge, ChargeRecord, Counted, Counter, Judged, KeyId, Over, Refill, Use, Used, Window,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tracing::{info, warn};

use crate::accounts::{give, usable};
use crate::handle::Handle;
use crate::rows::{corrupt, signed, unsigned};
use crate::writer::Batch;

/// What a budget shows somebody who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetUse {
    /// The budget.
    pub budget: Budget,
    /// Calls in its window.
    pub calls: u64,
    /// What they cost.
    pub amount: u64,
    /// When its window ends, in milliseconds since 1970.
    pub resets_at_ms: Option<u64>,
}

impl Handle {
    /// What budgets of a key on a route show now.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn budgets_used(
        &self,
        key: KeyId,
        route: &str,
        budgets: &[Budget],
        now_ms: u64,
    ) -> Result<Vec<BudgetUse>, Fault> {
        self.read(|db| {
            let shows = |budget: &Budget| {
                let counter = budget.counter();
                let used = used(db, counter, key, route)?.unwrap_or_default().at(counter.window, now_ms);
                let resets_at_ms = counter.window.end_ms(used.start_ms.max(now_ms));
                Ok(BudgetUse { budget: *budget, calls: used.calls, amount: used.amount, resets_at_ms })
            };
            budgets.iter().map(shows).collect()
        })
    }
}

/// Opens an account again that a budget has closed. The budget closes it again at the next call that goes above it.
pub(crate) fn reopen(batch: &Batch<'_>, id: KeyId) -> rusqlite::Result<()> {
    let sql = "UPDATE accounts SET suspended_until_ms = NULL WHERE id = ?1";
    batch.db.prepare_cached(sql)?.execute([id.0])?;
    // No route begins with this byte.
    let end = [id.0.as_slice(), &[0xff]].concat();
    for scope in [BudgetScope::Key, BudgetScope::KeyRoute] {
        let sql = "UPDATE budgets_used SET shut = 0 WHERE scope = ?1 AND who >= ?2 AND who < ?3";
        batch.db.prepare_cached(sql)?.execute(params![scope.code(), id.0, end])?;
    }
    Ok(())
}

/// Asks the budgets of a charge, and writes what a refusal changes. What a charge counts is written by [`write_counters`], once it is
/// won.
pub(crate) fn judge(batch: &Batch<'_>, charge: &Charge, budgets: &[Budget]) -> rusqlite::Result<Judged> {
    let mut counters: Vec<(Counter, Used)> = Vec::new();
    for counter in budgets.iter().map(Budget::counter) {
        if counters.iter().all(|(other, _)| *other != counter)
            && let Some(used) = used(batch.db, counter, charge.key, &charge.route)?
        {
            counters.push((counter, used));
        }
    }
    let call = Use { calls: 1, amount: charge.amount, micros: charge.micros };
    let judged = ledger::count(budgets, &counters, call, charge.opened_at_ms);
    if judged.over.is_some() {
        write_counters(batch.db, charge, &judged.counters)?;
    }
    if let Some(over) = &judged.suspends {
        suspend(batch.db, charge.key, over)?;
    }
    Ok(judged)
}

/// Closes an account until the budget's window ends.
fn suspend(db: &Connection, key: KeyId, over: &Over) -> rusqlite::Result<()> {
    let until_ms = over.resets_at_ms.and_then(|until_ms| i64::try_from(until_ms).ok()).unwrap_or(i64::MAX);
    let sql = "UPDATE accounts SET suspended_until_ms = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key.0, until_ms])?;
    warn!(%key, window = over.budget.window.code(), used = over.used, max = over.budget.max,
        "a key went above a budget that suspends: its account is closed until the budget's window ends");
    Ok(())
}

/// Writes counters as they stand after a charge.
pub(crate) fn write_counters(db: &Connection, charge: &Charge, counters: &[(Counter, Used)]) -> rusqlite::Result<()> {
    for (counter, used) in counters {
        let sql = "INSERT INTO budgets_used (scope, who, window, start_ms, calls, amount, trickled_at_ms, shut)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT DO UPDATE SET start_ms = excluded.start_ms, calls = excluded.calls, amount = excluded.amount,
                 trickled_at_ms = excluded.trickled_at_ms, shut = excluded.shut";
        db.prepare_cached(sql)?.execute(params![
            counter.scope.code(),
            who(counter.scope, charge.key, &charge.route),
            counter.window.code(),
            signed(used.start_ms)?,
            signed(used.calls)?,
            signed(used.amount)?,
            signed(used.trickled_at_ms)?,
            used.is_shut,
        ])?;
    }
    Ok(())
}

/// Where a charge was counted.
pub(crate) fn counted(counters: &[(Counter, Used)]) -> Vec<Counted> {
    counters.iter().map(|(counter, used)| Counted { counter: *counter, start_ms: used.start_ms }).collect()
}

/// Gives back what a charge counts for no more, in the windows that it was counted in. Of one that has ended nothing is left to
/// give back to.
pub(crate) fn give_back(db: &Connection, before: &ChargeRecord, after: &ChargeRecord) -> rusqlite::Result<()> {
    let (was, is) = (ledger::counts(before), ledger::counts(after));
    if was == is {
        return Ok(());
    }
    for Counted { counter, start_ms } in &after.counted {
        let sql = "UPDATE budgets_used SET calls = max(0, calls - ?5), amount = max(0, amount - ?6)
             WHERE scope = ?1 AND who = ?2 AND window = ?3 AND start_ms = ?4";
        let amount = was.amount_of(counter.scope).saturating_sub(is.amount_of(counter.scope));
        db.prepare_cached(sql)?.execute(params![
            counter.scope.code(),
            who(counter.scope, after.charge.key, &after.charge.route),
            counter.window.code(),
            signed(*start_ms)?,
            signed(was.calls.saturating_sub(is.calls))?,
            signed(amount)?,
        ])?;
    }
    Ok(())
}

/// Tops a balance up before a charge draws from it, if that is due.
pub(crate) fn refill(batch: &mut Batch<'_>, charge: &Charge, refill: Refill) -> rusqlite::Result<()> {
    let grants = usable(batch.db, charge.key)?;
    if ledger::refill(refill, &grants, charge, 0).is_none() {
        return Ok(());
    }
    let since_ms = Window::Day.start_ms(charge.opened_at_ms);
    let sql = "SELECT count(*) FROM grants WHERE account = ?1 AND granted_at_ms >= ?2 AND source = 'automatic'";
    let today = batch.db.prepare_cached(sql)?.query_row(params![charge.key.0, signed(since_ms)?], |row| row.get(0))?;
    if let Some(grant) = ledger::refill(refill, &grants, charge, today) {
        match give(batch, &grant)? {
            Ok(has) => info!(key = %charge.key, amount = refill.amount, has, "a balance was topped up by itself"),
            Err(refusal) => warn!(key = %charge.key, %refusal, "a balance was not topped up by itself"),
        }
    }
    Ok(())
}

/// Ten bytes for each place where a charge was counted.
pub(crate) fn print_counted(counted: &[Counted]) -> Vec<u8> {
    let mut out = Vec::with_capacity(counted.len().saturating_mul(10));
    for Counted { counter, start_ms } in counted {
        out.push(position(&BudgetScope::ALL, &counter.scope));
        out.push(position(&Window::ALL, &counter.window));
        out.extend_from_slice(&start_ms.to_be_bytes());
    }
    out
}

/// The same read again; `None` for what is none.
pub(crate) fn read_counted(bytes: &[u8]) -> Option<Vec<Counted>> {
    let one = |bytes: &[u8]| {
        let (scope, rest) = bytes.split_first()?;
        let (window, start_ms) = rest.split_first()?;
        let counter = Counter {
            scope: *BudgetScope::ALL.get(usize::from(*scope))?,
            window: *Window::ALL.get(usize::from(*window))?,
        };
        Some(Counted { counter, start_ms: u64::from_be_bytes(start_ms.try_into().ok()?) })
    };
    bytes.chunks(10).map(one).collect()
}

fn position<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|other| other == one).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

/// Whose counter it is: a key's number has 16 bytes, whatever stands behind them is a route.
fn who(scope: BudgetScope, key: KeyId, route: &str) -> Vec<u8> {
    match scope {
        BudgetScope::Key => key.0.to_vec(),
        BudgetScope::KeyRoute => [&key.0, route.as_bytes()].concat(),
        BudgetScope::Route => route.as_bytes().to_vec(),
        BudgetScope::Gate => Vec::new(),
    }
}

fn used(db: &Connection, counter: Counter, key: KeyId, route: &str) -> rusqlite::Result<Option<Used>> {
    let sql = "SELECT start_ms, calls, amount, trickled_at_ms, shut FROM budgets_used
         WHERE scope = ?1 AND who = ?2 AND window = ?3";
    let read = |row: &Row<'_>| {
        Ok(Used {
            start_ms: unsigned(row, 0)?,
            calls: unsigned(row, 1)?,
            amount: unsigned(row, 2)?,
            trickled_at_ms: unsigned(row, 3)?,
            is_shut: row.get(4)?,
        })
    };
    let values = params![counter.scope.code(), who(counter.scope, key, route), counter.window.code()];
    db.prepare_cached(sql)?.query_row(values, read).optional()
}

/// The counters of a row of charges.
pub(crate) fn counted_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Counted>> {
    read_counted(row.get_ref(column)?.as_blob()?).ok_or_else(|| corrupt(column))
}
