//! What is on the tab: when it is settled, and what becomes of those who cannot pay.

use super::multicall::Multicall;
use super::*;

pub(super) const NOW_MS: u64 = 1_900_000_103_000;
const YOUNG_MS: u64 = NOW_MS - 1_000;

pub(super) fn terms() -> TabTerms {
    let caps = Exposure { payer_micros: 1_000 * MICROS, source_micros: 1_000 * MICROS, gate_micros: 1_000 * MICROS };
    TabTerms { batch_max: 3, settle_age_ms: 60_000, caps, margin_ms: 30_000 }
}

/// Puts holds on the tab whose answers were given out, all young, after `change`.
pub(super) fn on_tab(world: &World, numbers: std::ops::Range<u8>, change: impl Fn(&mut Hold)) {
    for number in numbers {
        let mut hold = Hold { opened_at_ms: YOUNG_MS, ..tab_hold(number) };
        change(&mut hold);
        world.put_hold(hold, State::Answered, AnswerState::Delivered, Vec::new());
    }
}

/// A world whose payer can pay for `count` calls, and which owes for as many.
pub(super) fn owing(count: u8) -> World {
    let world = World::new();
    world.balance.set(AMOUNT * u128::from(count));
    on_tab(&world, 0..count, |_| {});
    world
}

pub(super) fn settle(world: &World, terms: &TabTerms, all: bool) -> Result<usize, Fault> {
    now(engine(world).settle_tab(world, Network::BASE_SEPOLIA, terms, NOW_MS, all))
}

