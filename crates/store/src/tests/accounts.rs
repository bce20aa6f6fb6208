//! Balances on a real file: what is granted, held, taken and given back.

use std::sync::atomic::{AtomicU64, Ordering};

use super::refunds::futures;
use super::*;
use crate::accounts::close_account;
use crate::writer::Batch;
use ::ledger::{Charge, ChargeState, ChargeStep, Grant, GrantId, GrantSource, Guards, KeyId, Unit};
use gate::{Accounts as _, Charging, FaultKind};

const KEY: KeyId = KeyId([1; 16]);
const OTHER: KeyId = KeyId([2; 16]);
const DAY_MS: u64 = 86_400_000;
/// When the tests' journal lives.
const NOW_MS: u64 = 1_000_000;

fn grant(number: u8, amount: u64) -> Grant {
    Grant {
        id: GrantId([number; 16]),
        key: KEY,
        unit: Unit::Usd,
        source: GrantSource::Operator,
        label: String::new(),
        priority: 0,
        granted: amount,
        left: amount,
        granted_at_ms: u64::from(number),
        expires_at_ms: None,
    }
}

fn charge(number: u8, amount: u64) -> Charge {
    Charge {
        id: HoldId([number; 16]),
        key: KEY,
        unit: Unit::Usd,
        amount,
        micros: 0,
        route: "GET /paid".to_owned(),
        fingerprint: B256::repeat_byte(4),
        idempotency: None,
        opened_at_ms: NOW_MS,
        tags: None,
    }
}

const fn won_with(available: u64) -> Charging {
    Charging::Won { available, warned: Vec::new() }
}

/// A journal with two accounts, the first of which has these grants.
async fn funded(grants: &[Grant]) -> Journalled {
    let j = journal();
    for key in [KEY, OTHER] {
        j.handle.open_account(key, Unit::Usd).await.unwrap();
    }
    for grant in grants {
        j.handle.grant(grant.clone()).await.unwrap().unwrap();
    }
    j
}

impl Journalled {
    /// Whether a charge is won, and what may be drawn besides.
    async fn pays(&self, charge: Charge) -> (bool, u64) {
        match self.handle.charge(charge, Guards::default()).await.unwrap() {
            Charging::Won { available, .. } => (true, available),
            Charging::Short { available } => (false, available),
            other => panic!("{other:?}"),
        }
    }

    /// The balance after a step.
    async fn end(&self, number: u8, step: ChargeStep) -> u64 {
        self.handle.advance_charge(HoldId([number; 16]), step).await.unwrap().unwrap().1
    }

    fn balance_of(&self, key: KeyId) -> (u64, u64) {
        let (_, available, held) = self.handle.balance(key, NOW_MS).unwrap().unwrap();
        (available, held)
    }

    fn lefts(&self, key: KeyId) -> Vec<(u8, u64)> {
        self.handle.grants(key).unwrap().iter().map(|grant| (grant.id.0[0], grant.left)).collect()
    }

    fn sum(&self, sql: &str) -> i64 {
        self.handle.read(|db| db.query_row(sql, [], |row| row.get(0))).unwrap()
    }

    /// What the lines say of an account.
    fn booked(&self, account: &str) -> i128 {
        let sql = "SELECT side, amount FROM lines WHERE account = ?1";
        let signed = |row: &rusqlite::Row<'_>| {
            let amount = i128::try_from(u128::from_be_bytes(rows::fixed(row, 1)?)).unwrap();
            Ok(if row.get::<_, String>(0)? == "credit" { amount } else { -amount })
        };
        let sums =
            self.handle.read(|db| db.prepare(sql)?.query_map([account], signed)?.collect::<rusqlite::Result<Vec<_>>>());
        sums.unwrap().iter().sum()
    }

    /// Each balance is what its entries come to, and all accounts together are nothing.
    fn in_order(&self) {
        for key in [KEY, OTHER] {
            let grants: u64 = self.handle.grants(key).unwrap().iter().map(|grant| grant.left).sum();
            let held = self.balance_of(key).1;
            assert_eq!(self.booked(&format!("balance:{key}")), i128::from(grants + held), "{key}");
        }
        let accounts = [format!("balance:{KEY}"), format!("balance:{OTHER}")];
        let others = ["issued", "earned", "lapsed", "conversion"].map(str::to_owned);
        assert_eq!(accounts.iter().chain(&others).map(|account| self.booked(account)).sum::<i128>(), 0);
        let spent = self.sum("SELECT coalesce(sum(spent), 0) FROM accounts");
        assert_eq!(self.booked("earned"), i128::from(spent));
    }
}

