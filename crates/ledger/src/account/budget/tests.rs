use super::*;
use crate::{AnswerState, Charge, ChargeRecord, HoldId, KeyId, ReleaseReason, Unit};
use alloy_primitives::B256;

const MINUTE_MS: u64 = 60_000;
/// Friday, 2026-11-20 00:00:00 UTC.
const FRIDAY_MS: u64 = 1_795_132_800_000;
const ONE: Use = Use { calls: 1, amount: 5, micros: 50_000 };

fn budget(window: Window, measure: Measure, max: u64, action: OverAction) -> Budget {
    Budget { scope: BudgetScope::Key, window, measure, max, burst_percent: 0, action }
}

/// The counters as a store has them after a call.
fn kept(counters: &mut Vec<(Counter, Used)>, judged: &Judged) {
    for (counter, used) in &judged.counters {
        counters.retain(|(other, _)| other != counter);
        counters.push((*counter, *used));
    }
}

/// How many of so many calls at the same moment pass.
fn passed(budgets: &[Budget], counters: &mut Vec<(Counter, Used)>, calls: usize, now_ms: u64) -> usize {
    (0..calls)
        .filter(|_| {
            let judged = count(budgets, counters, ONE, now_ms);
            kept(counters, &judged);
            judged.over.is_none()
        })
        .count()
}

/// A calendar that is counted day by day, as on paper.
fn calendar() -> impl Iterator<Item = (u64, u64, u64, u64)> {
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let length = move |year, month| match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        _ => 31,
    };
    let next = move |(day, year, month, of_month): (u64, u64, u64, u64)| {
        Some(match (of_month < length(year, month), month) {
            (true, _) => (day + 1, year, month, of_month + 1),
            (false, 12) => (day + 1, year + 1, 1, 1),
            (false, _) => (day + 1, year, month + 1, 1),
        })
    };
    std::iter::successors(Some((0, 1970, 1, 1)), move |at| next(*at))
}

#[test]
fn months_begin_on_the_first_of_every_month_for_four_hundred_and_thirty_years() {
    let mut first = 0;
    for (day, year, month, of_month) in calendar().take_while(|(_, year, ..)| *year < 2_400) {
        if of_month == 1 {
            first = day;
        }
        for ms in [0, DAY_MS - 1] {
            let start_ms = Window::Month.start_ms(day * DAY_MS + ms);
            assert_eq!(start_ms, first * DAY_MS, "{year}-{month}-{of_month}");
        }
        if of_month == 1 && day > 0 {
            assert_eq!(Window::Month.end_ms(day * DAY_MS - 1), Some(day * DAY_MS), "before {year}-{month}");
        }
    }
}

#[test]
fn every_window_of_two_years_begins_where_the_last_one_ends() {
    for window in [Window::Hour, Window::Day, Window::Week, Window::Month] {
        let mut now_ms = FRIDAY_MS;
        while now_ms < FRIDAY_MS + 2 * 366 * DAY_MS {
            let (start_ms, end_ms) = (window.start_ms(now_ms), window.end_ms(now_ms).unwrap());
            assert!(start_ms <= now_ms && now_ms < end_ms, "{window:?} {now_ms}");
            assert_eq!(window.start_ms(end_ms - 1), start_ms, "{window:?} {now_ms}: to its last millisecond");
            assert_eq!(window.start_ms(end_ms), end_ms, "{window:?} {now_ms}: the next one");
            now_ms = end_ms;
        }
    }
    assert_eq!((Window::Lifetime.start_ms(FRIDAY_MS), Window::Lifetime.end_ms(FRIDAY_MS)), (0, None));
}

#[test]
fn weeks_begin_on_monday_also_the_first_one() {
    assert_eq!(Window::Week.start_ms(FRIDAY_MS), FRIDAY_MS - 4 * DAY_MS);
    assert_eq!(Window::Week.end_ms(FRIDAY_MS), Some(FRIDAY_MS + 3 * DAY_MS));
    assert_eq!((Window::Week.start_ms(3 * DAY_MS), Window::Week.end_ms(0)), (0, Some(4 * DAY_MS)));
    assert_eq!(Window::Week.start_ms(4 * DAY_MS), 4 * DAY_MS);
}

