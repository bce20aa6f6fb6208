use super::*;
use crate::{GrantSource, grant, lapse, transfer, withdraw};

const NOW_MS: u64 = 1_000;

fn part(number: u8, priority: u8, left: u64, expires_at_ms: Option<u64>) -> Grant {
    Grant {
        id: GrantId([number; 16]),
        key: KeyId([1; 16]),
        unit: Unit::Credit,
        source: GrantSource::Operator,
        label: String::new(),
        priority,
        granted: left,
        left,
        granted_at_ms: u64::from(number),
        expires_at_ms,
    }
}

fn asked(amount: u64) -> Charge {
    Charge {
        id: HoldId([9; 16]),
        key: KeyId([1; 16]),
        unit: Unit::Credit,
        amount,
        micros: amount * 10_000,
        route: "GET /paid".to_owned(),
        fingerprint: B256::ZERO,
        idempotency: None,
        opened_at_ms: NOW_MS,
        tags: None,
    }
}

fn won(grants: &[Grant], amount: u64) -> ChargeChange {
    match charge(grants, asked(amount)) {
        Charged::Won(change) => change,
        Charged::Short { available } => panic!("short: {available}"),
    }
}

/// The rows as a store has them after a change.
fn after(mut grants: Vec<Grant>, changed: &[Grant]) -> Vec<Grant> {
    for grant in &mut grants {
        if let Some(changed) = changed.iter().find(|changed| changed.id == grant.id) {
            grant.clone_from(changed);
        }
    }
    grants
}

fn lefts(grants: &[Grant]) -> Vec<u64> {
    grants.iter().map(|grant| grant.left).collect()
}

#[test]
fn grants_are_used_by_priority_then_end_then_age() {
    let grants =
        vec![part(1, 1, 10, None), part(2, 0, 10, None), part(3, 0, 10, Some(5_000)), part(4, 0, 10, Some(NOW_MS))];
    let change = won(&grants, 25);
    let order: Vec<_> = change.record.draws.iter().map(|draw| (draw.grant.0[0], draw.amount)).collect();
    assert_eq!(order, [(3, 10), (2, 10), (1, 5)]);
    assert_eq!(change.available, 5);
    assert_eq!(charge(&grants, asked(31)), Charged::Short { available: 30 });
}

#[test]
fn what_is_not_taken_goes_back_to_where_it_came_from() {
    let grants = vec![part(1, 0, 10, None), part(2, 1, 10, None)];
    let held = won(&grants, 15);
    let grants = after(grants, &held.grants);
    assert_eq!(lefts(&grants), [0, 5]);
    let taken = advance_charge(&held.record, &grants, ChargeStep::Capture(7), NOW_MS).unwrap().unwrap();
    let grants = after(grants, &taken.grants);
    assert_eq!((lefts(&grants), taken.available), (vec![3, 10], 13));
    assert_eq!(taken.entries.len(), 1);
    assert_eq!(taken.entries[0].lines[0].amount, Unit::Credit.amount(7));
    assert_eq!(advance_charge(&taken.record, &grants, ChargeStep::Capture(9), NOW_MS), Ok(None));
    // Given back later, in two parts, and never more than was taken.
    let first = advance_charge(&taken.record, &grants, ChargeStep::Refund(2), NOW_MS).unwrap().unwrap();
    let grants = after(grants, &first.grants);
    assert_eq!(lefts(&grants), [5, 10]);
    assert_eq!(advance_charge(&first.record, &grants, ChargeStep::Refund(2), NOW_MS), Ok(None));
    assert!(advance_charge(&first.record, &grants, ChargeStep::Refund(8), NOW_MS).is_err());
    let all = advance_charge(&first.record, &grants, ChargeStep::Refund(7), NOW_MS).unwrap().unwrap();
    assert_eq!(lefts(&after(grants, &all.grants)), [10, 10]);
    assert_eq!(all.entries[0].lines[0].amount, Unit::Credit.amount(5));
}

#[test]
fn what_was_given_back_is_neither_taken_nor_refunded() {
    let grants = vec![part(1, 0, 10, None)];
    let held = won(&grants, 10);
    let grants = after(grants, &held.grants);
    for back in [ChargeStep::Release(ReleaseReason::NotSent), ChargeStep::Burn(BurnReason::Unanswered)] {
        let released = advance_charge(&held.record, &grants, back, NOW_MS).unwrap().unwrap();
        let grants = after(grants.clone(), &released.grants);
        assert_eq!((lefts(&grants), released.entries.len(), released.available), (vec![10], 0, 10));
        assert_eq!(advance_charge(&released.record, &grants, back, NOW_MS), Ok(None));
        for step in [ChargeStep::Capture(1), ChargeStep::Refund(1)] {
            assert!(advance_charge(&released.record, &grants, step, NOW_MS).is_err(), "{back:?} {step:?}");
        }
    }
    assert!(advance_charge(&held.record, &grants, ChargeStep::Refund(1), NOW_MS).is_err());
}