/// What was submitted, as numbers of holds.
pub(super) fn batches(world: &World) -> String {
    let one = |batch: &Vec<u8>| batch.iter().map(u8::to_string).collect::<Vec<_>>().join("+");
    world.batches.borrow().iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn whole_batches_go_by_their_size() {
    for (count, batch_max, all, want) in [
        (0, 3, false, ""),
        (0, 3, true, ""),
        (1, 3, false, ""),
        (2, 3, false, ""),
        (3, 3, false, "0+1+2"),
        (4, 3, false, "0+1+2"),
        (5, 3, false, "0+1+2"),
        (7, 3, false, "0+1+2, 3+4+5"),
        (1, 3, true, "0"),
        (4, 3, true, "0+1+2, 3"),
        (5, 3, true, "0+1+2, 3+4"),
        // No Multicall3: each is a batch.
        (2, 1, false, "0, 1"),
        (2, 0, false, "0, 1"),
    ] {
        let world = owing(count);
        let got = settle(&world, &TabTerms { batch_max, ..terms() }, all).unwrap();
        assert_eq!(batches(&world), want, "{count} of {batch_max}, {all}");
        assert_eq!(got, world.batches.borrow().concat().len(), "{count} of {batch_max}, {all}");
    }
}

#[test]
fn the_oldest_waits_no_longer_than_its_age() {
    for (opened_at_ms, want) in [
        (NOW_MS - 59_999, ""),
        (NOW_MS - 60_000, "0+1+2, 3"),
        (NOW_MS - 60_001, "0+1+2, 3"),
        (0, "0+1+2, 3"),
        // A clock that was put back.
        (NOW_MS + 60_000, ""),
    ] {
        let world = World::new();
        world.balance.set(10 * AMOUNT);
        on_tab(&world, 0..1, |hold| hold.opened_at_ms = opened_at_ms);
        on_tab(&world, 1..4, |_| {});
        let want = if want.is_empty() { "0+1+2" } else { want };
        settle(&world, &terms(), false).unwrap();
        assert_eq!(batches(&world), want, "{opened_at_ms}");
    }
}

/// Two holds by one payer from one source, and one by another from another; at half of a cap they go.
#[test]
fn half_of_a_cap_is_enough() {
    let far = u64::MAX;
    for (payer_micros, source_micros, gate_micros, want) in [
        (far, far, far, ""),
        (4 * MICROS, far, far, "0+1+2"),
        (4 * MICROS + 1, far, far, ""),
        (4 * MICROS - 1, far, far, "0+1+2"),
        (far, 4 * MICROS, far, "0+1+2"),
        (far, 4 * MICROS + 1, far, ""),
        (far, far, 6 * MICROS, "0+1+2"),
        (far, far, 6 * MICROS + 1, ""),
        (0, far, far, "0+1+2"),
        (far, 0, far, "0+1+2"),
        (far, far, 0, "0+1+2"),
    ] {
        let world = World::new();
        world.balance.set(2 * AMOUNT);
        on_tab(&world, 0..2, |_| {});
        let other =
            Hold { rail: Rail::Tab, opened_at_ms: YOUNG_MS, source: Source([9; 16]), ..hold_by(SECOND_PAYER, 2) };
        world.put_hold(other, State::Answered, AnswerState::Kept, Vec::new());
        let caps = Exposure { payer_micros, source_micros, gate_micros };
        settle(&world, &TabTerms { batch_max: 10, caps, ..terms() }, false).unwrap();
        assert_eq!(batches(&world), want, "{caps:?}");
    }
}

/// A sum that no number holds is above every cap.
#[test]
fn exposure_does_not_overflow() {
    let world = World::new();
    world.balance.set(2 * AMOUNT);
    on_tab(&world, 0..2, |hold| hold.exposure_micros = u64::MAX);
    settle(&world, &terms(), false).unwrap();
    assert_eq!(batches(&world), "0+1");
}

#[test]
fn what_is_about_to_end_goes_at_once() {
    for (left_ms, want) in [(30_001, ""), (30_000, "0+1"), (29_000, "0+1"), (1, "0+1")] {
        let world = World::new();
        world.balance.set(2 * AMOUNT);
        on_tab(&world, 0..1, |_| {});
        // The younger one is the one that ends.
        on_tab(&world, 1..2, |hold| hold.authorization.valid_before_s = NOW_MS / 1_000 + 30);
        let terms = TabTerms { margin_ms: 30_000 + 30_000 - left_ms, ..terms() };
        settle(&world, &terms, false).unwrap();
        assert_eq!(batches(&world), want, "{left_ms}");
    }
}

#[test]
fn what_is_not_given_out_is_not_due() {
    let world = World::new();
    world.balance.set(9 * AMOUNT);
    for (number, state, answer) in [
        (0, State::Open, AnswerState::Live),
        (1, State::Answered, AnswerState::Live),
        (2, State::Answered, AnswerState::Delivered),
        (3, State::Answered, AnswerState::Kept),
        (4, SUBMITTED, AnswerState::Delivered),
        (5, State::Lost(LossReason::Gone), AnswerState::Delivered),
    ] {
        world.put_hold(tab_hold(number), state, answer, Vec::new());
    }
    assert_eq!(settle(&world, &terms(), true), Ok(2));
    assert_eq!(batches(&world), "2+3");
}

/// One trial and one chain_tx for all of them. Nobody waits for a receipt.
#[test]
fn the_calls_of_a_pass() {
    for (count, want) in [
        (0, "due"),
        (1, "due, native, fees, 1 calls latest, submit, due"),
        (3, "due, native, fees, 1 calls latest, submit 3, due"),
        (4, "due, native, fees, 1 calls latest, submit 3, 1 calls latest, submit, due"),
    ] {
        let world = owing(count);
        assert_eq!(settle(&world, &terms(), true), Ok(usize::from(count)));
        assert_eq!(world.said(), want, "{count}");
        for number in 0..count {
            assert_eq!(state_word(&world.record(number)), "submitted, Delivered", "{count}");
        }
        assert_eq!(kinds(&world), "", "the reconciler posts what lands");
    }
}

/// The hold in the middle of three cannot be paid. What happened; the record after.
const POISONS: [(&str, Event, &str); 6] = [
    ("emptied", |world| world.second_balance.set(AMOUNT - 1), "lost Emptied, Delivered"),
    ("cancelled", |world| second(world, THEIRS, SECOND, true), "lost Gone, Delivered"),
    ("the payer landed it", |world| second(world, THEIRS, SECOND, false), "posted c2, Delivered"),
    // It is submitted, by his chain_tx.
    ("a stranger landed it", |world| second(world, THEIRS, STRANGER, false), "submitted, Delivered"),
    (
        "the node knows of a use, but not whose",
        |world| world.used.borrow_mut().extend([nonce(1)]),
        "answered, Delivered",
    ),
    // Paused, or the payer is blocked: that may pass.
    ("the token refuses", |world| world.poisoned.borrow_mut().extend([nonce(1)]), "answered, Delivered"),
];

/// The second payer's address.
const SECOND: Address = address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");

/// The authorization of hold 1 is cancelled, or landed by `from`.
fn second(world: &World, chain_tx: B256, from: Address, cancelled: bool) {
    let event = if cancelled { CANCELED } else { USED };
    let logs = [
        (token(), vec![event, SECOND.into_word(), nonce(1)], Bytes::new()),
        (token(), vec![TRANSFER, SECOND.into_word(), PAYEE.into_word()], transfer(AMOUNT).2),
    ];
    world.mine(chain_tx, 104, from, &logs[..if cancelled { 1 } else { 2 }]);
}

/// Holds 0 and 2 by the payer, 1 by the second one.
pub(super) fn three() -> World {
    let world = World::new();
    world.balance.set(2 * AMOUNT);
    on_tab(&world, 0..1, |_| {});
    let middle = Hold { rail: Rail::Tab, opened_at_ms: YOUNG_MS, ..hold_by(SECOND_PAYER, 1) };
    assert_eq!(middle.authorization.key.payer.0, SECOND);
    world.put_hold(middle, State::Answered, AnswerState::Delivered, Vec::new());
    on_tab(&world, 2..3, |_| {});
    world
}

fn booked(want: &str) -> &'static str {
    match want.split(' ').next() {
        Some("lost") => "uncollected",
        Some("posted") => "posted",
        Some(_) | None => "",
    }
}

