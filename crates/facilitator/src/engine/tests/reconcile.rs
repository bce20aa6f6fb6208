//! Holds that were left open, and ended ones whose authorization may still be landed.

use super::*;

/// The sequences of its chain_txs, how many of the key's are in blocks, what happened, how far behind its end the final block
/// is; the record after.
type Row<'a> = (&'a [u64], u64, Event, Option<u64>, &'static str);

#[test]
fn submitted_holds() {
    let both: Event = |world| {
        PAID_BY_PAYER(world);
        REVERTED(world);
    };
    let empty: Event = |world| world.balance.set(0);
    // A reorg moved an older use of it.
    let unlogged: Event = |world| world.pay(THEIRS, SEEN, payer());
    let emptied: Event = |world| {
        world.balance.set(0);
        REVERTED(world);
    };
    let first_failed: Event = |world| world.revert(B256::repeat_byte(0xd0));
    let both_failed: Event = |world| {
        world.revert(B256::repeat_byte(0xd0));
        REVERTED(world);
    };
    let second_landed: Event = |world| {
        world.revert(B256::repeat_byte(0xd0));
        world.pay(OURS, 105, lane_key().address());
    };
    let rows: &[Row<'_>] = &[
        // A receipt of ours.
        (&[5], 6, PAID_BY_US, None, "posted c1, Kept"),
        (&[5, 6], 7, PAID_BY_US, None, "posted c1, Kept"),
        (&[5, 6], 6, PAID_BEFORE, None, "posted d0, Kept"),
        (&[5], 6, PAID_BY_US, Some(1), "posted c1, Kept"),
        (&[5], 6, REVERTED, None, "burnt SettlementRefused, Kept"),
        (&[5], 6, emptied, None, "burnt SettlementRefused, Kept"),
        (&[5], 6, both, None, "posted c2, Kept"),
        // One of two failed, and the other may still land; both failed; two bids for one sequence.
        (&[5, 6], 6, first_failed, None, "submitted, Kept"),
        (&[5, 6], 6, REVERTED, None, "burnt SettlementRefused, Kept"),
        (&[5, 6], 7, REVERTED, None, "burnt SettlementRefused, Kept"),
        (&[5, 6], 7, both_failed, None, "burnt SettlementRefused, Kept"),
        (&[5, 5], 6, first_failed, None, "burnt SettlementRefused, Kept"),
        (&[5, 5], 6, REVERTED, None, "burnt SettlementRefused, Kept"),
        (&[5, 6], 7, second_landed, None, "posted c1, Kept"),
        (&[5, 6], 6, first_failed, Some(1), "released Expired, Kept"),
        // No receipt of ours: who used it?
        (&[5], 5, PAID_BY_PAYER, None, "posted c2, Kept"),
        (&[5], 5, PAID_BY_PAYER, Some(1), "posted c2, Kept"),
        (&[5], 5, CANCELLED, None, "burnt SettlementRefused, Kept"),
        (&[5], 5, CANCELLED, Some(1), "burnt SettlementRefused, Kept"),
        (&[5], 5, PAID_BY_STRANGER, None, "submitted, Kept"),
        (&[5], 5, PAID_BY_STRANGER, Some(0), "submitted, Kept"),
        (&[5], 5, PAID_BY_STRANGER, Some(1), "burnt ForeignTransfer, Kept, late"),
        (&[5], 5, unlogged, None, "submitted, Kept"),
        (&[5], 5, unlogged, Some(0), "submitted, Kept"),
        (&[5], 5, unlogged, Some(1), "burnt SettlementRefused, Kept"),
        // Nobody: it may still land until a final block is later than its end.
        (&[5], 5, NOTHING, None, "submitted, Kept"),
        (&[5], 5, empty, None, "submitted, Kept"),
        (&[5], 5, NOTHING, Some(0), "submitted, Kept"),
        (&[5], 5, NOTHING, Some(1), "released Expired, Kept"),
        (&[5], 5, empty, Some(1), "released Expired, Kept"),
        (&[5], 9, NOTHING, Some(1), "released Expired, Kept"),
        // One of its chain_txs may still land.
        (&[5, 6], 6, NOTHING, None, "submitted, Kept"),
        (&[5, 6], 5, NOTHING, None, "submitted, Kept"),
    ];
    for (sequences, mined, event, by, want) in rows {
        let world = World::new();
        world.put(0, SUBMITTED, AnswerState::Kept, sequences);
        world.mined.set(*mined);
        event(&world);
        if let Some(by) = by {
            final_at(&world, *by);
        }
        let resolved = usize::from(!want.starts_with("submitted"));
        // A hold that has just expired is looked at once more, as a watched one.
        let got = reconcile(&world).unwrap();
        assert!(got >= resolved && (got == 0) == (resolved == 0), "{sequences:?} {want}: {got}");
        assert_eq!(state_word(&world.record(0)), *want, "{sequences:?} {mined} {by:?}");
        assert!(!world.said().contains("submit"), "{want}: nothing new is sent");
        let late = if want.contains("late") { "late" } else { "" };
        assert_eq!(kinds(&world), if want.starts_with("posted") { "posted" } else { late }, "{want}");
    }
}

