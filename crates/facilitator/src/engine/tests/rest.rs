//! How large a batch may be, and what is left alone for a while so that it does not stand in the way of others.

use super::multicall::Multicall;
use super::tab::{NOW_MS, batches, on_tab, owing, settle, terms, three};
use super::*;
use crate::engine::token::MULTICALL3;

/// What a unit of gas is bid for at the fees of this world: twice the base fee and the tip, in wei.
const GAS_PRICE: u64 = 3_500_000_000;
/// How long what rests is left alone.
const REST_MS: u64 = 10_000;

/// A pass of the tab with an engine that lives on.
fn pass(engine: &Engine<World, World, World>, all: bool) -> Result<usize, Fault> {
    now(engine.settle_tab(&engine.node, Network::BASE_SEPOLIA, &terms(), NOW_MS, all))
}

fn later(world: &World, ms: u64) {
    world.elapsed_ms.set(world.elapsed_ms.get() + ms);
}

/// Half of the key's coin pays for a batch, and the whole of its gas must be there before it runs: 200,000, and 120,000 for each
/// member.
#[test]
fn a_batch_is_no_larger_than_the_key_can_pay_for() {
    let gas = |gas: u64| U256::from(2 * GAS_PRICE) * U256::from(gas);
    for (wei, want) in [
        (U256::ZERO, "0, 1, 2, 3"),
        (gas(200_000), "0, 1, 2, 3"),
        (gas(440_000) - U256::ONE, "0, 1, 2, 3"),
        (gas(440_000), "0+1, 2+3"),
        (gas(560_000) - U256::ONE, "0+1, 2+3"),
        (gas(560_000), "0+1+2, 3"),
        // Never more than the terms say.
        (gas(680_000), "0+1+2, 3"),
        (U256::MAX, "0+1+2, 3"),
    ] {
        let world = owing(4);
        world.wei.set(wei);
        assert_eq!(settle(&world, &terms(), true), Ok(4));
        assert_eq!(batches(&world), want, "{wei}");
    }
}

/// A node that does not say what the key has, or what gas costs, does not keep the tab from being settled.
#[test]
fn a_batch_that_nobody_can_size_is_as_the_terms_say() {
    for method in ["native", "fees"] {
        let world = owing(4);
        world.wei.set(U256::ZERO);
        world.fail_after(method, 0);
        assert_eq!(settle(&world, &terms(), true), Ok(4), "{method}");
        assert_eq!(batches(&world), "0+1+2, 3", "{method}");
    }
}

/// A trial may take what its chain_tx may.
#[test]
fn the_gas_of_a_trial() {
    for (count, want) in [(1, &[200_000][..]), (2, &[440_000]), (3, &[560_000]), (4, &[560_000, 200_000])] {
        let world = owing(count);
        settle(&world, &terms(), true).unwrap();
        let gas: Vec<_> = world.tried.borrow().iter().filter_map(|call| call.gas_max).collect();
        assert_eq!(gas, want, "{count}");
    }
    // The batch, each alone, and the good ones together once more.
    let world = three();
    world.multicall.set(Multicall::FailsByMember);
    world.second_balance.set(0);
    settle(&world, &terms(), true).unwrap();
    let tried = world.tried.borrow();
    let gas: Vec<_> = tried.iter().filter_map(|call| call.gas_max.map(|gas| (call.to == MULTICALL3, gas))).collect();
    let (alone, judged) = ([(false, 200_000); 3], (false, 200_000));
    assert_eq!(gas, [&[(true, 560_000)][..], &alone, &[judged, (true, 440_000)]].concat());
}

/// A batch that the node gives up on is tried one by one. What passes goes together where that is possible without the others.
#[test]
fn a_batch_that_failed_as_a_whole() {
    let (trials, alone) = ("1 calls latest, 3 calls latest", "submit, submit, submit");
    let all = format!("{trials}, 1 calls latest");
    let refused = "block latest, 1 calls 103, 2 calls 103";
    for (multicall, poisoned, want, calls) in [
        (Multicall::Works, false, "0+1+2", "1 calls latest, submit 3".to_owned()),
        (Multicall::Faults, false, "0, 1, 2", format!("{all}, {alone}")),
        (Multicall::Fails, false, "0, 1, 2", format!("{all}, {alone}")),
        (Multicall::FaultsByMember, false, "0+1+2", "1 calls latest, submit 3".to_owned()),
        (
            Multicall::FaultsByMember,
            true,
            "0+2",
            format!("{trials}, {refused}, 1 calls latest, submit 2, advance_all 1 refuse Emptied"),
        ),
        (
            Multicall::FailsByMember,
            true,
            "0+2",
            format!("{trials}, {refused}, 1 calls latest, submit 2, advance_all 1 refuse Emptied"),
        ),
        (
            Multicall::Faults,
            true,
            "0, 2",
            format!("{trials}, {refused}, 1 calls latest, submit, submit, advance_all 1 refuse Emptied"),
        ),
    ] {
        let world = three();
        world.multicall.set(multicall);
        if poisoned {
            world.second_balance.set(0);
        }
        assert_eq!(settle(&world, &terms(), true), Ok(3), "{multicall:?} {poisoned}");
        assert_eq!(batches(&world), want, "{multicall:?} {poisoned}");
        assert_eq!(world.said(), format!("due, native, fees, {calls}, due"), "{multicall:?} {poisoned}");
    }
}

