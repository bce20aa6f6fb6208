//! What a key may do: one object, written in a plan, and over it in a key.

use core::net::IpAddr;

use ledger::{Budget, Measure, OverAction, Refill, Window};
use serde::{Deserialize, Serialize};

use super::{AddressRule, KeyRefusal, RouteRule, ToolRule};
use crate::Rate;

/// Route and tool rules of one policy together.
const RULES_MAX: usize = 1_000;
const ADDRESSES_MAX: usize = 200;
const RATES_MAX: usize = 50;
const BUDGETS_MAX: usize = 50;
const PRICES_MAX: usize = 200;
const CALLS_MAX: u32 = 1_000_000_000;
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;
const DAY_S: u32 = 86_400;
const EVERY_DEFAULT_S: u32 = 60;
/// A balance is topped up by at most so much at a time, in whichever unit.
const TOP_UP_MAX: u64 = 100_000_000;
const CREDITS_MAX: u64 = 1_000_000_000;
const TOP_UPS_MAX: u32 = 1_000;
const PRIORITY_MAX: u8 = 9;
const BURST_PERCENT_MAX: u16 = 1_000;
const MILLION: u64 = 1_000_000;
/// A price is multiplied by a thousand at most.
const MULTIPLIER_MAX: u64 = 1_000 * MILLION;

/// What a key may do. What is not there is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How many calls in a span of time. Each one that covers a call counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Vec<RateRule>>,
    /// How much may be used or spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<BudgetRule>>,
    /// By how much each price is multiplied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_multiplier: Option<Multiplier>,
    /// Prices of its own; the first rule that covers a call has its price, which is not multiplied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<Vec<PriceRule>>,
    /// Which routes may be called.
    #[serde(skip_serializing_if = "Scope::is_open")]
    pub routes: Scope<RouteRule>,
    /// Which tools may be called.
    #[serde(skip_serializing_if = "Scope::is_open")]
    pub tools: Scope<ToolRule>,
    /// From where. An empty list is nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<AddressRule>>,
    /// How many calls may run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_max: Option<u32>,
    /// Its place where calls have to wait: 0 is first, 9 is last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Whether and how the balance is topped up by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_topup: Option<TopUpRule>,
    /// Whether every call must be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
}

/// What is allowed, less what is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope<R> {
    /// What alone is allowed. An empty list allows nothing; without one everything is.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<R>>,
    /// What is denied all the same.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<R>,
}

const fn none<R>() -> Option<Vec<R>> {
    None
}

impl<R> Default for Scope<R> {
    fn default() -> Self {
        Self { allow: None, deny: Vec::new() }
    }
}

impl<R: Clone> Scope<R> {
    /// Whether it limits nothing.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    fn admits(&self, covers: impl Fn(&R) -> bool) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.iter().any(&covers)) && !self.deny.iter().any(covers)
    }

    fn over(&self, under: &Self) -> Self {
        let deny = under.deny.iter().chain(&self.deny).cloned().collect();
        Self { allow: self.allow.clone().or_else(|| under.allow.clone()), deny }
    }

    fn rules(&self) -> usize {
        self.allow.as_ref().map_or(0, Vec::len).saturating_add(self.deny.len())
    }
}

/// So many calls in so many seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateRule {
    /// Calls in one span.
    pub calls: u32,
    /// The span, in seconds: a day at most.
    pub span_s: u32,
    /// How many at once after a rest; as many as in one span where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Which calls; all where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<RouteRule>,
}

impl RateRule {
    /// As the limiter takes it.
    #[must_use]
    pub fn rate(&self) -> Rate {
        let rate = Rate::new(self.calls, self.span_s.saturating_mul(1_000));
        Rate { burst: self.burst.unwrap_or(rate.burst), ..rate }
    }
}

/// How much may be used or spent in a span of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetRule {
    /// In which span; in UTC.
    pub span: BudgetSpan,
    /// What is counted.
    pub measure: BudgetMeasure,
    /// How much of it: calls, or the account's unit.
    pub limit: u64,
    /// By how many hundredths it may be gone over before the action is taken.
    #[serde(default)]
    pub burst_percent: u16,
    /// What happens then.
    pub action: BudgetAction,
    /// Where calls are slowed down: every how many seconds one is served; 60 where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u32>,
    /// Which calls, those of each route counted by themselves; all together where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<RouteRule>,
}

