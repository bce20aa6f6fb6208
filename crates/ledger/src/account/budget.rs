//! Budgets: how often may be called, or how much may be spent, in a span of the calendar (UTC). Time is an argument.

use super::{ChargeRecord, ChargeState};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

/// What a budget bounds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetScope {
    /// All calls of one key. Amounts are in its account's unit.
    Key,
    /// The calls of one key on one route. Amounts are in its account's unit.
    KeyRoute,
    /// All calls on one route that are paid from balances. Amounts are in millionths of a dollar.
    Route,
    /// All calls that are paid from balances. Amounts are in millionths of a dollar.
    Gate,
}

impl BudgetScope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Key, Self::KeyRoute, Self::Route, Self::Gate];

    /// The word in the journal and on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::KeyRoute => "key_route",
            Self::Route => "route",
            Self::Gate => "gate",
        }
    }

    /// The scope of a word.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.code() == code)
    }
}

/// For how long it is counted. Every span begins and ends with the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// From minute 0 on.
    Hour,
    /// From midnight on.
    Day,
    /// From Monday on.
    Week,
    /// From the first on.
    Month,
    /// For ever.
    Lifetime,
}

impl Window {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Lifetime];

    /// The word in the journal and on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Lifetime => "lifetime",
        }
    }

    /// The window of a word.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.code() == code)
    }

    /// When the window began that a moment is in, in milliseconds since 1970; 0 for what has no beginning.
    #[must_use]
    pub const fn start_ms(self, now_ms: u64) -> u64 {
        let days = now_ms / DAY_MS;
        match self {
            Self::Hour => now_ms.saturating_sub(now_ms % HOUR_MS),
            Self::Day => days.saturating_mul(DAY_MS),
            // The first of January 1970 was a Thursday.
            Self::Week => days.saturating_sub(days.saturating_add(3) % 7).saturating_mul(DAY_MS),
            Self::Month => days.saturating_sub(day_of_month(days)).saturating_mul(DAY_MS),
            Self::Lifetime => 0,
        }
    }

    /// When the window ends that a moment is in, which is when the next one begins; `None` for what does not end.
    #[must_use]
    pub const fn end_ms(self, now_ms: u64) -> Option<u64> {
        let start_ms = self.start_ms(now_ms);
        let days = match self {
            Self::Hour => return Some(start_ms.saturating_add(HOUR_MS)),
            Self::Lifetime => return None,
            Self::Day => 1,
            // The first one was shorter.
            Self::Week if start_ms == 0 => 4,
            Self::Week => 7,
            // From the first of a month it is the next month that is 31 days ahead.
            Self::Month => {
                let next = start_ms.saturating_add(DAY_MS.saturating_mul(31));
                return Some(Self::Month.start_ms(next));
            }
        };
        Some(start_ms.saturating_add(DAY_MS.saturating_mul(days)))
    }
}

/// Which day of its month a day is, from 0. `days` are since 1970.
///
/// Years are counted from March, so that the odd day comes last: then the months' lengths repeat by five, of 153 days.
const fn day_of_month(days: u64) -> u64 {
    let since = days.saturating_add(719_468) % 146_097;
    let odd = (since / 1_460).saturating_add(since / 146_096).saturating_sub(since / 36_524);
    let year = since.saturating_sub(odd) / 365;
    let before = year.saturating_mul(365).saturating_add(year / 4).saturating_sub(year / 100);
    let of_year = since.saturating_sub(before);
    let month = of_year.saturating_mul(5).saturating_add(2) / 153;
    of_year.saturating_sub(month.saturating_mul(153).saturating_add(2) / 5)
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Calls.
    Calls,
    /// What they cost.
    Amount,
}

impl Measure {
    /// The word on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Amount => "amount",
        }
    }

    /// The measure of a word.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        [Self::Calls, Self::Amount].into_iter().find(|measure| measure.code() == code)
    }
}

/// What happens to a call that would go above a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverAction {
    /// It is served, and told of.
    Warn,
    /// One is served in so many milliseconds, the others are refused.
    Throttle {
        /// Never zero.
        every_ms: u64,
    },
    /// It is refused until the window ends.
    Deny,
    /// It is refused, and with it every call until the window ends, also one that would fit: of the key, whatever it calls, or of
    /// the route or the gate.
    Suspend,
}