#[test]
fn the_end_of_time_is_no_mistake() {
    for window in Window::ALL {
        let start_ms = window.start_ms(u64::MAX);
        assert!(window.end_ms(u64::MAX).is_none_or(|end_ms| end_ms >= start_ms), "{window:?}");
    }
}

#[test]
fn a_month_of_quotas() {
    let budgets = [
        budget(Window::Day, Measure::Calls, 3, OverAction::Deny),
        budget(Window::Week, Measure::Calls, 10, OverAction::Deny),
        budget(Window::Month, Measure::Amount, 150, OverAction::Deny),
    ];
    let mut counters = Vec::new();
    // December 2026 begins on a Tuesday. Ten pass in a week, three in a day, and thirty in the month: 5 each.
    let december_ms = FRIDAY_MS + 11 * DAY_MS;
    assert_eq!(Window::Month.start_ms(december_ms), december_ms);
    let passed: Vec<usize> =
        (0..31).map(|day| passed(&budgets, &mut counters, 5, december_ms + day * DAY_MS + 7 * MINUTE_MS)).collect();
    let weeks = [&[3, 3, 3, 1, 0, 0][..], &[3, 3, 3, 1, 0, 0, 0], &[3, 3, 3, 1, 0, 0, 0], &[0; 7], &[0; 4]].concat();
    assert_eq!(passed, weeks);
    assert_eq!(count(&budgets, &counters, ONE, december_ms + 31 * DAY_MS).over, None, "a new month");
}

#[test]
fn what_happens_above_a_budget() {
    let end_ms = FRIDAY_MS + DAY_MS;
    for (action, burst_percent, want) in [
        (OverAction::Deny, 0, ["ok", "ok", "over", "over", "over"]),
        (OverAction::Deny, 50, ["ok", "ok", "warned", "over", "over"]),
        (OverAction::Warn, 0, ["ok", "ok", "warned", "warned", "warned"]),
        (OverAction::Suspend, 0, ["ok", "ok", "over", "over", "over"]),
        (OverAction::Throttle { every_ms: MINUTE_MS }, 0, ["ok", "ok", "warned", "soon", "soon"]),
    ] {
        let budgets = [Budget { burst_percent, ..budget(Window::Day, Measure::Calls, 2, action) }];
        let mut counters = Vec::new();
        for (nth, want) in want.iter().enumerate() {
            let judged = count(&budgets, &counters, ONE, FRIDAY_MS + 1);
            kept(&mut counters, &judged);
            let got = match (judged.over.map(|over| over.resets_at_ms), judged.warned.is_empty()) {
                (None, true) => "ok",
                (None, false) => "warned",
                (Some(Some(at_ms)), _) if at_ms == end_ms => "over",
                (Some(Some(at_ms)), _) if at_ms == FRIDAY_MS + 1 + MINUTE_MS => "soon",
                (Some(_), _) => "?",
            };
            assert_eq!(got, *want, "{action:?} {burst_percent} {nth}");
        }
    }
}

#[test]
fn a_trickle_lets_one_through_in_its_time() {
    let budgets = [budget(Window::Day, Measure::Calls, 1, OverAction::Throttle { every_ms: MINUTE_MS })];
    let mut counters = Vec::new();
    assert_eq!(passed(&budgets, &mut counters, 9, FRIDAY_MS + 5), 2, "the one that fits, and one");
    assert_eq!(passed(&budgets, &mut counters, 9, FRIDAY_MS + 4 + MINUTE_MS), 0);
    assert_eq!(passed(&budgets, &mut counters, 9, FRIDAY_MS + 5 + MINUTE_MS), 1);
    assert_eq!(passed(&budgets, &mut counters, 9, FRIDAY_MS), 1, "a clock that was set back stops no trickle");
    assert_eq!(passed(&budgets, &mut counters, 9, FRIDAY_MS + DAY_MS), 2, "a new day");
}

