//! How a key is doing: what it was used for lately, and a score.

use gate::{BudgetMeasure, BudgetSpan, Policy};
use ledger::KeyId;
use serde::Serialize;
use store::{UsageGroup, UsageQuery};
use utoipa::ToSchema;

use super::api::Api;
use super::ask::{Ask, reply};
use super::endpoint::Outcome;
use super::refused::Refused;
use crate::host::now_ms;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What a key was used for in a span of time that ends now.
#[derive(Clone, Copy, Default, Serialize, ToSchema)]
pub(super) struct Span {
    /// Calls that were tried.
    charges: u64,
    /// Those that were charged for.
    captured: u64,
    /// Those that failed and were given back.
    given_back: u64,
    /// What they cost, less what was refunded.
    amount: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    key: String,
    unit: &'static str,
    balance: u64,
    held: u64,
    /// In all.
    spent: u64,
    calls: u64,
    #[schema(required = true)]
    used_at_ms: Option<u64>,
    last_day: Span,
    last_week: Span,
    /// 30 days.
    last_month: Span,
}

/// From 0, which is bad, to 100: balance counts 30 %, quota 25 %, rate 20 %, errors 25 %. Each part is from 0 to 100 as well.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct HealthView {
    key: String,
    score: u64,
    /// How much of what it spent in the last seven days the balance would pay for again.
    balance: u64,
    /// How much of its nearest budget is left. Spans are those that end now.
    quota: u64,
    /// How far it is from its nearest rate.
    rate: u64,
    /// How many of its calls of the last day did not fail.
    errors: u64,
}

pub(super) async fn stats(api: &Api, ask: &Ask) -> Outcome {
    let (key, now_ms) = (ask.key(api)?, now_ms());
    let (row, balance, held) = api.journal.balance(key, now_ms)?.ok_or_else(|| Refused::unknown("key"))?;
    let span = |days: u64| used(api, key, Some(now_ms.saturating_sub(days.saturating_mul(DAY_MS))));
    reply(&Stats {
        key: key.to_string(),
        unit: row.unit.code(),
        balance,
        held,
        spent: row.spent,
        calls: row.calls,
        used_at_ms: row.used_at_ms,
        last_day: span(1)?,
        last_week: span(7)?,
        last_month: span(30)?,
    })
}

pub(super) async fn health(api: &Api, ask: &Ask) -> Outcome {
    let (key, now_ms) = (ask.key(api)?, now_ms());
    let (_, balance, _) = api.journal.balance(key, now_ms)?.ok_or_else(|| Refused::unknown("key"))?;
    let holder = api.journal.key_holder(key)?.ok_or_else(|| Refused::unknown("key"))?;
    let policy = holder.record.policy.over(&holder.plan);
    let since = |span_ms: u64| used(api, key, Some(now_ms.saturating_sub(span_ms)));
    let week = since(7 * DAY_MS)?;
    let day = since(DAY_MS)?;
    let balance = match (balance, week.amount) {
        (0, _) => 0,
        (_, 0) => 100,
        (balance, spent) => percent(balance.min(spent), spent),
    };
    let quota = quota(api, key, &policy, now_ms)?;
    let mut rate = 100;
    for rule in policy.rates.iter().flatten() {
        let calls = since(u64::from(rule.span_s).saturating_mul(1_000))?.charges;
        rate = rate.min(percent(u64::from(rule.calls).saturating_sub(calls), u64::from(rule.calls)));
    }
    let errors = if day.charges == 0 { 100 } else { percent(day.charges.saturating_sub(day.given_back), day.charges) };
    let parts = [(balance, 30), (quota, 25), (rate, 20), (errors, 25)];
    let sum = parts.iter().fold(0u64, |sum, (part, weight)| sum.saturating_add(part.saturating_mul(*weight)));
    reply(&HealthView { key: key.to_string(), score: sum / 100, balance, quota, rate, errors })
}

/// How much of its nearest budget is left.
fn quota(api: &Api, key: KeyId, policy: &Policy, now_ms: u64) -> Result<u64, Refused> {
    let mut least = 100;
    for budget in policy.budgets.iter().flatten() {
        let span_ms = match budget.span {
            BudgetSpan::Hour => Some(HOUR_MS),
            BudgetSpan::Day => Some(DAY_MS),
            BudgetSpan::Week => Some(7 * DAY_MS),
            BudgetSpan::Month => Some(30 * DAY_MS),
            BudgetSpan::Lifetime => None,
        };
        let span = used(api, key, span_ms.map(|span_ms| now_ms.saturating_sub(span_ms)))?;
        let used = match budget.measure {
            BudgetMeasure::Calls => span.captured,
            BudgetMeasure::Amount => span.amount,
        };
        least = least.min(percent(budget.limit.saturating_sub(used), budget.limit));
    }
    Ok(least)
}

fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(100).min(100)
}

fn used(api: &Api, key: KeyId, from_ms: Option<u64>) -> Result<Span, Refused> {
    let query = UsageQuery { key: Some(key), from_ms, most: 1, ..UsageQuery::default() };
    let sums = api.journal.usage_sums(&query, &UsageGroup::Key)?;
    Ok(sums.first().map_or(Span::default(), |sum| Span {
        charges: sum.charges,
        captured: sum.captured,
        given_back: sum.given_back,
        amount: sum.amount,
    }))
}
