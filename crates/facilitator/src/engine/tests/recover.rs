//! What is done once at start, before anything is served.

use super::*;

#[test]
fn what_a_crash_left_is_ended_at_start() {
    use AnswerState::{Kept, Live, Lost, Pending};
    let posted = State::Posted(Settled {
        chain_tx: OURS,
        block: 104,
        block_hash: HERE,
        amount: hold(0).authorization.amount(),
        payer: hold(0).authorization.key.payer,
    });
    let released = State::Released(ReleaseReason::NotSent);
    for (state, answer, want) in [
        (State::Open, Live, "burnt Interrupted, Live"),
        (State::Open, Pending, "burnt Interrupted, Lost"),
        (State::Open, Lost, "burnt Interrupted, Lost"),
        (State::Open, Kept, "open, Kept"),
        (SUBMITTED, Live, "submitted, Lost"),
        (SUBMITTED, Pending, "submitted, Lost"),
        (SUBMITTED, Lost, "submitted, Lost"),
        (SUBMITTED, Kept, "submitted, Kept"),
        (posted, Live, "posted c1, Live"),
        (released, Live, "released NotSent, Live"),
    ] {
        let world = World::new();
        // Behind a full page.
        for number in 1..4 {
            world.put(number, SUBMITTED, Kept, &[]);
        }
        world.put(0, state, answer, &[]);
        // The second time is a crash while it recovered.
        for _ in 0..2 {
            now(recover(&world, Network::BASE_SEPOLIA)).unwrap();
        }
        assert_eq!(state_word(&world.record(0)), want, "{state:?} {answer:?}");
        assert_eq!(kinds(&world), "", "{state:?} {answer:?}: nothing is booked");
    }
}

#[test]
fn nothing_is_served_before_the_journal_has_taken_the_ends() {
    for method in ["unfinished", "advance"] {
        let world = World::new();
        world.put(0, State::Open, AnswerState::Live, &[]);
        world.fail_after(method, 0);
        assert!(now(recover(&world, Network::BASE_SEPOLIA)).is_err(), "{method}");
    }
}

/// What was answered on the tab is charged: the last byte may have reached its caller. What was not is burnt.
#[test]
fn what_a_crash_left_on_the_tab_is_ended_at_start() {
    use AnswerState::{Delivered, Kept, Live, Lost, Pending};
    let lost = State::Lost(LossReason::Emptied);
    for (state, answer, want) in [
        (State::Open, Live, "burnt Interrupted, Live"),
        (State::Open, Pending, "burnt Interrupted, Lost"),
        (State::Open, Lost, "burnt Interrupted, Lost"),
        (State::Answered, Live, "answered, Delivered"),
        (State::Answered, Delivered, "answered, Delivered"),
        (State::Answered, Kept, "answered, Kept"),
        (SUBMITTED, Live, "submitted, Delivered"),
        (SUBMITTED, Delivered, "submitted, Delivered"),
        (SUBMITTED, Kept, "submitted, Kept"),
        (SUBMITTED, Pending, "submitted, Lost"),
        (State::Burnt(BurnReason::Broken), Lost, "burnt Broken, Lost"),
        (lost, Delivered, "lost Emptied, Delivered"),
        (lost, Pending, "lost Emptied, Lost"),
    ] {
        let world = World::new();
        for number in 1..4 {
            world.put(number, SUBMITTED, Kept, &[]);
        }
        world.put_hold(tab_hold(0), state, answer, Vec::new());
        // The second time is a crash while it recovered.
        for _ in 0..2 {
            now(recover(&world, Network::BASE_SEPOLIA)).unwrap();
        }
        assert_eq!(state_word(&world.record(0)), want, "{state:?} {answer:?}");
        assert_eq!(kinds(&world), "", "{state:?} {answer:?}: nothing is booked");
    }
}