#[test]
fn what_suspends_stays_shut_also_for_what_would_fit_and_opens_by_itself() {
    let budgets = [budget(Window::Hour, Measure::Amount, 7, OverAction::Suspend)];
    let mut counters = Vec::new();
    assert_eq!(passed(&budgets, &mut counters, 2, FRIDAY_MS), 1);
    let small = Use { amount: 1, ..ONE };
    let judged = count(&budgets, &counters, small, FRIDAY_MS + 1);
    assert!(judged.over.is_some_and(|over| over.suspends_account() && over.code() == "spending_limit_reached"));
    assert!(judged.counters.is_empty(), "it is shut already");
    assert_eq!(count(&budgets, &counters, small, FRIDAY_MS + 60 * MINUTE_MS).over, None);
}

#[test]
fn what_suspends_does_so_beside_a_longer_refusal() {
    let budgets = [
        budget(Window::Day, Measure::Calls, 0, OverAction::Suspend),
        budget(Window::Month, Measure::Calls, 0, OverAction::Deny),
    ];
    for budgets in [budgets, [budgets[1], budgets[0]]] {
        let judged = count(&budgets, &[], ONE, FRIDAY_MS);
        assert_eq!(judged.over.and_then(|over| over.resets_at_ms), Window::Month.end_ms(FRIDAY_MS));
        assert_eq!(judged.suspends.and_then(|over| over.resets_at_ms), Some(FRIDAY_MS + DAY_MS));
    }
}

#[test]
fn a_refused_call_is_counted_nowhere_and_hears_of_the_longest_wait() {
    let budgets = [
        budget(Window::Hour, Measure::Calls, 1, OverAction::Deny),
        budget(Window::Month, Measure::Calls, 1, OverAction::Deny),
        budget(Window::Day, Measure::Calls, 9, OverAction::Deny),
    ];
    let mut counters = Vec::new();
    assert_eq!(passed(&budgets, &mut counters, 4, FRIDAY_MS), 1);
    assert!(counters.iter().all(|(_, used)| used.calls == 1));
    let over = count(&budgets, &counters, ONE, FRIDAY_MS).over.unwrap();
    assert_eq!(over.resets_at_ms, Window::Month.end_ms(FRIDAY_MS));
    assert_eq!((over.code(), over.used), ("quota_exceeded", 1));
}

#[test]
fn a_clock_that_is_set_back_opens_no_window_again() {
    let budgets = [budget(Window::Day, Measure::Calls, 1, OverAction::Deny)];
    let mut counters = Vec::new();
    assert_eq!(passed(&budgets, &mut counters, 2, FRIDAY_MS), 1);
    let over = count(&budgets, &counters, ONE, FRIDAY_MS - 1).over.unwrap();
    assert_eq!(over.resets_at_ms, Some(FRIDAY_MS + DAY_MS));
}

#[test]
fn shared_budgets_count_dollars() {
    let gate = Budget { scope: BudgetScope::Gate, ..budget(Window::Day, Measure::Amount, 120_000, OverAction::Deny) };
    assert_eq!(passed(&[gate], &mut Vec::new(), 9, FRIDAY_MS), 2, "5 cents each");
}

#[test]
fn a_charge_counts_for_what_it_holds_and_then_for_what_it_took() {
    let charge = Charge {
        id: HoldId([1; 16]),
        key: KeyId([2; 16]),
        unit: Unit::Credit,
        amount: 3,
        micros: 20_000,
        route: String::new(),
        fingerprint: B256::ZERO,
        idempotency: None,
        opened_at_ms: 0,
        tags: None,
    };
    let record = |state, refunded| ChargeRecord {
        charge: charge.clone(),
        draws: Vec::new(),
        counted: Vec::new(),
        state,
        answer: AnswerState::Live,
        refunded,
    };
    for (state, refunded, want) in [
        (ChargeState::Open, 0, (1, 3, 20_000)),
        (ChargeState::Captured(3), 0, (1, 3, 20_000)),
        (ChargeState::Captured(1), 0, (1, 1, 6_667)),
        (ChargeState::Captured(3), 3, (1, 0, 0)),
        (ChargeState::Captured(0), 0, (1, 0, 0)),
        (ChargeState::Released(ReleaseReason::NotSent), 0, (0, 0, 0)),
    ] {
        let Use { calls, amount, micros } = counts(&record(state, refunded));
        assert_eq!((calls, amount, micros), want, "{state:?} {refunded}");
    }
}
