//! Budgets are counted in the step that charges, and given back in the step that gives the money back.

use std::sync::atomic::{AtomicU64, Ordering};

use ::ledger::{
    Budget, BudgetScope, Charge, ChargeStep, Grant, GrantId, GrantSource, Guards, KeyId, Measure, OverAction, Refill,
    Unit, Window,
};
use gate::{Accounts as _, Charging};

use super::*;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Friday, 2026-11-20 00:00:00 UTC.
const FRIDAY_MS: u64 = 1_795_132_800_000;
const PER_CALL: u64 = 5;

/// A journal with two accounts in credits, of which each has so much.
async fn accounts(credits: u64) -> Journalled {
    let j = journal();
    for id in [1, 2] {
        let key = KeyId([id; 16]);
        j.handle.open_account(key, Unit::Credit).await.unwrap();
        if credits > 0 {
            j.handle.grant(granted(key, credits)).await.unwrap().unwrap();
        }
    }
    j
}

fn granted(key: KeyId, amount: u64) -> Grant {
    Grant {
        id: GrantId(key.0),
        key,
        unit: Unit::Credit,
        source: GrantSource::Operator,
        label: String::new(),
        priority: 100,
        granted: amount,
        left: amount,
        granted_at_ms: 1,
        expires_at_ms: None,
    }
}

fn asked(key: u8, opened_at_ms: u64) -> Charge {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    Charge {
        id: HoldId(id),
        key: KeyId([key; 16]),
        unit: Unit::Credit,
        amount: PER_CALL,
        micros: PER_CALL * 10_000,
        route: "GET /paid".to_owned(),
        fingerprint: B256::ZERO,
        idempotency: None,
        opened_at_ms,
        tags: None,
    }
}

fn budget(scope: BudgetScope, window: Window, measure: Measure, max: u64, action: OverAction) -> Budget {
    Budget { scope, window, measure, max, burst_percent: 0, action }
}

fn guards(budgets: &[Budget]) -> Guards {
    Guards { budgets: budgets.to_vec(), refill: None }
}

impl Journalled {
    async fn charge(&self, charge: &Charge, guards: &Guards) -> Charging {
        self.handle.charge(charge.clone(), guards.clone()).await.unwrap()
    }

    async fn said(&self, charge: &Charge, guards: &Guards) -> &'static str {
        word(&self.charge(charge, guards).await)
    }

    fn used(&self, charge: &Charge, budgets: &[Budget], now_ms: u64) -> Vec<(u64, u64)> {
        let used = self.handle.budgets_used(charge.key, &charge.route, budgets, now_ms).unwrap();
        used.into_iter().map(|used| (used.calls, used.amount)).collect()
    }

    fn balance(&self, key: u8, now_ms: u64) -> u64 {
        self.handle.balance(KeyId([key; 16]), now_ms).unwrap().unwrap().1
    }
}

fn word(charging: &Charging) -> &'static str {
    match charging {
        Charging::Won { warned, .. } if warned.is_empty() => "won",
        Charging::Won { .. } => "warned",
        Charging::Over(over) => over.code(),
        Charging::Suspended { .. } => "suspended",
        Charging::Short { .. } => "short",
        Charging::Taken(_) => "taken",
        Charging::Closed => "closed",
    }
}

/// All of them before the first one is answered.
async fn at_once(j: &Journalled, calls: Vec<Charge>, guards: &Guards) -> Vec<&'static str> {
    let local = tokio::task::LocalSet::new();
    let asking = calls.into_iter().map(|call| {
        let (handle, guards) = (j.handle.clone(), guards.clone());
        local.spawn_local(async move { word(&handle.charge(call, guards).await.unwrap()) })
    });
    let asking: Vec<_> = asking.collect();
    local.await;
    let mut said = Vec::new();
    for one in asking {
        said.push(one.await.unwrap());
    }
    said
}

#[tokio::test]
async fn sixty_four_calls_at_once_and_a_budget_for_ten() {
    let j = accounts(1_000).await;
    let guards = guards(&[budget(BudgetScope::Key, Window::Day, Measure::Calls, 10, OverAction::Deny)]);
    let calls: Vec<Charge> = (0..64).map(|_| asked(1, FRIDAY_MS)).collect();
    let said = at_once(&j, calls, &guards).await;
    assert_eq!(said.iter().filter(|said| **said == "won").count(), 10);
    assert_eq!(said.iter().filter(|said| **said == "quota_exceeded").count(), 54);
    assert_eq!(j.balance(1, FRIDAY_MS), 1_000 - 10 * PER_CALL);
}