impl BudgetRule {
    /// As the ledger counts it.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let every_ms = u64::from(self.every_s.unwrap_or(EVERY_DEFAULT_S)).saturating_mul(1_000);
        Budget {
            scope: if self.routes.is_none() { ledger::BudgetScope::Key } else { ledger::BudgetScope::KeyRoute },
            window: match self.span {
                BudgetSpan::Hour => Window::Hour,
                BudgetSpan::Day => Window::Day,
                BudgetSpan::Week => Window::Week,
                BudgetSpan::Month => Window::Month,
                BudgetSpan::Lifetime => Window::Lifetime,
            },
            measure: match self.measure {
                BudgetMeasure::Calls => Measure::Calls,
                BudgetMeasure::Amount => Measure::Amount,
            },
            max: self.limit,
            burst_percent: self.burst_percent,
            action: match self.action {
                BudgetAction::Warn => OverAction::Warn,
                BudgetAction::Throttle => OverAction::Throttle { every_ms },
                BudgetAction::Deny => OverAction::Deny,
                BudgetAction::Suspend => OverAction::Suspend,
            },
        }
    }
}

/// When a balance is topped up by itself, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopUpRule {
    /// A call that would leave less than this tops it up.
    pub below: u64,
    /// By so much.
    pub amount: u64,
    /// So often in a day (UTC) at most.
    pub per_day: u32,
}

impl TopUpRule {
    /// As the ledger does it.
    #[must_use]
    pub const fn refill(self) -> Refill {
        let Self { below, amount, per_day } = self;
        Refill { below, amount, per_day }
    }
}

/// A span of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetSpan {
    /// From minute 0.
    Hour,
    /// From midnight.
    Day,
    /// From Monday's midnight.
    Week,
    /// From the first of it.
    Month,
    /// For ever.
    Lifetime,
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetMeasure {
    /// Calls.
    Calls,
    /// What they cost.
    Amount,
}

/// What happens when a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetAction {
    /// It is said.
    Warn,
    /// Calls are slowed down.
    Throttle,
    /// Calls are refused until the span is over.
    Deny,
    /// The key is suspended until the span is over.
    Suspend,
}

/// A price of its own, in the account's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceRule {
    /// Of which calls.
    pub routes: RouteRule,
    /// The price; never zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
    /// Whether they cost nothing, in the place of an amount.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub free: bool,
}

/// A factor with six places, written as a decimal in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Multiplier {
    millionths: u64,
}

impl Multiplier {
    /// A price times the factor, rounded up. `None` where that is no number of 64 bits.
    #[must_use]
    pub fn of(self, amount: u64) -> Option<u64> {
        let product = u128::from(amount).checked_mul(u128::from(self.millionths))?;
        u64::try_from(product.div_ceil(u128::from(MILLION))).ok()
    }

    /// The factor in millionths.
    #[must_use]
    pub const fn millionths(self) -> u64 {
        self.millionths
    }
}

impl TryFrom<String> for Multiplier {
    type Error = KeyRefusal;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bad = KeyRefusal::BadValue("price_multiplier");
        let (whole, places) = text.split_once('.').unwrap_or((&text, "0"));
        let digits = |text: &str, most: usize| {
            let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.parse::<u64>().ok()).flatten()
        };
        let (whole, part) = (digits(whole, 4).ok_or(bad)?, digits(&format!("{places:0<6}"), 6).ok_or(bad)?);
        let millionths = whole.saturating_mul(MILLION).saturating_add(part);
        // A price that becomes nothing is no price.
        if millionths == 0 || millionths > MULTIPLIER_MAX || places.is_empty() {
            return Err(bad);
        }
        Ok(Self { millionths })
    }
}