#[test]
fn a_poisoned_member_is_left_out_and_judged() {
    for (what, event, want) in POISONS {
        // A batch, and each alone where a batch cannot be tried or says nothing. Where the poison alone made it fail, the others
        // go together after all.
        for (multicall, submitted) in [
            (Multicall::Works, "0+2"),
            (Multicall::Fails, "0, 2"),
            (Multicall::Absent, "0, 2"),
            (Multicall::Short, "0, 2"),
            (Multicall::Faults, "0, 2"),
            (Multicall::FailsByMember, "0+2"),
            (Multicall::FaultsByMember, "0+2"),
        ] {
            let world = three();
            world.multicall.set(multicall);
            event(&world);
            let ended = usize::from(!want.starts_with("answered"));
            assert_eq!(settle(&world, &terms(), false), Ok(2 + ended), "{what} {multicall:?}");
            assert_eq!(batches(&world), submitted, "{what} {multicall:?}");
            assert_eq!(state_word(&world.record(1)), want, "{what} {multicall:?}");
            assert_eq!(kinds(&world), booked(want), "{what} {multicall:?}");
            for number in [0, 2] {
                assert_eq!(state_word(&world.record(number)), "submitted, Delivered", "{what} {multicall:?}");
            }
        }
    }
}

#[test]
fn one_alone_that_cannot_be_paid_is_judged_without_a_batch() {
    for (what, event, want) in POISONS {
        let world = three();
        event(&world);
        world.books.borrow_mut().retain(|row| row.record.hold.id == hold(1).id);
        settle(&world, &terms(), true).unwrap();
        assert_eq!((batches(&world).as_str(), state_word(&world.record(1)).as_str()), ("", want), "{what}");
    }
}

#[test]
fn the_calls_for_a_poisoned_member() {
    let trials = "due, native, fees, 1 calls latest, 1 calls latest, block latest, ";
    let (refused, gone) = ("submit 2, advance_all 1 refuse", "1 calls 104, logs 101");
    let (final_block, unlogged) = ("block 91", "logs 101, block 100");
    for ((what, event, _), want) in POISONS.into_iter().zip([
        format!("{trials}1 calls 103, 2 calls 103, {refused} Emptied"),
        format!("{trials}{gone}, {refused} Gone"),
        format!("{trials}{gone}, receipt c2, submit 2, advance_all 1 post c2"),
        format!("{trials}{gone}, receipt c2, submit 2, advance_all 1 submit"),
        format!("{trials}1 calls 103, {unlogged}, {final_block}, 1 calls 103, {unlogged}, submit 2"),
        format!("{trials}1 calls 103, 2 calls 103, {final_block}, submit 2"),
    ]) {
        let world = three();
        event(&world);
        settle(&world, &terms(), false).unwrap();
        assert_eq!(world.said(), want, "{what}");
    }
}