#[tokio::test]
async fn of_64_charges_at_once_a_balance_for_10_pays_for_10() {
    let j = funded(&[grant(1, 40), grant(2, 60)]).await;
    let local = tokio::task::LocalSet::new();
    let charges = (0..64u8).map(|number| {
        let handle = j.handle.clone();
        async move { handle.charge(charge(number + 1, 10), Guards::default()).await.unwrap() }
    });
    let won = local
        .run_until(async {
            let tasks: Vec<_> = charges.map(tokio::task::spawn_local).collect();
            let mut won = Vec::new();
            for (number, task) in (1u8..).zip(tasks) {
                match task.await.unwrap() {
                    Charging::Won { .. } => won.push(number),
                    short => assert_eq!(short, Charging::Short { available: 0 }),
                }
            }
            won
        })
        .await;
    assert_eq!((won.len(), j.balance_of(KEY)), (10, (0, 100)));
    for number in won {
        assert_eq!(j.end(number, ChargeStep::Capture(10)).await, 0);
    }
    assert_eq!((j.balance_of(KEY), j.lefts(KEY)), ((0, 0), vec![(1, 0), (2, 0)]));
    let (row, ..) = j.handle.balance(KEY, NOW_MS).unwrap().unwrap();
    assert_eq!((row.calls, row.spent, row.used_at_ms), (10, 100, Some(NOW_MS)));
    assert_eq!(j.sum("SELECT count(*) FROM charges"), 10);
    j.in_order();
}

#[tokio::test]
async fn grants_are_used_by_priority_then_end_then_age() {
    let ends = |expires_at_ms| Some(NOW_MS + expires_at_ms);
    let j = funded(&[
        Grant { priority: 1, ..grant(1, 10) },
        grant(4, 10),
        grant(2, 10),
        Grant { expires_at_ms: ends(2_000), ..grant(3, 10) },
        Grant { expires_at_ms: ends(1_000), ..grant(5, 10) },
        Grant { expires_at_ms: ends(0), ..grant(6, 10) },
    ])
    .await;
    assert_eq!(j.balance_of(KEY), (50, 0), "what has ended is not there");
    for (number, grants) in (1u8..).zip([5, 3, 2, 4, 1]) {
        assert_eq!(j.pays(charge(number, 10)).await, (true, 50 - 10 * u64::from(number)));
        let record = j.handle.charged(HoldId([number; 16])).await.unwrap().unwrap();
        assert_eq!(record.draws.iter().map(|draw| draw.grant.0[0]).collect::<Vec<_>>(), [grants]);
    }
    assert_eq!(j.pays(charge(9, 1)).await, (false, 0));
    j.in_order();
}

#[tokio::test]
async fn a_grants_name_is_good_for_one() {
    let j = funded(&[]).await;
    for asked in futures((0..16).map(|_| j.handle.grant(grant(1, 10)))).await {
        assert_eq!(asked.unwrap(), Ok(10));
    }
    assert_eq!((j.balance_of(KEY), j.sum("SELECT count(*) FROM entries")), ((10, 0), 1));
    // Nor when it was used up since.
    assert_eq!(j.handle.withdraw(KEY, 10).await.unwrap(), Ok(0));
    assert_eq!(j.handle.grant(grant(1, 10)).await.unwrap(), Ok(0));
    let refused = [
        (Grant { key: KeyId([9; 16]), ..grant(2, 10) }, GrantRefusal::NoAccount),
        (Grant { unit: Unit::Credit, ..grant(2, 10) }, GrantRefusal::OtherUnit),
        (grant(2, 1_000_000_000_000_001), GrantRefusal::TooMuch),
    ];
    for (grant, refusal) in refused {
        assert_eq!(j.handle.grant(grant).await.unwrap(), Err(refusal));
    }
    assert_eq!(j.handle.grant(grant(2, 0)).await.unwrap(), Ok(0), "nothing is nothing");
    assert_eq!((j.balance_of(KEY), j.handle.grants(KEY).unwrap().len()), ((0, 0), 1));
    j.in_order();
}

/// The clock of the test below; no other test has it.
static CLOCK_MS: AtomicU64 = AtomicU64::new(0);