#[tokio::test]
async fn what_is_given_back_is_counted_back_in_the_window_of_the_charge() {
    use BudgetScope::{Gate, Key, KeyRoute, Route};
    let j = accounts(1_000).await;
    let budgets =
        [Key, KeyRoute, Route, Gate].map(|scope| budget(scope, Window::Hour, Measure::Calls, 100, OverAction::Deny));
    let guards = guards(&budgets);
    let steps = [
        (ChargeStep::Capture(PER_CALL), (1, 5, 50_000)),
        (ChargeStep::Capture(2), (1, 2, 20_000)),
        (ChargeStep::Release(ReleaseReason::NotSent), (0, 0, 0)),
        (ChargeStep::Burn(BurnReason::Unanswered), (0, 0, 0)),
    ];
    let mut whole = (0, 0, 0);
    for (step, (calls, amount, micros)) in steps {
        let call = asked(1, FRIDAY_MS + HOUR_MS - 1);
        assert_eq!(j.said(&call, &guards).await, "won");
        assert_eq!(j.used(&call, &budgets, FRIDAY_MS)[0], (whole.0 + 1, whole.1 + PER_CALL));
        j.handle.advance_charge(call.id, step).await.unwrap().unwrap();
        // A repeat gives nothing back.
        j.handle.advance_charge(call.id, step).await.unwrap().unwrap();
        whole = (whole.0 + calls, whole.1 + amount, whole.2 + micros);
        let (of_key, shared) = ((whole.0, whole.1), (whole.0, whole.2));
        assert_eq!(j.used(&call, &budgets, FRIDAY_MS), [of_key, of_key, shared, shared], "{step:?}");
    }
    // A charge of an hour that is over is given back to no other one.
    let late = asked(1, FRIDAY_MS + HOUR_MS - 1);
    assert_eq!(j.said(&late, &guards).await, "won");
    let next = asked(1, FRIDAY_MS + HOUR_MS);
    assert_eq!(j.said(&next, &guards).await, "won");
    j.handle.advance_charge(late.id, ChargeStep::Release(ReleaseReason::NotSent)).await.unwrap();
    assert_eq!(j.used(&next, &budgets[..1], FRIDAY_MS + HOUR_MS), [(1, PER_CALL)]);
    // A refund gives money back, not the call.
    j.handle.advance_charge(next.id, ChargeStep::Capture(PER_CALL)).await.unwrap();
    j.handle.advance_charge(next.id, ChargeStep::Refund(3)).await.unwrap();
    assert_eq!(j.used(&next, &budgets[..1], FRIDAY_MS + HOUR_MS), [(1, 2)]);
}

#[tokio::test]
async fn a_charge_reads_back_with_where_it_was_counted() {
    let j = accounts(1_000).await;
    let budgets = Window::ALL.map(|window| budget(BudgetScope::Key, window, Measure::Calls, 100, OverAction::Warn));
    let call = asked(1, FRIDAY_MS);
    j.charge(&call, &guards(&budgets)).await;
    let record = j.handle.charged(call.id).await.unwrap().unwrap();
    let want: Vec<_> = Window::ALL.map(|window| (window, window.start_ms(FRIDAY_MS))).to_vec();
    assert_eq!(record.counted.iter().map(|at| (at.counter.window, at.start_ms)).collect::<Vec<_>>(), want);
    assert_eq!(record.charge, call);
}

#[tokio::test]
async fn a_budget_that_suspends_closes_the_account_until_its_window_ends() {
    let j = accounts(1_000).await;
    let tight = budget(BudgetScope::Key, Window::Hour, Measure::Amount, 2 * PER_CALL, OverAction::Suspend);
    let (tight, none) = (guards(&[tight]), Guards::default());
    for want in ["won", "won", "spending_limit_reached", "suspended"] {
        assert_eq!(j.said(&asked(1, FRIDAY_MS), &tight).await, want);
    }
    // Whatever it calls, and whatever its budgets say by now.
    assert_eq!(
        j.charge(&asked(1, FRIDAY_MS + HOUR_MS - 1), &none).await,
        Charging::Suspended { until_ms: Some(FRIDAY_MS + HOUR_MS) }
    );
    assert_eq!(j.said(&asked(2, FRIDAY_MS), &tight).await, "won", "another key");
    assert_eq!(j.said(&asked(1, FRIDAY_MS + HOUR_MS), &tight).await, "won", "by itself");
}