/// One good member is not tried together with nobody.
#[test]
fn one_that_is_left_goes_without_another_trial() {
    let world = World::new();
    world.multicall.set(Multicall::Faults);
    on_tab(&world, 0..2, |_| {});
    world.poisoned.borrow_mut().insert(nonce(1));
    assert_eq!(settle(&world, &terms(), true), Ok(1));
    assert_eq!(batches(&world), "0");
    assert!(world.said().ends_with("block 91, submit, due"));
}

/// Of what nothing can be said: it rests, is passed over for ten seconds, and is looked at again then.
#[test]
fn what_is_unclear_rests() {
    let events: [(&str, Event); 4] = [
        ("the token refuses", |world| world.poisoned.borrow_mut().extend([nonce(0)])),
        ("a use without a log", |world| world.used.borrow_mut().extend([nonce(0)])),
        ("the node gives up", |world| world.fail_after("calls", 0)),
        ("the node does not say what time it is", |world| {
            world.poisoned.borrow_mut().extend([nonce(0)]);
            world.fail_after("block", 0);
        }),
    ];
    for (what, event) in events {
        let world = owing(1);
        let engine = engine(&world);
        event(&world);
        assert_eq!(pass(&engine, true), Ok(0), "{what}");
        world.poisoned.borrow_mut().clear();
        world.used.borrow_mut().clear();
        world.works.borrow_mut().clear();
        world.said();
        // It is due by its age as well, and nothing is asked for it.
        world.books.borrow_mut()[0].record.hold.opened_at_ms = 0;
        later(&world, REST_MS - 1);
        assert_eq!(pass(&engine, false), Ok(0), "{what}");
        assert_eq!(world.said(), "due, due", "{what}: the page behind it, too, is looked at");
        later(&world, 1);
        assert_eq!(pass(&engine, false), Ok(1), "{what}");
        assert_eq!(batches(&world), "0", "{what}");
    }
}

/// When the process ends there is no later: what rests is tried too.
#[test]
fn when_all_is_settled_nothing_rests() {
    let world = owing(1);
    let engine = engine(&world);
    world.token_refuses.set(true);
    assert_eq!(pass(&engine, true), Ok(0));
    world.token_refuses.set(false);
    assert_eq!(pass(&engine, true), Ok(1));
}

/// One payment that is old, near its end, or half of a cap would send all of the tab at once, however few they are.
#[test]
fn what_rests_does_not_hurry_the_others() {
    type Change = fn(&mut Hold);
    let reasons: [(&str, Change); 3] = [
        ("old", |hold| hold.opened_at_ms = 0),
        ("ending", |hold| hold.authorization.valid_before_s = NOW_MS / 1_000 + 30),
        ("large", |hold| hold.exposure_micros = 500 * MICROS),
    ];
    for (what, change) in reasons {
        let world = World::new();
        let engine = engine(&world);
        world.balance.set(9 * AMOUNT);
        on_tab(&world, 0..1, change);
        world.poisoned.borrow_mut().insert(nonce(0));
        assert_eq!(pass(&engine, false), Ok(0), "{what}");
        assert!(world.said().contains("calls"), "{what}: it was due, and tried");
        on_tab(&world, 1..3, |_| {});
        assert_eq!(pass(&engine, false), Ok(0), "{what}");
        assert_eq!(world.said(), "due", "{what}: two young ones wait for a third");
        on_tab(&world, 3..4, |_| {});
        assert_eq!(pass(&engine, false), Ok(3), "{what}");
        assert_eq!(batches(&world), "1+2+3", "{what}: without the one that rests");
        later(&world, REST_MS);
        world.poisoned.borrow_mut().clear();
        on_tab(&world, 4..5, |_| {});
        assert_eq!(pass(&engine, false), Ok(2), "{what}");
        assert_eq!(batches(&world), "1+2+3, 0+4", "{what}: awake, it hurries again");
    }
}

/// It fails only behind another payment of the same payer. Until that one has landed it would fail again.
#[test]
fn what_fails_only_in_the_batch_rests() {
    let world = owing(3);
    let engine = engine(&world);
    world.balance.set(2 * AMOUNT);
    assert_eq!(pass(&engine, false), Ok(2));
    assert_eq!(batches(&world), "0+1");
    world.books.borrow_mut()[2].record.hold.opened_at_ms = 0;
    world.said();
    assert_eq!(pass(&engine, false), Ok(0));
    assert_eq!(world.said(), "due, due");
    later(&world, REST_MS);
    world.balance.set(0);
    assert_eq!(pass(&engine, false), Ok(1));
    assert_eq!(state_word(&world.record(2)), "lost Emptied, Delivered");
}