#[tokio::test]
async fn a_month_of_grants_that_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("j.db"), LIMITS, || CLOCK_MS.load(Ordering::SeqCst)).unwrap();
    let j = Journalled { _folder: folder, handle: store.handle().unwrap(), store };
    j.handle.open_account(KEY, Unit::Usd).await.unwrap();
    j.handle.open_account(OTHER, Unit::Usd).await.unwrap();
    // One for each day, good until the day is over.
    for day in 0..30u8 {
        let expires_at_ms = Some((u64::from(day) + 1) * DAY_MS);
        j.handle.grant(Grant { expires_at_ms, ..grant(day + 1, 10) }).await.unwrap().unwrap();
    }
    for day in 0..30u8 {
        let (begins_ms, left) = (u64::from(day) * DAY_MS, 10 * (30 - u64::from(day)));
        CLOCK_MS.store(begins_ms, Ordering::SeqCst);
        // What ended with the day before cannot be drawn from, also before anybody has looked.
        let (_, available, _) = j.handle.balance(KEY, begins_ms).unwrap().unwrap();
        assert_eq!(available, left, "day {day}");
        assert_eq!(j.handle.lapse(begins_ms).await.unwrap(), usize::from(day > 0));
        assert_eq!(j.handle.lapse(begins_ms).await.unwrap(), 0, "once");
        // A call of 8 in the last millisecond of the day is paid by what ends with it, and ends after it.
        let now_ms = begins_ms + DAY_MS - 1;
        CLOCK_MS.store(now_ms, Ordering::SeqCst);
        let opened = Charge { opened_at_ms: now_ms, ..charge(day + 1, 8) };
        assert_eq!(j.pays(opened).await, (true, left - 8), "day {day}");
        CLOCK_MS.store(now_ms + 1, Ordering::SeqCst);
        // 5 of it are given back, to a grant that has ended: they lapse with the 2 that were not used.
        assert_eq!(j.end(day + 1, ChargeStep::Capture(3)).await, left - 10);
    }
    assert_eq!(j.handle.lapse(30 * DAY_MS).await.unwrap(), 1);
    assert_eq!((j.booked("earned"), j.booked("lapsed"), j.booked("issued")), (30 * 3, 30 * 7, -300));
    j.in_order();
}

#[tokio::test]
async fn what_the_operator_takes_back_is_not_what_calls_hold() {
    let j = funded(&[grant(1, 30), Grant { expires_at_ms: Some(NOW_MS), ..grant(2, 50) }]).await;
    assert_eq!(j.pays(charge(1, 20)).await, (true, 10));
    assert_eq!(j.handle.withdraw(KEY, 11).await.unwrap(), Err(GrantRefusal::Short), "what has ended is not there");
    assert_eq!(j.handle.withdraw(KeyId([9; 16]), 1).await.unwrap(), Err(GrantRefusal::NoAccount));
    let taken = futures((0..16).map(|_| j.handle.withdraw(KEY, 4))).await;
    assert_eq!(taken.iter().filter(|taken| matches!(taken, Ok(Ok(_)))).count(), 2);
    assert_eq!(j.balance_of(KEY), (2, 20));
    assert_eq!(j.end(1, ChargeStep::Release(ReleaseReason::NotSent)).await, 22);
    assert_eq!(j.booked("issued"), -72);
    j.in_order();
}

#[tokio::test]
async fn a_transfer_moves_once_by_its_name() {
    let ends = Some(NOW_MS + 5_000);
    let j = funded(&[Grant { expires_at_ms: ends, ..grant(1, 30) }, grant(2, 20)]).await;
    let name = [7; 16];
    for asked in futures((0..16).map(|_| j.handle.transfer(KEY, OTHER, 40, name))).await {
        assert_eq!(asked.unwrap(), Ok(10));
    }
    assert_eq!((j.balance_of(KEY), j.balance_of(OTHER)), ((10, 0), (40, 0)));
    let given = j.handle.grants(OTHER).unwrap();
    assert!(given.iter().all(|grant| grant.source == GrantSource::Transfer(KEY)), "{given:?}");
    let mut parts: Vec<_> = given.iter().map(|grant| (grant.left, grant.expires_at_ms)).collect();
    parts.sort_unstable();
    assert_eq!(parts, [(10, None), (30, ends)], "what ends goes on ending");
    assert_eq!(j.handle.transfer(KEY, OTHER, 11, [8; 16]).await.unwrap(), Err(GrantRefusal::Short));
    assert_eq!(j.handle.transfer(KEY, KeyId([9; 16]), 1, [8; 16]).await.unwrap(), Err(GrantRefusal::NoAccount));
    j.handle.open_account(KeyId([3; 16]), Unit::Credit).await.unwrap();
    assert_eq!(j.handle.transfer(KEY, KeyId([3; 16]), 1, [8; 16]).await.unwrap(), Err(GrantRefusal::OtherUnit));
    // Back, and to himself.
    assert_eq!(j.handle.transfer(OTHER, KEY, 40, [9; 16]).await.unwrap(), Ok(0));
    assert_eq!(j.handle.transfer(KEY, KEY, 50, [10; 16]).await.unwrap(), Ok(50));
    assert_eq!((j.balance_of(KEY), j.balance_of(OTHER)), ((50, 0), (0, 0)));
    j.in_order();
}