/// Whatever the chain would say: a node's silence leaves a payment on the tab, or lets it end as it would have.
#[test]
fn a_fault_of_the_node_is_never_a_loss() {
    for (what, event, want) in POISONS {
        for method in ["block", "calls", "logs", "receipt", "native", "fees"] {
            for times in 0..5 {
                let world = three();
                event(&world);
                world.fail_after(method, times);
                settle(&world, &terms(), false).unwrap();
                let got = state_word(&world.record(1));
                assert!(got == want || got == "answered, Delivered", "{what}, {method} after {times}: {got}");
                world.works.borrow_mut().clear();
                settle(&world, &terms(), true).unwrap();
                assert_eq!(state_word(&world.record(1)), want, "{what}, {method} after {times}");
                for number in [0, 2] {
                    assert_eq!(state_word(&world.record(number)), "submitted, Delivered", "{what}, {method} {times}");
                }
            }
        }
    }
}

/// A chain that has been idle is behind the start of validity: the token takes tomorrow what it refuses today.
#[test]
fn what_is_too_early_stays() {
    let latest_s = 1_900_000_000 + LATEST;
    for (valid_after_s, submitted, want) in [
        (latest_s - 1, "0+1+2", "submitted, Delivered"),
        (latest_s, "0+2", "answered, Delivered"),
        (latest_s + 9, "0+2", "answered, Delivered"),
    ] {
        let world = three();
        world.books.borrow_mut()[1].record.hold.authorization.valid_after_s = valid_after_s;
        settle(&world, &terms(), false).unwrap();
        assert_eq!((batches(&world).as_str(), state_word(&world.record(1)).as_str()), (submitted, want));
    }
}

/// The same while the node does not say how old its newest block is: nobody knows that it was not too early.
#[test]
fn what_may_be_too_early_stays() {
    let world = three();
    world.books.borrow_mut()[1].record.hold.authorization.valid_after_s = 1_900_000_000 + LATEST;
    world.fail_after("block", 0);
    settle(&world, &terms(), false).unwrap();
    assert_eq!(state_word(&world.record(1)), "answered, Delivered");
}

/// It goes through alone, and not behind another payment of the same payer: it is looked at again when that has landed.
#[test]
fn what_fails_only_in_the_batch_stays() {
    let world = owing(2);
    world.balance.set(AMOUNT);
    assert_eq!(settle(&world, &terms(), true), Ok(1));
    assert_eq!(batches(&world), "0");
    assert_eq!(state_word(&world.record(1)), "answered, Delivered");
    assert!(!world.said().contains("advance"), "nothing is ended");
    // The first has landed, and the wallet is empty now.
    PAID_BY_US(&world);
    assert_eq!(settle(&world, &terms(), true), Ok(1));
    assert_eq!(state_word(&world.record(1)), "lost Emptied, Delivered");
    assert_eq!((batches(&world).as_str(), kinds(&world).as_str()), ("0", "uncollected"));
}

/// A paused token refuses everybody. What it refused is collected when it goes on.
#[test]
fn what_the_token_refuses_for_a_while_is_paid_later() {
    let world = owing(3);
    world.token_refuses.set(true);
    assert_eq!(settle(&world, &terms(), true), Ok(0));
    assert_eq!((batches(&world).as_str(), kinds(&world).as_str()), ("", ""));
    world.token_refuses.set(false);
    assert_eq!(settle(&world, &terms(), true), Ok(3));
    assert_eq!(batches(&world), "0+1+2");
}

/// What a lane does not take stays on the tab, and is taken the next time.
#[test]
fn a_lane_out_of_reach() {
    let world = owing(3);
    world.submitted.set(Err(Fault { kind: FaultKind::Settlement, money: MoneyState::Held }));
    assert_eq!(settle(&world, &terms(), false), Ok(0));
    for number in 0..3 {
        assert_eq!(state_word(&world.record(number)), "answered, Delivered");
    }
    world.submitted.set(Ok(OURS));
    assert_eq!(settle(&world, &terms(), false), Ok(3));
}

