//! How often a key may call, and how much at once; what it may spend is counted in the journal.

use bytes::Bytes;
use gate::Taken;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ledger::{Budget, Guards, KeyId, Over};
use protocol::MoneyState;
use tracing::info;

use super::super::answer::Body;
use super::super::request::Forward;
use super::super::story::{Story, Told};
use super::super::upload::Upload;
use super::super::{Arriving, Front};
use crate::accounts::Principal;
use crate::host::now_ms;
use crate::limits::{Key, route_rate};
use crate::problem::Problem;
use crate::telemetry::{Limit, MoneyOutcome};
use crate::turns::{Turn, USUAL_PLACE};

/// As drafts of the IETF have them, beside the `X-` ones: the last is in how many seconds all is back.
const RATE_LIMIT: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];
/// The budgets that a call that was served goes above.
const WARNING: HeaderName = HeaderName::from_static("x-budget-warning");

/// A key's place where calls wait.
pub(in crate::front) fn place(principal: Option<&Principal>) -> u8 {
    principal.and_then(|principal| principal.policy.priority).unwrap_or(USUAL_PLACE)
}

impl Front {
    /// What guards the balance of a call's key: its own budgets, and those of the configuration.
    pub(super) fn guards(&self, arriving: &Arriving<'_>, principal: &Principal) -> Guards {
        let mut guards = principal.policy.guards(arriving.method, arriving.path.path());
        if let Some(accounts) = &self.0.shared.accounts {
            let of_route = arriving.route_plan.map_or(&[][..], |route| &route.budgets);
            let all = self.0.shared.account_budgets.iter().chain(of_route);
            guards.budgets.extend(all.filter_map(|budget| budget.of(principal.unit, accounts.credit_micros)));
        }
        guards
    }

    /// Whether a key may call now, and the turns that it needs besides everybody's.
    pub(in crate::front) async fn admitted(
        &self,
        arriving: &Arriving<'_>,
        holder: &Principal,
    ) -> Result<Option<Turn>, Told<Bytes>> {
        self.keeps_pace(arriving, holder)?;
        self.turns_of(arriving, holder).await
    }

    /// The answer to a call of a key, with what its rate has left.
    pub(in crate::front) async fn held_to_account(
        &self,
        arriving: &Arriving<'_>,
        holder: &Principal,
        forward: Forward,
        upload: Upload,
    ) -> Told<Body> {
        let mut told = self.on_account(arriving, holder, forward, upload).await;
        if let Some(taken) = arriving.taken.get() {
            put_rate(told.response.headers_mut(), taken);
        }
        holder.put_end(told.response.headers_mut(), now_ms());
        told
    }

    /// Takes from the buckets of a key. What the caller is told of is the one with the least in it.
    pub(super) fn keeps_pace(&self, arriving: &Arriving<'_>, principal: &Principal) -> Result<(), Told<Bytes>> {
        let (method, path, now_ms) = (arriving.method, arriving.path.path(), now_ms());
        let mut rates = Vec::new();
        match &principal.policy.rates {
            Some(rules) => {
                let covers = |rule: &gate::RateRule| rule.routes.as_ref().is_none_or(|rule| rule.covers(method, path));
                let covering = (0u64..).zip(rules).filter(|(_, rule)| covers(rule));
                rates.extend(covering.map(|(nth, rule)| (nth, rule.rate())));
            }
            None => {
                let rate = self.0.shared.accounts.as_ref().and_then(|accounts| accounts.rate_per_key);
                rates.extend(rate.map(|rate| (0, rate)));
            }
        }
        if let (Some(route), Some(plan)) = (arriving.route, arriving.route_plan) {
            rates.extend(plan.rate_per_key.map(|rate| (route_rate(&route.id), rate)));
        }
        let mut told: Option<Taken> = None;
        for (nth, rate) in rates {
            let Some(taken) = self.0.shared.limits.take(Key::Account(principal.key, nth, rate), now_ms) else {
                continue;
            };
            if !taken.allowed {
                let mut told = arriving.limited(taken, Limit::Key);
                self.put_left(principal.key, told.response.headers_mut());
                put_rate(told.response.headers_mut(), taken);
                return Err(told);
            }
            if told.is_none_or(|told| taken.remaining < told.remaining) {
                told = Some(taken);
            }
        }
        if told.is_some() {
            arriving.taken.set(told);
        }
        Ok(())
    }