#[tokio::test]
async fn a_charge_takes_at_most_what_it_holds_and_gives_the_rest_back() {
    let j = funded(&[grant(1, 10), grant(2, 10)]).await;
    assert_eq!(j.pays(charge(1, 15)).await, (true, 5));
    assert_eq!(j.end(1, ChargeStep::Capture(7)).await, 13);
    assert_eq!(j.lefts(KEY), [(1, 3), (2, 10)]);
    assert_eq!(j.end(1, ChargeStep::Capture(15)).await, 13, "once");
    // A reading above the ceiling.
    assert_eq!(j.pays(charge(2, 5)).await, (true, 8));
    assert_eq!(j.end(2, ChargeStep::Capture(1_000)).await, 8);
    // A reading of nothing.
    assert_eq!(j.pays(charge(3, 5)).await, (true, 3));
    assert_eq!(j.end(3, ChargeStep::Capture(0)).await, 8);
    let (row, ..) = j.handle.balance(KEY, NOW_MS).unwrap().unwrap();
    assert_eq!((row.calls, row.spent), (3, 12));
    assert_eq!(j.handle.advance_charge(HoldId([9; 16]), ChargeStep::Capture(1)).await.unwrap(), None);
    j.in_order();
}

#[tokio::test]
async fn what_was_given_back_is_never_taken() {
    let j = funded(&[grant(1, 10)]).await;
    for (number, back) in
        [(1, ChargeStep::Release(ReleaseReason::FreeStatus)), (2, ChargeStep::Burn(BurnReason::Unanswered))]
    {
        assert_eq!(j.pays(charge(number, 10)).await, (true, 0));
        assert_eq!(j.end(number, back).await, 10);
        assert_eq!(j.end(number, back).await, 10, "once");
        for step in [ChargeStep::Capture(10), ChargeStep::Refund(1)] {
            let fault = j.handle.advance_charge(HoldId([number; 16]), step).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Invariant, "{back:?} {step:?}");
        }
    }
    assert_eq!((j.balance_of(KEY), j.sum("SELECT count(*) FROM entries")), ((10, 0), 1));
    j.in_order();
}

#[tokio::test]
async fn a_refund_gives_back_at_most_what_was_taken() {
    let j = funded(&[grant(1, 10)]).await;
    assert_eq!(j.pays(charge(1, 10)).await, (true, 0));
    let refund = |sum| j.handle.advance_charge(HoldId([1; 16]), ChargeStep::Refund(sum));
    assert!(refund(1).await.is_err(), "not before it was taken");
    assert_eq!(j.end(1, ChargeStep::Capture(8)).await, 2);
    assert!(refund(9).await.is_err());
    for answer in futures((0..16).map(|_| refund(3))).await {
        assert_eq!(answer.unwrap().unwrap().1, 5);
    }
    assert_eq!(j.end(1, ChargeStep::Refund(2)).await, 5, "less than before is nothing");
    assert_eq!(j.end(1, ChargeStep::Refund(8)).await, 10);
    let (row, ..) = j.handle.balance(KEY, NOW_MS).unwrap().unwrap();
    assert_eq!((row.calls, row.spent, j.booked("earned")), (1, 0, 0));
    j.in_order();
}