impl From<Multiplier> for String {
    fn from(multiplier: Multiplier) -> Self {
        let whole = multiplier.millionths.checked_div(MILLION).unwrap_or_default();
        let part = multiplier.millionths.checked_rem(MILLION).unwrap_or_default();
        let text = format!("{whole}.{part:06}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl Policy {
    /// This policy over a plan's: each field that is here takes the place of the plan's whole field. What is denied by either is denied.
    #[must_use]
    pub fn over(&self, plan: &Self) -> Self {
        Self {
            rates: self.rates.clone().or_else(|| plan.rates.clone()),
            budgets: self.budgets.clone().or_else(|| plan.budgets.clone()),
            price_multiplier: self.price_multiplier.or(plan.price_multiplier),
            prices: self.prices.clone().or_else(|| plan.prices.clone()),
            routes: self.routes.over(&plan.routes),
            tools: self.tools.over(&plan.tools),
            addresses: self.addresses.clone().or_else(|| plan.addresses.clone()),
            in_flight_max: self.in_flight_max.or(plan.in_flight_max),
            priority: self.priority.or(plan.priority),
            auto_topup: self.auto_topup.or(plan.auto_topup),
            signed: self.signed.or(plan.signed),
        }
    }

    /// Whether a call on a normalised path may be made.
    #[must_use]
    pub fn may_call(&self, method: &str, path: &str) -> bool {
        self.routes.admits(|rule| rule.covers(method, path))
    }

    /// Whether a tool may be called.
    #[must_use]
    pub fn may_call_tool(&self, tool: &str) -> bool {
        self.tools.admits(|rule| rule.covers(tool))
    }

    /// Whether a call may come from an address.
    #[must_use]
    pub fn may_come_from(&self, address: IpAddr) -> bool {
        self.addresses.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.covers(address)))
    }

    /// The price that the key has for itself.
    #[must_use]
    pub fn price(&self, method: &str, path: &str) -> Option<&PriceRule> {
        self.prices.iter().flatten().find(|rule| rule.routes.covers(method, path))
    }

    /// What guards the balance when a call is charged to it.
    #[must_use]
    pub fn guards(&self, method: &str, path: &str) -> ledger::Guards {
        let covers = |rule: &&BudgetRule| rule.routes.as_ref().is_none_or(|routes| routes.covers(method, path));
        let budgets = self.budgets.iter().flatten().filter(covers).map(BudgetRule::budget).collect();
        ledger::Guards { budgets, refill: self.auto_topup.map(TopUpRule::refill) }
    }

    /// Whether its sizes and numbers are within bounds.
    ///
    /// # Errors
    /// [`KeyRefusal`], with the field.
    pub fn check(&self) -> Result<(), KeyRefusal> {
        few("rates", self.rates.as_ref().map_or(0, Vec::len), RATES_MAX)?;
        few("budgets", self.budgets.as_ref().map_or(0, Vec::len), BUDGETS_MAX)?;
        few("prices", self.prices.as_ref().map_or(0, Vec::len), PRICES_MAX)?;
        few("addresses", self.addresses.as_ref().map_or(0, Vec::len), ADDRESSES_MAX)?;
        few("routes", self.routes.rules().saturating_add(self.tools.rules()), RULES_MAX)?;
        for rate in self.rates.iter().flatten() {
            let is_count = |calls: u32| (1..=CALLS_MAX).contains(&calls);
            let fits = is_count(rate.calls) && rate.burst.is_none_or(is_count) && (1..=DAY_S).contains(&rate.span_s);
            good("rates", fits)?;
        }
        for budget in self.budgets.iter().flatten() {
            let fits = budget.limit <= AMOUNT_MAX && budget.burst_percent <= BURST_PERCENT_MAX;
            let throttles = budget.action == BudgetAction::Throttle;
            let every_fits = budget.every_s.is_none_or(|every_s| throttles && (1..=DAY_S).contains(&every_s));
            good("budgets", fits && every_fits)?;
        }
        for price in self.prices.iter().flatten() {
            let fits = match price.amount {
                Some(amount) => (1..=AMOUNT_MAX).contains(&amount) && !price.free,
                None => price.free,
            };
            good("prices", fits)?;
        }
        good("in_flight_max", self.in_flight_max.is_none_or(|calls| (1..=CALLS_MAX).contains(&calls)))?;
        if let Some(rule) = &self.auto_topup {
            let fits = (1..=TOP_UP_MAX).contains(&rule.amount) && rule.below <= CREDITS_MAX;
            good("auto_topup", fits && (1..=TOP_UPS_MAX).contains(&rule.per_day))?;
        }
        good("priority", self.priority.is_none_or(|place| place <= PRIORITY_MAX))
    }
}

pub(super) fn few(field: &'static str, count: usize, most: usize) -> Result<(), KeyRefusal> {
    if count <= most {
        return Ok(());
    }
    Err(KeyRefusal::TooMany { field, most: u64::try_from(most).unwrap_or(u64::MAX) })
}

pub(super) fn good(field: &'static str, fits: bool) -> Result<(), KeyRefusal> {
    if fits { Ok(()) } else { Err(KeyRefusal::BadValue(field)) }
}

#[cfg(test)]
mod tests;