impl OverAction {
    /// The word on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Throttle { .. } => "throttle",
            Self::Deny => "deny",
            Self::Suspend => "suspend",
        }
    }
}

/// How much is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of what.
    pub scope: BudgetScope,
    /// In which time.
    pub window: Window,
    /// Counted how.
    pub measure: Measure,
    /// At most so much.
    pub max: u64,
    /// By so much of a hundred it may be exceeded. Calls between the two are served, and told of.
    pub burst_percent: u16,
    /// And then.
    pub action: OverAction,
}

impl Budget {
    /// With what may be exceeded.
    #[must_use]
    pub fn cap(&self) -> u64 {
        let cap = u128::from(self.max).saturating_mul(u128::from(self.burst_percent).saturating_add(100)) / 100;
        u64::try_from(cap).unwrap_or(u64::MAX)
    }

    /// Where it is counted.
    #[must_use]
    pub const fn counter(&self) -> Counter {
        Counter { scope: self.scope, window: self.window }
    }
}

/// Where calls are counted: of the key, the route, or both, that a charge names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    /// Of what.
    pub scope: BudgetScope,
    /// In which time.
    pub window: Window,
}

/// A counter, and which of its windows: where a charge was counted, and is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The counter.
    pub counter: Counter,
    /// When its window began.
    pub start_ms: u64,
}

/// What a counter shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// When its window began. What it shows of an earlier one does not count.
    pub start_ms: u64,
    /// Calls that are held or charged.
    pub calls: u64,
    /// What is held or charged for them.
    pub amount: u64,
    /// When the last call was let through by a budget that throttles; 0 for never.
    pub trickled_at_ms: u64,
    /// Whether a budget that suspends was gone above.
    pub is_shut: bool,
}

impl Used {
    /// What it shows in the window that a moment is in. A clock that was set back does not open an earlier window again.
    #[must_use]
    pub const fn at(self, window: Window, now_ms: u64) -> Self {
        let start_ms = window.start_ms(now_ms);
        if self.start_ms >= start_ms {
            return self;
        }
        Self { start_ms, calls: 0, amount: 0, trickled_at_ms: 0, is_shut: false }
    }
}

/// What one charge counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// One, or none.
    pub calls: u64,
    /// In the account's unit.
    pub amount: u64,
    /// In millionths of a dollar.
    pub micros: u64,
}

impl Use {
    /// What of it counts for a scope.
    #[must_use]
    pub const fn amount_of(&self, scope: BudgetScope) -> u64 {
        match scope {
            BudgetScope::Key | BudgetScope::KeyRoute => self.amount,
            BudgetScope::Route | BudgetScope::Gate => self.micros,
        }
    }
}

/// What a charge counts for as it stands: all that it holds, then what it took. What was given back does not count.
#[must_use]
pub fn counts(record: &ChargeRecord) -> Use {
    let held = record.charge.amount;
    let (calls, amount) = match record.state {
        ChargeState::Open => (1, held),
        ChargeState::Captured(taken) => (1, taken.saturating_sub(record.refunded)),
        ChargeState::Released(_) | ChargeState::Burnt(_) => (0, 0),
    };
    let micros = u128::from(record.charge.micros).saturating_mul(u128::from(amount)).div_ceil(u128::from(held.max(1)));
    Use { calls, amount, micros: u64::try_from(micros).unwrap_or(u64::MAX) }
}

/// Why a call is refused, and until when it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// The budget that it would go above.
    pub budget: Budget,
    /// What it shows.
    pub used: u64,
    /// When another call may pass; `None` when the budget's owner must act.
    pub resets_at_ms: Option<u64>,
}

impl Over {
    /// The word for the caller.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.budget.measure {
            Measure::Calls => "quota_exceeded",
            Measure::Amount => "spending_limit_reached",
        }
    }

    /// Whether the account itself is to be closed until then.
    #[must_use]
    pub const fn suspends_account(&self) -> bool {
        matches!(self.budget.action, OverAction::Suspend)
            && matches!(self.budget.scope, BudgetScope::Key | BudgetScope::KeyRoute)
    }
}