#[tokio::test]
async fn a_closed_account_does_not_pay() {
    let j = funded(&[grant(1, 100)]).await;
    let close = |is_closed, closes_at_ms| {
        let job = move |batch: &mut Batch<'_>| close_account(batch, KEY, is_closed, closes_at_ms);
        j.handle.writer.run(&[], job)
    };
    let rows = [
        (true, None, false),
        (false, Some(NOW_MS), false),
        (false, Some(NOW_MS + 1), true),
        (true, Some(NOW_MS + 1), false),
        (false, None, true),
    ];
    for (number, (is_closed, closes_at_ms, pays)) in (1u8..).zip(rows) {
        close(is_closed, closes_at_ms).await.unwrap();
        let charged = j.handle.charge(charge(number, 10), Guards::default()).await.unwrap();
        assert_eq!(charged != Charging::Closed, pays, "{is_closed} {closes_at_ms:?}");
    }
    // What was held before is taken all the same.
    close(true, None).await.unwrap();
    assert_eq!(j.end(3, ChargeStep::Capture(10)).await, 80);
    let elsewhere = [Charge { key: KeyId([9; 16]), ..charge(7, 1) }, Charge { unit: Unit::Call, ..charge(8, 1) }];
    for charge in elsewhere {
        assert_eq!(j.handle.charge(charge, Guards::default()).await.unwrap(), Charging::Closed);
    }
    j.in_order();
}

#[tokio::test]
async fn a_callers_name_for_a_call_is_good_for_one() {
    let j = funded(&[grant(1, 100)]).await;
    j.handle.grant(Grant { key: OTHER, ..grant(2, 10) }).await.unwrap().unwrap();
    let named = |number| Charge { idempotency: Some(B256::repeat_byte(5)), ..charge(number, 10) };
    let all = futures((1..=16).map(|number| j.handle.charge(named(number), Guards::default()))).await;
    let won: Vec<u8> =
        (1..).zip(&all).filter(|(_, charged)| matches!(charged, Ok(Charging::Won { .. }))).map(|(n, _)| n).collect();
    let [first] = won.as_slice() else { panic!("{won:?}") };
    for charged in all {
        match charged.unwrap() {
            Charging::Won { .. } => {}
            Charging::Taken(record) => assert_eq!(record.charge.id, HoldId([*first; 16])),
            other => panic!("{other:?}"),
        }
    }
    // Another holder's call of the same name is another call.
    let other = Charge { key: OTHER, ..named(20) };
    assert_eq!(j.handle.charge(other, Guards::default()).await.unwrap(), won_with(0));
    // One that was let go may come again, one that may have run may not.
    j.end(*first, ChargeStep::Release(ReleaseReason::NotSent)).await;
    assert_eq!(j.pays(named(30)).await, (true, 90));
    j.end(30, ChargeStep::Burn(BurnReason::Unanswered)).await;
    assert!(matches!(j.handle.charge(named(31), Guards::default()).await.unwrap(), Charging::Taken(_)));
    j.in_order();
}

#[tokio::test]
async fn what_a_crash_left_open_is_given_back() {
    let j = funded(&[grant(1, 600), Grant { expires_at_ms: Some(NOW_MS + 1), ..grant(2, 1) }]).await;
    // More than one batch of them, among others that have ended.
    for number in 0..600u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number + 1).to_be_bytes());
        assert!(j.pays(Charge { id: HoldId(id), ..charge(0, 1) }).await.0);
        if number % 100 == 0 {
            j.handle.advance_charge(HoldId(id), ChargeStep::Capture(1)).await.unwrap();
        }
    }
    assert_eq!(j.balance_of(KEY), (1, 594));
    assert_eq!(j.handle.recover_charges().await.unwrap(), 594);
    assert_eq!((j.balance_of(KEY), j.handle.recover_charges().await.unwrap()), ((595, 0), 0));
    let burnt = "SELECT count(*) FROM charges WHERE state = 'burnt' AND reason = 'interrupted'";
    assert_eq!(j.sum(burnt), 594);
    j.in_order();
}

#[tokio::test]
async fn an_answer_that_a_crash_cut_off_is_not_waited_for() {
    let j = funded(&[grant(1, 100)]).await;
    let named = |number| Charge { idempotency: Some(B256::repeat_byte(number)), ..charge(number, 10) };
    for number in 1..=3 {
        assert!(j.pays(named(number)).await.0);
    }
    j.end(1, ChargeStep::Capture(10)).await;
    j.end(2, ChargeStep::Capture(10)).await;
    assert!(j.handle.keep_charged_answer(HoldId([2; 16]), answer(400)).await.unwrap());
    assert_eq!(j.handle.recover_charges().await.unwrap(), 1);
    let mut answers = Vec::new();
    for number in 1..=3 {
        answers.push(j.handle.charged(HoldId([number; 16])).await.unwrap().unwrap().answer);
    }
    assert_eq!(answers, [AnswerState::Lost, AnswerState::Kept, AnswerState::Live]);
    j.in_order();
}

