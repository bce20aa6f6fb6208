//! `budgets` of `accounts` and of a route: how often keys may call, and what they may spend, in a span of the calendar.

use ledger::{Budget, BudgetScope, Measure, OverAction, Unit, Window};

use super::optional;
use super::reader::{Node, Reader};
use super::tab::micros;

const BUDGETS_MAX: usize = 20;
const CALLS_MAX: u64 = 1_000_000_000;
const BURST_MAX_PERCENT: u64 = 1_000;
const THROTTLE_MAX_S: u64 = 86_400;
const THROTTLE_DEFAULT_S: u64 = 60;
const FIX: &str = "write budgets such as `- { scope: key, per: day, calls: 1000 }`.";

/// Whose file the budgets are in, which says what their scopes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Accounts,
    Route,
}

/// One budget, before it is known in which unit an account counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetConfig {
    scope: BudgetScope,
    window: Window,
    most: Most,
    burst_percent: u16,
    action: OverAction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Most {
    Calls(u64),
    Micros(u64),
}

impl BudgetConfig {
    /// As it counts for an account of a unit. `None` where dollars bound what counts calls.
    pub(crate) fn of(self, unit: Unit, credit_micros: u64) -> Option<Budget> {
        let (measure, max) = match (self.most, self.scope, unit) {
            (Most::Calls(calls), ..) => (Measure::Calls, calls),
            (Most::Micros(micros), BudgetScope::Route | BudgetScope::Gate, _)
            | (Most::Micros(micros), BudgetScope::Key | BudgetScope::KeyRoute, Unit::Usd) => (Measure::Amount, micros),
            (Most::Micros(micros), BudgetScope::Key | BudgetScope::KeyRoute, Unit::Credit) => {
                (Measure::Amount, micros.checked_div(credit_micros)?)
            }
            (Most::Micros(_), BudgetScope::Key | BudgetScope::KeyRoute, Unit::Call) => return None,
        };
        let Self { scope, window, burst_percent, action, .. } = self;
        Some(Budget { scope, window, measure, max, burst_percent, action })
    }
}

/// Reads a list of budgets.
pub(super) fn budgets<'d>(reader: &mut Reader<'d>, node: &Node<'d>, place: Place) -> Option<Vec<BudgetConfig>> {
    let items = reader.items(node, FIX)?;
    if items.len() > BUDGETS_MAX {
        let what = format!("{} budgets are more than {BUDGETS_MAX}.", items.len());
        return reader.mistake(&node.at, what, "keep the ones that bind.");
    }
    let read: Vec<_> = items.iter().map(|item| budget(reader, item, place)).collect();
    read.into_iter().collect()
}

fn budget<'d>(reader: &mut Reader<'d>, node: &Node<'d>, place: Place) -> Option<BudgetConfig> {
    let level = match place {
        Place::Accounts => "accounts.budgets[]",
        Place::Route => "routes[].budgets[]",
    };
    let fields = reader.fields(node, level)?;
    let scope = reader.required(&fields, "scope", "write whose calls are counted together.");
    let scope = scope.and_then(|node| scope_of(reader, &node, place));
    let window = reader.required(&fields, "per", "write hour, day, week, month or lifetime.");
    let window = window.and_then(|node| window_of(reader, &node));
    let most = match (fields.get("calls"), fields.get("usd")) {
        (Some(node), None) => reader.whole(&node, 0..=CALLS_MAX, "calls").map(Most::Calls),
        (None, Some(node)) => micros(reader, &node).map(Most::Micros),
        (None, None) if fields.refused() => None,
        _ => reader.mistake(&fields.at, "a budget counts calls or dollars.", "write one of `calls` and `usd`."),
    };
    let burst = optional(reader, &fields, "burst_percent", 0, |reader, node| {
        reader.whole(node, 0..=BURST_MAX_PERCENT, "percent").and_then(|percent| u16::try_from(percent).ok())
    });
    let every_s = match fields.get("throttle_s") {
        Some(node) => reader.whole(&node, 1..=THROTTLE_MAX_S, "seconds").map(Some),
        None => Some(None),
    };
    let action = optional(reader, &fields, "action", OverAction::Deny, action_of);
    let action = match (action?, every_s?) {
        (OverAction::Throttle { .. }, Some(every_s)) => {
            OverAction::Throttle { every_ms: every_s.saturating_mul(1_000) }
        }
        (_, Some(_)) => {
            let at = fields.get("throttle_s").map_or_else(|| fields.at.clone(), |node| node.at);
            return reader.mistake(&at, "this budget throttles nobody.", "write `action: throttle` beside it.");
        }
        (action, None) => action,
    };
    Some(BudgetConfig { scope: scope?, window: window?, most: most?, burst_percent: burst?, action })
}

fn scope_of<'d>(reader: &mut Reader<'d>, node: &Node<'d>, place: Place) -> Option<BudgetScope> {
    let text = reader.text(node, "write key.")?;
    let (found, fix) = match (place, text.value.as_str()) {
        (Place::Accounts, "key") => (Some(BudgetScope::Key), ""),
        (Place::Accounts, "gate") => (Some(BudgetScope::Gate), ""),
        (Place::Route, "key") => (Some(BudgetScope::KeyRoute), ""),
        (Place::Route, "route") => (Some(BudgetScope::Route), ""),
        (Place::Accounts, _) => (None, "write key for each key, or gate for all together."),
        (Place::Route, _) => (None, "write key for each key on the route, or route for all together."),
    };
    match found {
        Some(scope) => Some(scope),
        None => reader.mistake(&node.at, format!("{} is not whose calls are counted here.", text.shown()), fix),
    }
}

fn window_of<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Window> {
    let fix = "write hour, day, week, month or lifetime.";
    let text = reader.text(node, fix)?;
    match Window::parse(&text.value) {
        Some(window) => Some(window),
        None => reader.mistake(&node.at, format!("{} is not a span of the calendar.", text.shown()), fix),
    }
}

fn action_of<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<OverAction> {
    let fix = "write warn, throttle, deny or suspend.";
    let text = reader.text(node, fix)?;
    let every_ms = THROTTLE_DEFAULT_S.saturating_mul(1_000);
    let all = [OverAction::Warn, OverAction::Throttle { every_ms }, OverAction::Deny, OverAction::Suspend];
    match all.into_iter().find(|action| action.code() == text.value) {
        Some(action) => Some(action),
        None => reader.mistake(&node.at, format!("{} is not what a budget does.", text.shown()), fix),
    }
}