#[tokio::test]
async fn a_budget_that_suspends_does_so_beside_one_that_refuses_for_longer() {
    let j = accounts(1_000).await;
    let of = |window, action| budget(BudgetScope::Key, window, Measure::Calls, 1, action);
    let both = guards(&[of(Window::Hour, OverAction::Suspend), of(Window::Month, OverAction::Deny)]);
    for want in ["won", "quota_exceeded", "suspended"] {
        assert_eq!(j.said(&asked(1, FRIDAY_MS), &both).await, want);
    }
    let until_ms = Some(FRIDAY_MS + HOUR_MS);
    assert_eq!(j.charge(&asked(1, FRIDAY_MS), &Guards::default()).await, Charging::Suspended { until_ms });
}

#[tokio::test]
async fn who_is_suspended_for_life_is_opened_again_by_hand() {
    let j = accounts(1_000).await;
    let life = |max| guards(&[budget(BudgetScope::Key, Window::Lifetime, Measure::Calls, max, OverAction::Suspend)]);
    for want in ["won", "quota_exceeded", "suspended"] {
        assert_eq!(j.said(&asked(1, FRIDAY_MS), &life(1)).await, want);
    }
    let later_ms = FRIDAY_MS + 10_000 * DAY_MS;
    assert_eq!(j.charge(&asked(1, later_ms), &life(9)).await, Charging::Suspended { until_ms: None });
    let reopen = |batch: &mut crate::writer::Batch<'_>| crate::budgets::reopen(batch, KeyId([1; 16]));
    j.handle.writer.run(&[], reopen).await.unwrap();
    assert_eq!(j.said(&asked(1, later_ms), &life(2)).await, "won");
    assert_eq!(j.said(&asked(1, later_ms), &life(2)).await, "quota_exceeded");
}

#[tokio::test]
async fn a_gate_that_is_shut_is_shut_for_all_until_the_day_ends() {
    let j = accounts(1_000).await;
    let shut = guards(&[budget(BudgetScope::Gate, Window::Day, Measure::Amount, 60_000, OverAction::Suspend)]);
    assert_eq!(j.said(&asked(1, FRIDAY_MS), &shut).await, "won");
    assert_eq!(j.said(&asked(1, FRIDAY_MS), &shut).await, "spending_limit_reached");
    let small = Charge { amount: 1, micros: 10_000, ..asked(2, FRIDAY_MS) };
    assert_eq!(j.said(&small, &shut).await, "spending_limit_reached", "it would fit, and it is shut");
    assert_eq!(j.said(&small, &Guards::default()).await, "won", "no account is closed");
    assert_eq!(j.said(&asked(2, FRIDAY_MS + DAY_MS), &shut).await, "won");
}

#[tokio::test]
async fn b12_keys_that_begin_alike_have_budgets_of_their_own() {
    let j = accounts(0).await;
    let guards = guards(&[budget(BudgetScope::Key, Window::Day, Measure::Calls, 1, OverAction::Deny)]);
    let mut alike = [7; 16];
    for last in [1, 2] {
        alike[15] = last;
        let key = KeyId(alike);
        j.handle.open_account(key, Unit::Credit).await.unwrap();
        j.handle.grant(granted(key, 100)).await.unwrap().unwrap();
        let call = || Charge { key, ..asked(7, FRIDAY_MS) };
        assert_eq!(j.said(&call(), &guards).await, "won");
        assert_eq!(j.said(&call(), &guards).await, "quota_exceeded");
    }
}