/// A receipt of a block that the newest one does not stand on says nothing: not that the chain_tx failed, nor that it moved the money,
/// nor that its sequence was lost to another one.
#[test]
fn a_receipt_of_another_branch() {
    for event in [REVERTED, PAID_BY_US] {
        for (above, by) in [(0, None), (2, None), (2, Some(1))] {
            let world = World::new();
            world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
            world.mined.set(6);
            event(&world);
            world.latest.set(world.latest.get() + above);
            world.hashes.borrow_mut().extend((104..=106).map(|number| (number, ELSEWHERE)));
            if let Some(by) = by {
                final_at(&world, by);
            }
            reconcile(&world).unwrap();
            assert_eq!(state_word(&world.record(0)), "submitted, Kept", "{above}");
            // The reorg is heard of: the same block is there again, or the one that was asked is.
            world.hashes.borrow_mut().clear();
            reconcile(&world).unwrap();
            assert!(world.record(0).state.ended(), "{above}: {}", world.said());
        }
    }
}

/// Every sequence that it had went to another chain_tx of the key: a new one is safe, since the nonce is used once. Its receipt
/// is for the next pass.
#[test]
fn a_dead_sequence_is_submitted_again() {
    for (sequences, on_submit, want) in [
        (&[5][..], PAID_BY_US, "posted c1, Lost, refund"),
        (&[5, 6], PAID_BY_US, "posted c1, Lost, refund"),
        (&[5], REVERTED, "burnt SettlementRefused, Lost"),
        (&[5], NOTHING, "submitted, Lost"),
    ] {
        let world = World::new();
        world.put(0, SUBMITTED, AnswerState::Lost, sequences);
        world.mined.set(7);
        world.on_submit.set(on_submit);
        assert_eq!(reconcile(&world), Ok(0), "nothing is resolved yet");
        assert_eq!(state_word(&world.record(0)), "submitted, Lost", "{sequences:?}");
        reconcile(&world).unwrap();
        assert_eq!(state_word(&world.record(0)), want, "{sequences:?}");
        assert_eq!(world.said().matches("submit").count(), 1, "{want}");
    }
}

#[test]
fn a_dead_sequence_is_not_submitted_for_a_payer_who_cannot_pay() {
    let world = World::new();
    world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
    world.mined.set(6);
    world.balance.set(AMOUNT - 1);
    reconcile(&world).unwrap();
    assert_eq!(state_word(&world.record(0)), "burnt SettlementRefused, Kept");
    assert!(!world.said().contains("submit"));
}