#[tokio::test]
async fn what_was_not_given_out_is_not_paid_for() {
    let j = funded(&[grant(1, 30)]).await;
    for number in 1..=3 {
        assert!(j.pays(charge(number, 10)).await.0);
    }
    j.end(1, ChargeStep::Capture(10)).await;
    j.end(2, ChargeStep::Release(ReleaseReason::NotSent)).await;
    for (number, left) in [(1, 20), (2, 20), (3, 30), (1, 30)] {
        assert_eq!(j.end(number, ChargeStep::TakeBack).await, left, "{number}");
    }
    j.in_order();
}

#[tokio::test]
async fn a_charge_whose_grant_is_gone_does_not_hold_up_the_start() {
    let j = funded(&[grant(1, 10), grant(2, 10)]).await;
    assert!(j.pays(charge(1, 10)).await.0 && j.pays(charge(2, 10)).await.0);
    // As somebody leaves it who changes the file.
    let changed = Connection::open(&j.store.path).unwrap();
    changed
        .execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM grants WHERE id = x'01010101010101010101010101010101'")
        .unwrap();
    let recovered = tokio::time::timeout(std::time::Duration::from_secs(20), j.handle.recover_charges()).await;
    assert_eq!(recovered.unwrap().unwrap(), 1);
    let record = j.handle.charged(HoldId([1; 16])).await.unwrap().unwrap();
    assert_eq!(record.state, ChargeState::Open, "the audit finds it");
}

#[tokio::test]
async fn answers_of_charges_are_kept_within_their_bounds() {
    let j = funded(&[grant(1, 100)]).await;
    for id in 1..=3 {
        assert!(j.pays(charge(id, 10)).await.0);
        j.end(id, ChargeStep::Capture(10)).await;
        assert!(j.handle.keep_charged_answer(HoldId([id; 16]), answer(400)).await.unwrap());
    }
    assert_eq!(kept(&j).await, [false, true, true]);
    assert_eq!(sizes(&j), (876, 876));
    let state = |id| j.handle.charged(HoldId([id; 16]));
    assert_eq!(state(3).await.unwrap().unwrap().answer, AnswerState::Kept);
    // One that has no room is lost, and says so.
    assert!(!j.handle.keep_charged_answer(HoldId([2; 16]), answer(1_000)).await.unwrap());
    assert_eq!(state(2).await.unwrap().unwrap().answer, AnswerState::Lost);
    assert_eq!(j.balance_of(KEY), (70, 0));
    j.in_order();
}

#[tokio::test]
async fn a_charge_that_fails_takes_none_of_its_batch_with_it() {
    let j = funded(&[grant(1, 30)]).await;
    // Two charges of one name: the second cannot be written, and what it drew is not drawn.
    let [one, two, three] =
        [charge(1, 10), charge(1, 10), charge(3, 10)].map(|charge| j.handle.charge(charge, Guards::default()));
    let (one, two, three) = tokio::join!(one, two, three);
    assert_eq!((one, three), (Ok(won_with(20)), Ok(won_with(10))));
    assert_eq!(two.unwrap_err().kind, FaultKind::Journal);
    assert_eq!((j.balance_of(KEY), j.lefts(KEY)), ((10, 20), vec![(1, 10)]));
    j.in_order();
}

#[tokio::test]
async fn a_charge_reads_back_as_it_was_written() {
    let j = funded(&[grant(1, 100)]).await;
    let written = Charge {
        idempotency: Some(B256::repeat_byte(9)),
        tags: Some("{\"team\":\"research\"}".to_owned()),
        ..charge(1, 30)
    };
    assert!(j.pays(written.clone()).await.0);
    let ::ledger::Charged::Won(change) = ::ledger::charge(&[grant(1, 100)], written) else { panic!() };
    let mut want = change.record;
    assert_eq!(j.handle.charged(want.charge.id).await.unwrap(), Some(want.clone()));
    let steps = [ChargeStep::Capture(20), ChargeStep::Refund(5), ChargeStep::KeepAnswer, ChargeStep::LoseAnswer];
    for step in steps {
        j.end(1, step).await;
        want = ::ledger::advance_charge(&want, &j.handle.grants(KEY).unwrap(), step, NOW_MS).unwrap().unwrap().record;
        assert_eq!(j.handle.charged(want.charge.id).await.unwrap(), Some(want.clone()), "{step:?}");
    }
    assert_eq!(j.handle.charges(KEY, None, 10).unwrap(), [(1, want)]);
    assert_eq!(j.handle.charges(KEY, Some(1), 10).unwrap(), []);
}