#[tokio::test]
async fn a_balance_tops_itself_up_once_in_a_step_and_so_often_in_a_day() {
    let j = accounts(12).await;
    let refill = Refill { below: 4, amount: 10, per_day: 2 };
    let guards = Guards { budgets: Vec::new(), refill: Some(refill) };
    // 12 - 5 = 7; then 2 is below 4: 17 - 10; then 17 - 15 = 2 is: 22 - 20.
    let mut balances = Vec::new();
    for _ in 0..7 {
        let said = j.said(&asked(1, FRIDAY_MS), &guards).await;
        balances.push((said, j.balance(1, FRIDAY_MS)));
    }
    let want = [("won", 7), ("won", 12), ("won", 7), ("won", 12), ("won", 7), ("won", 2), ("short", 2)];
    assert_eq!(balances, want);
    let automatic = j.handle.grants(KeyId([1; 16])).unwrap().into_iter();
    assert_eq!(automatic.filter(|grant| grant.source == GrantSource::Automatic).count(), 2);
    assert_eq!(j.said(&asked(1, FRIDAY_MS + DAY_MS), &guards).await, "won", "a new day");
    assert_eq!(j.balance(1, FRIDAY_MS + DAY_MS), 7);
}

#[tokio::test]
async fn sixty_four_calls_at_once_top_up_no_more_than_a_day_allows() {
    let j = accounts(0).await;
    let guards = Guards { budgets: Vec::new(), refill: Some(Refill { below: 100, amount: 10, per_day: 3 }) };
    let calls: Vec<Charge> = (0..64).map(|_| asked(1, FRIDAY_MS)).collect();
    let said = at_once(&j, calls, &guards).await;
    assert_eq!(said.iter().filter(|said| **said == "won").count(), 6);
    assert_eq!(j.balance(1, FRIDAY_MS), 0);
}

#[tokio::test]
async fn what_a_budget_refuses_tops_nothing_up() {
    let j = accounts(0).await;
    let nothing = budget(BudgetScope::Key, Window::Day, Measure::Calls, 0, OverAction::Deny);
    let guards = Guards { budgets: vec![nothing], refill: Some(Refill { below: 100, amount: 10, per_day: 3 }) };
    assert_eq!(j.said(&asked(1, FRIDAY_MS), &guards).await, "quota_exceeded");
    assert_eq!(j.balance(1, FRIDAY_MS), 0);
}

#[tokio::test]
async fn a_name_is_its_callers_on_its_route() {
    let j = accounts(1_000).await;
    let named = |key, route: &str| Charge {
        idempotency: Some(B256::repeat_byte(1)),
        route: route.to_owned(),
        ..asked(key, FRIDAY_MS)
    };
    let none = Guards::default();
    assert_eq!(j.said(&named(1, "GET /a"), &none).await, "won");
    assert_eq!(j.said(&named(1, "GET /a"), &none).await, "taken");
    assert_eq!(j.said(&named(1, "GET /b"), &none).await, "won");
    assert_eq!(j.said(&named(2, "GET /a"), &none).await, "won");
}

#[tokio::test]
async fn an_answer_that_a_crash_lost_is_not_waited_for() {
    let j = accounts(1_000).await;
    let named = || Charge { idempotency: Some(B256::repeat_byte(1)), ..asked(1, FRIDAY_MS) };
    let (first, none) = (named(), Guards::default());
    assert_eq!(j.said(&first, &none).await, "won");
    j.handle.advance_charge(first.id, ChargeStep::Capture(PER_CALL)).await.unwrap();
    assert_eq!(j.handle.recover_charges().await.unwrap(), 0);
    match j.charge(&named(), &none).await {
        Charging::Taken(record) => assert_eq!(record.answer, AnswerState::Lost),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_free_answer_is_kept_under_its_name_and_one_that_is_not_may_be_asked_for_again() {
    let j = accounts(1_000).await;
    let named = || Charge { idempotency: Some(B256::repeat_byte(1)), ..asked(1, FRIDAY_MS) };
    let (first, second, none) = (named(), named(), Guards::default());
    assert_eq!(j.said(&first, &none).await, "won");
    j.handle.advance_charge(first.id, ChargeStep::Release(ReleaseReason::FreeStatus)).await.unwrap();
    assert_eq!(j.said(&second, &none).await, "won");
    j.handle.advance_charge(second.id, ChargeStep::Release(ReleaseReason::FreeStatus)).await.unwrap();
    let answer = Answer { status: 500, headers: Vec::new(), body: b"no".to_vec(), request_digest: None };
    assert!(j.handle.keep_charged_answer(second.id, answer).await.unwrap());
    match j.charge(&named(), &none).await {
        Charging::Taken(record) => assert_eq!(record.charge.id, second.id),
        other => panic!("{other:?}"),
    }
}