#[test]
fn open_holds() {
    use AnswerState::{Kept, Live, Lost, Pending};
    for (answer, event, on_submit, by, want) in [
        // The permit lives, or the answer is on its way into the store.
        (Live, NOTHING, PAID_BY_US, None, "open, Live"),
        (Live, NOTHING, PAID_BY_US, Some(1), "open, Live"),
        (Pending, NOTHING, PAID_BY_US, None, "open, Pending"),
        (Lost, NOTHING, PAID_BY_US, None, "burnt Interrupted, Lost"),
        (Kept, NOTHING, PAID_BY_US, None, "posted c1, Kept"),
        (Kept, NOTHING, REVERTED, None, "burnt SettlementRefused, Kept"),
        (Kept, NOTHING, NOTHING, None, "submitted, Kept"),
        (Kept, PAID_BY_PAYER, NOTHING, None, "posted c2, Kept"),
        (Kept, CANCELLED, NOTHING, None, "burnt SettlementRefused, Kept"),
        (Kept, PAID_BY_STRANGER, NOTHING, None, "open, Kept"),
        (Kept, PAID_BY_STRANGER, NOTHING, Some(0), "open, Kept"),
        (Kept, PAID_BY_STRANGER, NOTHING, Some(1), "burnt ForeignTransfer, Kept, late"),
        (Kept, NOTHING, PAID_BY_US, Some(1), "burnt SettlementRefused, Kept"),
    ] {
        let world = World::new();
        world.put(0, State::Open, answer, &[]);
        world.on_submit.set(on_submit);
        event(&world);
        if let Some(by) = by {
            final_at(&world, by);
        }
        reconcile(&world).unwrap();
        assert_eq!(state_word(&world.record(0)), want, "{answer:?} {by:?}");
    }
}

/// The lane is out of reach all the time: at the end the hold is burnt, whatever the node says to a trial.
#[test]
fn a_kept_answer_that_nobody_could_charge_for_ends_with_the_authorization() {
    let world = World::new();
    world.put(0, State::Open, AnswerState::Kept, &[]);
    world.submitted.set(Err(Fault { kind: FaultKind::Settlement, money: MoneyState::Held }));
    assert_eq!(reconcile(&world), Ok(0));
    assert_eq!(state_word(&world.record(0)), "open, Kept");
    final_at(&world, 1);
    reconcile(&world).unwrap();
    assert_eq!(state_word(&world.record(0)), "burnt SettlementRefused, Kept");
}

#[test]
fn a_hold_that_is_being_settled_is_left_alone() {
    for (state, answer) in [(SUBMITTED, AnswerState::Live), (State::Open, AnswerState::Kept)] {
        let world = World::new();
        world.put(0, state, answer, &[5]);
        PAID_BY_US(&world);
        let engine = engine(&world);
        let _stay = engine.live.enter(hold(0).id);
        assert_eq!(now(engine.reconcile(&world, Network::BASE_SEPOLIA)), Ok(0));
        assert_eq!(world.record(0).state, state);
    }
}

#[test]
fn a_young_chain_has_no_final_block() {
    let world = World::new();
    world.latest.set(11);
    world.genesis_s.set(VALID_BEFORE_S + 1_000);
    world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
    assert_eq!(reconcile(&world), Ok(0));
    world.latest.set(12);
    assert!(reconcile(&world).unwrap() > 0);
    assert_eq!(state_word(&world.record(0)), "released Expired, Kept");
}

/// A node that stops answering anywhere leaves a hold as it is, or lets it end as it would have: never otherwise.
#[test]
fn a_fault_of_the_node_leaves_things() {
    let rows: &[(Event, Option<u64>, &str)] = &[
        (PAID_BY_US, None, "posted c1, Kept"),
        (PAID_BY_PAYER, Some(1), "posted c2, Kept"),
        (PAID_BY_STRANGER, Some(1), "burnt ForeignTransfer, Kept, late"),
        (CANCELLED, Some(1), "burnt SettlementRefused, Kept"),
        (REVERTED, None, "burnt SettlementRefused, Kept"),
        (NOTHING, Some(1), "released Expired, Kept"),
    ];
    for (event, by, want) in rows {
        for method in ["block", "calls", "receipt", "logs", "sequence"] {
            for times in 0..4 {
                let world = World::new();
                world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
                world.mined.set(5);
                event(&world);
                if let Some(by) = by {
                    final_at(&world, *by);
                }
                world.fail_after(method, times);
                reconcile(&world).unwrap();
                let got = state_word(&world.record(0));
                assert!(got == *want || got == "submitted, Kept", "{want}, {method} after {times}: {got}");
                world.works.borrow_mut().clear();
                reconcile(&world).unwrap();
                assert_eq!(state_word(&world.record(0)), *want, "{method} after {times}");
            }
        }
    }
}