/// What the budgets say of a call, and how their counters stand after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The one that refuses it; of several the one that does so for longest.
    pub over: Option<Over>,
    /// Of those that refuse it and close the account, the one that does so for longest.
    pub suspends: Option<Over>,
    /// Those that it goes above and that let it pass.
    pub warned: Vec<Budget>,
    /// The counters to write. Of a refused call none has counted it.
    pub counters: Vec<(Counter, Used)>,
}

/// Counts a call, if every budget lets it. `counters` are as they are in the store; one that is not there shows nothing.
#[must_use]
pub fn count(budgets: &[Budget], counters: &[(Counter, Used)], call: Use, now_ms: u64) -> Judged {
    let used = |counter: Counter| {
        let found = counters.iter().find(|(other, _)| *other == counter).map(|(_, used)| *used);
        found.unwrap_or_default().at(counter.window, now_ms)
    };
    let mut rows: Vec<(Counter, Used)> = Vec::new();
    let (mut over, mut suspends): (Option<Over>, Option<Over>) = (None, None);
    let mut warned = Vec::new();
    let (mut shut, mut trickled) = (Vec::new(), Vec::new());
    for budget in budgets {
        let counter = budget.counter();
        let shows = used(counter);
        if rows.iter().all(|(other, _)| *other != counter) {
            rows.push((counter, shows));
        }
        match judge(budget, shows, call, now_ms) {
            Verdict::Within => {}
            Verdict::Warned => warned.push(*budget),
            Verdict::Trickled => {
                warned.push(*budget);
                trickled.push(counter);
            }
            Verdict::Over(found) => {
                if budget.action == OverAction::Suspend && !shows.is_shut {
                    shut.push(counter);
                }
                if found.suspends_account() {
                    suspends = Some(longest(suspends, found));
                }
                over = Some(longest(over, found));
            }
        }
    }
    if over.is_some() {
        let shut_now = |(counter, used)| shut.contains(&counter).then_some((counter, Used { is_shut: true, ..used }));
        let counters = rows.into_iter().filter_map(shut_now).collect();
        return Judged { over, suspends, warned: Vec::new(), counters };
    }
    for (counter, used) in &mut rows {
        used.calls = used.calls.saturating_add(call.calls);
        used.amount = used.amount.saturating_add(call.amount_of(counter.scope));
        if trickled.contains(counter) {
            used.trickled_at_ms = now_ms;
        }
    }
    Judged { over, suspends, warned, counters: rows }
}

fn longest(known: Option<Over>, found: Over) -> Over {
    let ends = |over: &Over| over.resets_at_ms.unwrap_or(u64::MAX);
    known.filter(|known| ends(known) >= ends(&found)).unwrap_or(found)
}

enum Verdict {
    Within,
    Warned,
    Trickled,
    Over(Over),
}

fn judge(budget: &Budget, shows: Used, call: Use, now_ms: u64) -> Verdict {
    let (used, more) = match budget.measure {
        Measure::Calls => (shows.calls, call.calls),
        Measure::Amount => (shows.amount, call.amount_of(budget.scope)),
    };
    let end_ms = budget.window.end_ms(shows.start_ms.max(now_ms));
    let over = |resets_at_ms| Verdict::Over(Over { budget: *budget, used, resets_at_ms });
    let after = used.saturating_add(more);
    match budget.action {
        OverAction::Suspend if shows.is_shut => over(end_ms),
        _ if after <= budget.max => Verdict::Within,
        _ if after <= budget.cap() => Verdict::Warned,
        OverAction::Warn => Verdict::Warned,
        OverAction::Deny | OverAction::Suspend => over(end_ms),
        OverAction::Throttle { every_ms } => {
            let next_ms = shows.trickled_at_ms.saturating_add(every_ms);
            // A clock that was set back must not stop the trickle.
            if shows.trickled_at_ms == 0 || next_ms <= now_ms || shows.trickled_at_ms > now_ms {
                Verdict::Trickled
            } else {
                over(Some(end_ms.map_or(next_ms, |end_ms| end_ms.min(next_ms))))
            }
        }
    }
}

#[cfg(test)]
mod tests;