#[test]
fn what_was_not_given_out_is_not_paid_for() {
    let grants = vec![part(1, 0, 10, None)];
    let held = won(&grants, 10);
    let grants = after(grants, &held.grants);
    let step = |record: &ChargeRecord, grants: &[Grant], step| advance_charge(record, grants, step, NOW_MS).unwrap();
    let burnt = step(&held.record, &grants, ChargeStep::TakeBack).unwrap();
    assert_eq!((burnt.record.state, burnt.available), (ChargeState::Burnt(BurnReason::Broken), 10));
    assert_eq!(step(&burnt.record, &after(grants.clone(), &burnt.grants), ChargeStep::TakeBack), None);
    let taken = step(&held.record, &grants, ChargeStep::Capture(7)).unwrap();
    let grants = after(grants, &taken.grants);
    let back = step(&taken.record, &grants, ChargeStep::TakeBack).unwrap();
    assert_eq!((back.record.refunded, back.available, back.entries[0].kind), (7, 10, EntryKind::GivenBack));
    assert_eq!((burnt.record.answer, back.record.answer), (AnswerState::Lost, AnswerState::Lost));
    assert_eq!(step(&back.record, &after(grants, &back.grants), ChargeStep::TakeBack), None);
}

#[test]
fn an_answer_that_cost_nothing_is_lost_too() {
    let grants = vec![part(1, 0, 10, None)];
    let held = won(&grants, 10);
    let grants = after(grants, &held.grants);
    let taken = advance_charge(&held.record, &grants, ChargeStep::Capture(0), NOW_MS).unwrap().unwrap();
    let grants = after(grants, &taken.grants);
    let lost = advance_charge(&taken.record, &grants, ChargeStep::TakeBack, NOW_MS).unwrap().unwrap();
    assert_eq!((lost.record.answer, lost.record.refunded, lost.available), (AnswerState::Lost, 0, 10));
    assert!(lost.entries.is_empty() && lost.grants.is_empty());
    assert_eq!(advance_charge(&lost.record, &grants, ChargeStep::TakeBack, NOW_MS), Ok(None));
}

#[test]
fn what_comes_back_to_an_expired_grant_lapses() {
    let grants = vec![part(1, 0, 10, Some(2_000))];
    let held = won(&grants, 10);
    let grants = after(grants, &held.grants);
    assert_eq!(lapse(&grants, 3_000), crate::GrantChange::default());
    let burnt = advance_charge(&held.record, &grants, ChargeStep::Burn(BurnReason::Broken), 3_000).unwrap().unwrap();
    assert_eq!(burnt.available, 0);
    let grants = after(grants, &burnt.grants);
    let lapsed = lapse(&grants, 3_000);
    assert_eq!((lefts(&lapsed.grants), lapsed.entries[0].kind), (vec![0], EntryKind::Lapsed));
    assert_eq!(lapse(&after(grants, &lapsed.grants), 3_000), crate::GrantChange::default());
}

#[test]
fn what_is_given_to_another_keeps_its_end() {
    let grants = vec![part(1, 0, 10, Some(2_000)), part(2, 3, 10, None)];
    let to = KeyId([2; 16]);
    let moved = transfer(&grants, to, 15, NOW_MS, |position| GrantId([100 + position; 16])).unwrap();
    let given: Vec<_> = moved.grants.iter().filter(|grant| grant.key == to).collect();
    assert_eq!(given.iter().map(|grant| grant.left).collect::<Vec<_>>(), [10, 5]);
    assert_eq!((given[0].expires_at_ms, given[1].priority), (Some(2_000), 3));
    assert_eq!(lefts(&after(grants.clone(), &moved.grants)), [0, 5]);
    assert_eq!(transfer(&grants, to, 21, NOW_MS, |_| GrantId([0; 16])), None);
    assert_eq!(withdraw(&grants, 20, NOW_MS).unwrap().entries.len(), 2);
    assert_eq!(withdraw(&grants, 21, NOW_MS), None);
    assert_eq!(grant(part(1, 0, 0, None)), None);
}