#[test]
fn what_a_silent_node_says_nothing_of_stays() {
    for (times, want, submitted) in [(0, 0, ""), (1, 3, "0+1+2"), (2, 6, "0+1+2, 3+4+5")] {
        let world = owing(7);
        world.fail_after("calls", times);
        assert_eq!(settle(&world, &terms(), true), Ok(want), "{times}");
        assert_eq!(batches(&world), submitted, "{times}");
    }
}

#[test]
fn faults_of_the_journal_are_passed_on() {
    for method in ["due", "advance_all"] {
        let world = three();
        world.second_balance.set(0);
        world.fail_after(method, 0);
        assert!(settle(&world, &terms(), false).is_err(), "{method}");
        world.works.borrow_mut().clear();
        settle(&world, &terms(), true).unwrap();
        assert_eq!(state_word(&world.record(1)), "lost Emptied, Delivered", "{method}");
        assert_eq!(kinds(&world), "uncollected", "{method}");
    }
}

/// What somebody else is working on is left to him, and what was worked on is left to others afterwards.
#[test]
fn a_hold_that_is_being_settled_is_left_out() {
    let world = owing(3);
    let engine = engine(&world);
    let settle = || now(engine.settle_tab(&world, Network::BASE_SEPOLIA, &terms(), NOW_MS, true));
    let stay = engine.live.enter(hold(1).id);
    assert_eq!(settle(), Ok(2));
    assert_eq!(batches(&world), "0+2");
    drop(stay);
    assert_eq!(settle(), Ok(1));
    assert_eq!(batches(&world), "0+2, 1");
    assert!((0..3).all(|number| engine.live.enter(hold(number).id).is_some()), "all have left");
    // A group of which nobody is left does not ask the chain.
    let world = owing(1);
    let _stay = engine.live.enter(hold(0).id);
    world.said();
    assert_eq!(now(engine.settle_tab(&world, Network::BASE_SEPOLIA, &terms(), NOW_MS, true)), Ok(0));
    assert_eq!(world.said(), "due, due");
}

/// What nobody collected in time is lost as expired, which is not the payer's doing.
#[test]
fn what_ended_on_the_tab_is_lost_as_expired() {
    let world = owing(1);
    final_at(&world, 1);
    settle(&world, &terms(), true).unwrap();
    reconcile(&world).unwrap();
    assert_eq!(
        (state_word(&world.record(0)).as_str(), kinds(&world).as_str()),
        ("lost Expired, Delivered", "uncollected")
    );
}

/// Whose books a stranger's chain_tx belongs in stays open until a final block is later than the end. After it nothing can change,
/// and a hold that stayed would count against every cap and call for a settlement for ever.
#[test]
fn what_cannot_be_judged_ends_with_its_validity() {
    let rows: [(&str, Event, &str, &str); 3] = [
        ("a stranger landed it", PAID_BY_STRANGER, "submitted, Delivered", "burnt ForeignTransfer, Delivered, late"),
        (
            "a use without a log",
            |world| world.pay(THEIRS, SEEN, payer()),
            "answered, Delivered",
            "lost Gone, Delivered",
        ),
        // That is no doing of the payer.
        ("the token refuses", |world| world.token_refuses.set(true), "answered, Delivered", "lost Expired, Delivered"),
    ];
    for (what, event, before, want) in rows {
        let world = owing(1);
        event(&world);
        for by in [None, Some(0)] {
            if let Some(by) = by {
                final_at(&world, by);
            }
            settle(&world, &terms(), true).unwrap();
            reconcile(&world).unwrap();
            assert_eq!(state_word(&world.record(0)), before, "{what}: not yet, {by:?}");
        }
        final_at(&world, 1);
        settle(&world, &terms(), true).unwrap();
        reconcile(&world).unwrap();
        assert_eq!(state_word(&world.record(0)), want, "{what}");
        assert_eq!(settle(&world, &terms(), true), Ok(0), "{what}: it calls for no settlement any more");
    }
}