/// A whole page of payments that rest: those behind it are settled.
#[test]
fn behind_a_page_that_rests_there_are_others() {
    let world = owing(9);
    let engine = engine(&world);
    world.pages.set((2, 3));
    world.poisoned.borrow_mut().extend((0..6).map(nonce));
    assert_eq!(pass(&engine, false), Ok(0));
    assert_eq!(pass(&engine, false), Ok(0));
    world.said();
    assert_eq!(pass(&engine, false), Ok(3));
    assert_eq!(batches(&world), "6+7+8");
    assert!(world.said().starts_with("due, due, due, native, fees, 1 calls latest, submit 3"));
    // A page of which one is awake is one to be settled.
    on_tab(&world, 9..12, |_| {});
    later(&world, REST_MS);
    world.poisoned.borrow_mut().remove(&nonce(1));
    assert_eq!(pass(&engine, false), Ok(1));
    assert_eq!(batches(&world), "6+7+8, 1");
}

/// A stranger's chain_tx carries it: until its validity has ended it is looked at every ten seconds, and the others at once.
#[test]
fn what_a_stranger_landed_is_looked_at_now_and_then() {
    let world = World::new();
    let engine = engine(&world);
    let reconcile = || now(engine.reconcile(&world, Network::BASE_SEPOLIA));
    world.put_hold(tab_hold(0), State::Submitted(THEIRS), AnswerState::Delivered, Vec::new());
    let bids = vec![Bid { chain_tx: OURS, signer: OURSELVES, sequence: 5, members: 1 }];
    world.put_hold(tab_hold(1), SUBMITTED, AnswerState::Delivered, bids);
    world.mined.set(5);
    PAID_BY_STRANGER(&world);
    let looks = || {
        assert_eq!(reconcile(), Ok(0));
        let said = world.said();
        assert_eq!(said.matches("receipt c1").count(), 1, "that of ours is asked for: {said}");
        said.matches("logs").count()
    };
    assert_eq!([looks(), looks()], [1, 0]);
    later(&world, REST_MS - 1);
    assert_eq!(looks(), 0);
    later(&world, 1);
    assert_eq!([looks(), looks()], [1, 0]);
    // Its validity has ended: that is seen ten seconds later.
    final_at(&world, 1);
    world.mine(OURS, 104, lane_key().address(), &[used(nonce(1)), transfer(AMOUNT)]);
    assert_eq!(reconcile(), Ok(1));
    assert_eq!(state_word(&world.record(0)), "submitted, Delivered");
    later(&world, REST_MS);
    // It counts once more, as a watched one.
    assert_eq!(reconcile(), Ok(2));
    assert_eq!(state_word(&world.record(0)), "burnt ForeignTransfer, Delivered, late");
}

/// A node that says nothing is asked again at once: only an answer makes it rest.
#[test]
fn a_fault_lets_nothing_of_a_stranger_rest() {
    let world = World::new();
    let engine = engine(&world);
    world.put_hold(tab_hold(0), State::Submitted(THEIRS), AnswerState::Delivered, Vec::new());
    PAID_BY_STRANGER(&world);
    final_at(&world, 1);
    world.fail_after("logs", 0);
    assert_eq!(now(engine.reconcile(&world, Network::BASE_SEPOLIA)), Ok(0));
    world.works.borrow_mut().clear();
    now(engine.reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
    assert_eq!(state_word(&world.record(0)), "burnt ForeignTransfer, Delivered, late");
}

/// Time and count of each are read anew, and what was found out is written, before the next 64 are looked at.
#[test]
fn unfinished_holds_are_looked_at_a_few_at_a_time() {
    for (count, chunks) in [(1, 1), (64, 1), (65, 2), (128, 2), (129, 3)] {
        let world = World::new();
        world.pages.set((1_000, 1_000));
        for number in 0..count {
            let bid = Bid { chain_tx: OURS, signer: OURSELVES, sequence: 5, members: 1 };
            world.put_hold(tab_hold(number), State::Open, AnswerState::Lost, vec![bid]);
        }
        assert_eq!(now(engine(&world).reconcile(&world, Network::BASE_SEPOLIA)), Ok(usize::from(count)));
        let said = world.said();
        assert_eq!(said.matches("advance_all").count(), chunks, "{count}");
        // Once more for what is watched, and for the gas.
        assert_eq!(said.matches("block latest").count(), chunks + 1, "{count}");
        assert_eq!(said.matches("sequence").count(), chunks + 1, "{count}");
    }
    // A node that falls silent in between: the first few are written.
    for method in ["block", "sequence"] {
        let world = World::new();
        world.pages.set((1_000, 1_000));
        for number in 0..65 {
            let bid = Bid { chain_tx: OURS, signer: OURSELVES, sequence: 5, members: 1 };
            world.put_hold(tab_hold(number), State::Open, AnswerState::Lost, vec![bid]);
        }
        world.fail_after(method, if method == "block" { 2 } else { 1 });
        assert_eq!(now(engine(&world).reconcile(&world, Network::BASE_SEPOLIA)), Ok(64), "{method}");
        assert_eq!(world.record(63).state, State::Burnt(BurnReason::Interrupted), "{method}");
        assert_eq!(world.record(64).state, State::Open, "{method}");
    }
}