    /// The turns that a call needs besides everybody's: one of its key, and one of its route. Whoever shows no key that is one takes
    /// none of them.
    async fn turns_of(&self, arriving: &Arriving<'_>, principal: &Principal) -> Result<Option<Turn>, Told<Bytes>> {
        let (turns, place) = (&self.0.shared.turns, place(Some(principal)));
        let of_keys = self.0.shared.accounts.as_ref().and_then(|accounts| accounts.in_flight_per_key);
        let of_key = match principal.policy.in_flight_max.or(of_keys) {
            Some(max) => Some(turns.take_of_key(principal.key, max, place).await.map_err(|_| self.crowded(principal))?),
            None => None,
        };
        match (arriving.route, arriving.route_plan.and_then(|route| route.in_flight_max)) {
            (Some(route), Some(max)) => {
                let of_route = turns.take_of_route(&route.id, max, place).await;
                of_route.map(|turn| Some(turn.and(of_key))).map_err(|_| self.crowded(principal))
            }
            _ => Ok(of_key),
        }
    }

    /// Too many calls of the key or on the route are running, and no more may wait, or not for longer.
    fn crowded(&self, principal: &Principal) -> Told<Bytes> {
        let message = "Too many calls of this key, or on this route, are running. Nothing was charged.";
        let status = StatusCode::TOO_MANY_REQUESTS;
        let problem = Problem::new(status, "too_many_in_flight", message, MoneyState::Untouched)
            .with("reason", "too_many_in_flight")
            .retry_after(1);
        let mut response = problem.into_response();
        self.put_left(principal.key, response.headers_mut());
        Story { limited: Some(Limit::InFlight), ..Story::of(MoneyOutcome::Busy) }.with(response)
    }

    /// A budget keeps the call from being charged.
    pub(super) fn over(&self, arriving: &Arriving<'_>, key: KeyId, over: &Over) -> Told<Bytes> {
        let message =
            "A budget of this key, of this route or of the gate has no room for the call. Nothing was charged.";
        let problem = |status| Problem::new(status, over.code(), message, MoneyState::Untouched);
        let problem = match over.resets_at_ms {
            Some(at_ms) => problem(StatusCode::TOO_MANY_REQUESTS).retry_after(wait_s(at_ms)),
            // It would be so for ever.
            None => problem(StatusCode::FORBIDDEN),
        };
        let problem = problem
            .with("reason", over.code())
            .with("scope", over.budget.scope.code())
            .with("window", over.budget.window.code())
            .with("used", over.used)
            .with("max", over.budget.max)
            .with("resets_at_ms", over.resets_at_ms);
        let mut response = problem.into_response();
        self.put_left(key, response.headers_mut());
        let limited = Some(Limit::Budget);
        Story { taken: arriving.taken.get(), limited, ..Story::of(MoneyOutcome::RateLimited) }
            .because(over.code())
            .with(response)
    }

    /// A budget has closed the account.
    pub(super) fn suspended(&self, arriving: &Arriving<'_>, key: KeyId, until_ms: Option<u64>) -> Told<Bytes> {
        let message = "A budget that was gone above has suspended this key. Nothing was charged.";
        let problem = Problem::new(StatusCode::FORBIDDEN, "key_suspended", message, MoneyState::Untouched)
            .with("reason", "key_suspended")
            .with("resets_at_ms", until_ms);
        let problem = match until_ms {
            Some(at_ms) => problem.retry_after(wait_s(at_ms)),
            None => problem,
        };
        let mut response = problem.into_response();
        self.put_left(key, response.headers_mut());
        Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::Denied) }.because("key_suspended").with(response)
    }
}

fn wait_s(at_ms: u64) -> u32 {
    let wait_s = at_ms.saturating_sub(now_ms()).div_ceil(1_000);
    u32::try_from(wait_s).unwrap_or(u32::MAX).max(1)
}

/// Says what a key's bucket has.
fn put_rate(headers: &mut HeaderMap, taken: Taken) {
    let reset_s = taken.reset_at_s.saturating_sub(now_ms() / 1_000);
    let values = [u64::from(taken.limit), u64::from(taken.remaining), reset_s];
    for (name, value) in RATE_LIMIT.into_iter().zip(values) {
        headers.insert(name, value.into());
    }
}

/// The budgets that a call goes above and that let it pass, for its answer; the log has them too.
pub(super) fn warning(key: KeyId, warned: &[Budget]) -> Option<(HeaderName, HeaderValue)> {
    let name = |budget: &Budget| {
        format!("{};{};{};max={}", budget.scope.code(), budget.window.code(), budget.measure.code(), budget.max)
    };
    let names: Vec<String> = warned.iter().map(name).collect();
    let names = names.join(", ");
    if names.is_empty() {
        return None;
    }
    info!(%key, budgets = names, "a call above a budget was served");
    HeaderValue::try_from(names).ok().map(|value| (WARNING, value))
}