#[test]
fn faults_of_the_journal_are_passed_on() {
    for method in ["unfinished", "advance_all", "watched", "unwatch", "unmined"] {
        let world = World::new();
        world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
        final_at(&world, 1);
        world.fail_after(method, 0);
        assert!(reconcile(&world).is_err(), "{method}");
        world.works.borrow_mut().clear();
        reconcile(&world).unwrap();
        assert_eq!(state_word(&world.record(0)), "released Expired, Kept", "{method}");
    }
}

#[test]
fn every_page_is_read() {
    let world = World::new();
    for number in 0..5 {
        world.put(number, State::Open, AnswerState::Lost, &[]);
    }
    world.put(5, SUBMITTED, AnswerState::Live, &[5]);
    assert_eq!(reconcile(&world), Ok(5));
    assert!((0..5).all(|number| world.record(number).state == State::Burnt(BurnReason::Interrupted)));
    assert_eq!(world.record(5).state, SUBMITTED);
}

/// What comes for a hold that has ended is nobody's yet: suspense, once.
#[test]
fn late_money_of_watched_holds() {
    let released = State::Released(ReleaseReason::NotSent);
    let expired = State::Released(ReleaseReason::Expired);
    let burnt = State::Burnt(BurnReason::Unanswered);
    let refused = State::Burnt(BurnReason::SettlementRefused);
    let lost = State::Lost(LossReason::Emptied);
    for (event, by, want, entries, unwatched) in [
        (NOTHING, 0, "", "", false),
        (PAID_BY_PAYER, 0, "", "", false),
        (NOTHING, 1, "", "", true),
        (CANCELLED, 1, "", "", true),
        (PAID_BY_PAYER, 1, ", late", "late", true),
        (PAID_BY_STRANGER, 1, ", late", "late", true),
        (PAID_BY_US, 1, ", late", "late", true),
    ] {
        for state in [released, expired, burnt, refused, lost] {
            let world = World::new();
            world.put(0, state, AnswerState::Lost, &[5]);
            // What could not be collected on the tab is recovered, and owed back of a lost answer; anything else is nobody's yet.
            let (want, entries) = match (state == lost, want) {
                (true, ", late") => (", late, refund", "recovered refund_due"),
                (_, want) => (want, entries),
            };
            event(&world);
            final_at(&world, by);
            let before = state_word(&world.record(0));
            assert_eq!(reconcile(&world), Ok(entries.len().min(1)), "{state:?}");
            assert_eq!(state_word(&world.record(0)), format!("{before}{want}"), "{state:?}");
            assert_eq!(!world.unwatched.borrow().is_empty(), unwatched, "{state:?}");
            assert_eq!(reconcile(&world), Ok(0), "{state:?}");
            assert_eq!(kinds(&world), entries, "{state:?}: once");
        }
    }
}

#[test]
fn a_watched_hold_is_watched_until_the_node_has_answered() {
    for (method, times) in [("calls", 0), ("logs", 0), ("receipt", 0)] {
        let world = World::new();
        world.put(0, State::Burnt(BurnReason::Unanswered), AnswerState::Live, &[]);
        PAID_BY_PAYER(&world);
        final_at(&world, 1);
        world.fail_after(method, times);
        assert_eq!(reconcile(&world), Ok(0), "{method}");
        assert!(world.unwatched.borrow().is_empty() && !world.record(0).late, "{method}");
        world.works.borrow_mut().clear();
        assert_eq!(reconcile(&world), Ok(1), "{method}");
        assert_eq!(kinds(&world), "late", "{method}");
    }
}

/// The late entry and the end of the watch are two steps: if the second fails, the first is not repeated.
#[test]
fn late_money_is_booked_once_even_if_the_watch_goes_on() {
    let world = World::new();
    world.put(0, State::Burnt(BurnReason::Unanswered), AnswerState::Live, &[]);
    PAID_BY_PAYER(&world);
    final_at(&world, 1);
    world.fail_after("unwatch", 0);
    assert!(reconcile(&world).is_err());
    world.works.borrow_mut().clear();
    reconcile(&world).unwrap();
    assert_eq!(kinds(&world), "late");
}
